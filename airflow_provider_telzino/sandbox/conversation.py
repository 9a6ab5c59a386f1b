"""Invented summaries and transcripts."""

from __future__ import annotations

import random
from dataclasses import dataclass
from itertools import cycle
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

ORDINARY_PACE = 4.0
"""Seconds from one line of a conversation to the next."""


SPEAKERS = ("agent", "user")
Turn = tuple[str, str]
"""The speaker, and what is said."""


@dataclass(frozen=True)
class Conversation:
    """What is said in a call, and its summary (Markdown)."""

    summary_text: str
    turns: tuple[Turn, ...]


def _invented(
    title: str, summary: str, action_items: tuple[str, ...], sentiment: str, lines: tuple[str, ...]
) -> Conversation:
    """Return a conversation in which agent and user take turns, and the agent begins."""
    items = "\n".join(f"- {item}" for item in action_items or ("None",))
    return Conversation(
        f"{title}\n\n{summary}\n\n**Action Items:**\n{items}\n\n**Sentiment:** {sentiment}",
        tuple(zip(cycle(SPEAKERS), lines, strict=False)),
    )


HANG_UP = _invented(
    "Call Ended Early",
    "The callee answered and hung up before the agent could state its reason for calling.",
    (),
    "Neutral",
    ("Hello! This is the automated assistant.", "Not now."),
)

CONVERSATIONS = (
    _invented(
        "Appointment Confirmation",
        "The agent confirmed the callee's appointment for tomorrow at 2pm.",
        (),
        "Positive",
        (
            "Hello! I'm calling to confirm your appointment tomorrow at 2pm.",
            "Oh yes, thanks for the reminder.",
            "Does the time still suit you?",
            "Yes, two o'clock is fine.",
            "Great. Please bring your insurance card.",
            "Will do. Anything else?",
            "No, that's all. See you tomorrow!",
            "See you. Bye.",
        ),
    ),
    _invented(
        "Appointment Moved",
        "The callee can't come tomorrow. The agent offered Thursday at 10am, which the callee accepted.",
        ("Move the appointment to Thursday, 10am", "Send a new confirmation by e-mail"),
        "Positive",
        (
            "Hello! I'm calling about your appointment tomorrow at 2pm.",
            "I was about to call you. I can't make it.",
            "No problem. Would Thursday at 10am suit you?",
            "Thursday... yes, that works.",
            "Then I'll move it to Thursday, 10am.",
            "Can I have that in writing?",
            "Of course, you'll get an e-mail.",
            "Thank you. Bye.",
        ),
    ),
    _invented(
        "Callback Requested",
        "The callee had no time to talk and asked to be called again in the evening.",
        ("Call again after 6pm",),
        "Neutral",
        (
            "Hello! Do you have a minute to talk about your order?",
            "Not really, I'm at work.",
            "When would be a better time?",
            "After six.",
            "I'll make a note of that. Thank you!",
            "Okay, bye.",
        ),
    ),
    _invented(
        "Complaint",
        "The callee's parcel has not arrived. The agent apologised and promised that it will be traced.",
        ("Trace the parcel", "Call the customer back with the result"),
        "Negative",
        (
            "Hello! I'm calling to ask whether you were happy with your order.",
            "No. It never arrived.",
            "I'm sorry to hear that. When did you order it?",
            "Two weeks ago, and nobody answers my mails.",
            "I apologise. A colleague will trace the parcel and call you back.",
            "Today?",
            "Today. Thank you for your patience.",
            "We'll see. Bye.",
        ),
    ),
)


def conversation_of(seed: str, talk_time: float) -> Conversation:
    """Choose the conversation of a call; the same seed always gives the same one."""
    if talk_time < 2 * ORDINARY_PACE:
        return HANG_UP
    return random.Random(seed).choice(CONVERSATIONS)  # noqa: S311 - repeatable, not secret


def entries(turns: Sequence[Turn], talk_time: float) -> list[dict[str, Any]]:
    """Return the lines: ``text``, ``speaker``, ``timestamp`` (seconds from the start), ``is_partial``.

    Some of the user's lines appear twice, as speech recognition produces them: partial, then final.
    """
    pace = talk_time / max(len(turns), 1)
    said: list[dict[str, Any]] = []
    for number, (speaker, text) in enumerate(turns):
        moment = round(min(0.5, pace / 4) + number * pace, 2)
        words = text.split()
        if speaker == "user" and len(words) > 2:
            heard = " ".join(words[: len(words) // 2])
            said.append({"text": heard, "speaker": speaker, "timestamp": moment, "is_partial": True})
            moment = round(moment + pace / 4, 2)
        said.append({"text": text, "speaker": speaker, "timestamp": moment, "is_partial": False})
    return said
