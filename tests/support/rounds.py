"""How often tests with random crashes repeat everything: more often in ``make nightly``."""

from __future__ import annotations

import os

ROUNDS = int(os.environ.get("TELZINO_CRASH_ROUNDS", "1"))
