"""The same examples every time; ``HYPOTHESIS_PROFILE=thorough`` tries many more, and others each time."""

from __future__ import annotations

import os

from hypothesis import settings

settings.register_profile("same", derandomize=True)
settings.register_profile("thorough", max_examples=3_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))
