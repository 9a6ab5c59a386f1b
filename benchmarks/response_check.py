"""The check that ``HttpEventTrigger`` calls. It imports this module anew at each look, so it is small."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import requests


async def has_ended(response: requests.Response) -> bool:
    """Tell from the answer whether the call has ended."""
    return response.json()["status"] in {"completed", "no_answer", "busy", "failed"}
