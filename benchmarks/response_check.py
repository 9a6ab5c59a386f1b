"""The check that ``HttpEventTrigger`` calls. It imports this module again for each answer, so it is small."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import requests


async def has_ended(response: requests.Response) -> bool:
    """Return whether the call has ended, according to the answer."""
    return response.json()["status"] in {"completed", "no_answer", "busy", "failed"}
