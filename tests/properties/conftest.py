"""``HYPOTHESIS_PROFILE=thorough`` tries many more examples."""

from __future__ import annotations

import os

from hypothesis import settings

settings.register_profile("thorough", max_examples=3_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))
