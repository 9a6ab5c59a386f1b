"""What tasks that wait share: their arguments, deferring and resuming, working without a worker."""

from __future__ import annotations
