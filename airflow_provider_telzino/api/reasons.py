"""What an error shows of the API's reason for refusing a request.

Error messages of an API often repeat what it was sent: a phone number, a name, a token. So their text is
never shown. What is shown comes from an allow-list: fields of Telzino's API reference, and the answer's error
code if it is clearly a code and nothing that we sent.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from airflow_provider_telzino.api.messages import ApiAnswer, ApiRequest
from airflow_provider_telzino.api.settings import Settings

MAX_READ_BYTES = 64 * 1024  # of an error answer: more is no reason, and this may run in an event loop
MAX_CODE_CHARACTERS = 40

FIELDS = ("agent_id", "call_id", "to_number", "call_context", "metadata", "callback_url")

# Two words at least, since a single one may be a name; no digits, since they may be part of a phone number.
_CODE = r"[a-z]+(?:[_-][a-z]+)+"
# Words that codes are made of. A code has at least one of them, and they are harmless even if we sent them.
_CODE_WORD = (
    "access|agent|allowed|argument|bad|body|call|callback|code|context|denied|disabled|error|exceeded|failed|"
    "field|format|found|id|in|input|invalid|is|json|large|length|limit|long|match|metadata|mismatch|missing|"
    "no|not|number|of|out|param|parameter|pattern|permitted|phone|range|rate|request|required|schema|short|"
    "size|status|string|supported|to|too|type|unknown|unsupported|url|uuid|validation|value|wrong"
)


def reason(settings: Settings, request: ApiRequest, answer: ApiAnswer) -> str:
    """Say which fields an error answer mentions and which error code it has: a part of a sentence.

    Returns:
        Such as ``"; it mentions `to_number` (code invalid_number)"``. Empty if nothing can be shown.
    """
    body = answer.body[:MAX_READ_BYTES]
    fields, code = _fields(request, body), _code(settings, request, body)
    if fields:
        return f"; it mentions {' and '.join(fields)}" + (f" (code {code})" if code else "")
    return f"; its error code is {code}" if code else ""


def _fields(request: ApiRequest, body: bytes) -> list[str]:
    """Find the request's documented fields in an answer, however it spells them: `to_number`, `toNumber`."""
    names = (*FIELDS, *(request.params or ()))
    spellings = "|".join(name.replace("_", "_?") for name in names)
    # As whole words; also after a line break, which JSON writes as a letter.
    pattern = rf"(?i)(?:(?<![a-z0-9_])|(?<=\\[nrt]))(?:{spellings})(?![a-z0-9_])"
    found = {match.replace("_", "").lower() for match in re.findall(pattern, body.decode("utf-8", "replace"))}
    return [f"`{name}`" for name in names if name.replace("_", "") in found]


def _code(settings: Settings, request: ApiRequest, body: bytes) -> str | None:
    """Find the error code of an answer, unless it may be text that we sent."""
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        return None
    sent = f"{settings.secret} {settings.client_id} {(request.body or b'').decode()}"
    sent = re.sub(r"[\W_]+", "", sent).casefold()
    for code in _possible_codes(content):
        if not isinstance(code, str) or len(code) > MAX_CODE_CHARACTERS or not re.fullmatch(_CODE, code):
            continue
        words = re.split("[_-]", code)
        others = [word for word in words if not re.fullmatch(_CODE_WORD, word)]
        if len(others) < len(words) and not any(word in sent for word in others):
            return code
    return None


def _possible_codes(content: object, depth: int = 4) -> Iterator[object]:
    """Go through the usual places of an error code: the shape of an error answer isn't documented."""
    if depth == 0:
        return
    if isinstance(content, list):
        yield from _possible_codes(content[0] if content else None, depth - 1)
    elif isinstance(content, dict):
        for key in ("code", "error_code", "error", "errors", "detail", "type"):
            yield from _possible_codes(content.get(key), depth - 1)
    else:
        yield content
