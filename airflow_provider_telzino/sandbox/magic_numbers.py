"""How calls end: as the dialled number says, or as a test has scripted it."""

from __future__ import annotations

import random
import re
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from airflow_provider_telzino.sandbox import lifecycle
from airflow_provider_telzino.sandbox.conversation import SPEAKERS
from airflow_provider_telzino.sandbox.lifecycle import Outcome

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_provider_telzino.sandbox.conversation import Turn


@dataclass(frozen=True)
class MagicNumber:
    """A phone number from the range for fiction, and the outcomes of its calls."""

    number: str
    name: str
    description: str
    outcomes: tuple[Outcome, ...]
    """Of the first call to it, the second, and so on; the last one is that of all further calls."""


TABLE = (
    MagicNumber("+15005550100", "completed", "answered after 4 to 12 s, completed after 20 to 90 s of talk",
                (lifecycle.COMPLETED,)),
    MagicNumber("+15005550101", "no_answer", "rings for about 45 s, then no_answer (SIP 480)",
                (lifecycle.NO_ANSWER,)),
    MagicNumber("+15005550102", "busy", "busy (SIP 486)", (lifecycle.BUSY,)),
    MagicNumber("+15005550103", "no_such_number", "failed (SIP 404)", (lifecycle.NO_SUCH_NUMBER,)),
    MagicNumber("+15005550104", "no_trunk", "failed (SIP 503)", (lifecycle.NO_TRUNK,)),
    MagicNumber("+15005550105", "not_dialled", "failed before it is dialled, without a SIP code",
                (lifecycle.NOT_DIALLED,)),
    MagicNumber("+15005550106", "long_call", "completed after 30 minutes of talk", (lifecycle.LONG_CALL,)),
    MagicNumber("+15005550107", "slow_queue", "queued for 5 minutes, then completed",
                (lifecycle.SLOW_QUEUE,)),
    MagicNumber("+15005550108", "quick_hang_up", "completed after 2 to 4 s of talk",
                (lifecycle.QUICK_HANG_UP,)),
    MagicNumber("+15005550109", "busy_then_completed", "the first call is busy, all later ones complete",
                (lifecycle.BUSY, lifecycle.COMPLETED)),
    MagicNumber("+15005550110", "no_answer_twice_then_completed",
                "the first two calls are not answered, all later ones complete",
                (lifecycle.NO_ANSWER, lifecycle.NO_ANSWER, lifecycle.COMPLETED)),
    MagicNumber("+15005550111", "failed_then_completed",
                "the first call fails (SIP 503), all later ones complete",
                (lifecycle.NO_TRUNK, lifecycle.COMPLETED)),
)  # fmt: skip

MAGIC_NUMBERS = {magic.name: magic.number for magic in TABLE}
"""The magic numbers by name, such as ``MAGIC_NUMBERS["busy"]``."""

MIXED_NUMBERS = re.compile(r"\+1(?!500)[2-9]\d\d55501\d\d")
"""The numbers for fiction in all other area codes, for campaigns: their calls end in various ways."""

MIX = {
    lifecycle.COMPLETED: 55,
    lifecycle.QUICK_HANG_UP: 7,
    lifecycle.NO_ANSWER: 25,
    lifecycle.BUSY: 10,
    lifecycle.NO_SUCH_NUMBER: 3,
}
"""Percent of the calls to ``MIXED_NUMBERS``."""

NAMED_OUTCOMES = {
    **{magic.name: magic.outcomes[0] for magic in TABLE if len(magic.outcomes) == 1},
    "failed": lifecycle.NO_TRUNK,
}
"""What can be scripted: the statuses in which a call ends, and the magic numbers that have one outcome."""


class NotScriptedError(Exception):
    """Only scripted calls are accepted, and this one is not."""


class Outcomes:
    """The outcome of each call.

    Args:
        seed: Determines the mix: the outcome of a number's first call, its second, and so on, whatever
            other calls there are.
        scripted_only: Whether a call is refused that no test has scripted: one for each scripted outcome.
    """

    def __init__(self, seed: int, *, scripted_only: bool = False) -> None:
        self._seed = seed
        self._scripted_only = scripted_only
        self._earlier_calls: Counter[str] = Counter()
        self._scripted = {} if scripted_only else {magic.number: magic.outcomes for magic in TABLE}
        self.refused: list[str] = []
        """The numbers of the calls that were refused."""

    def script(
        self,
        to_number: str,
        outcomes: Sequence[str],
        *,
        summary_text: str | None = None,
        transcript: Sequence[Turn] | None = None,
    ) -> None:
        """Set the outcomes of the next calls to a number; the last one is that of all further calls.

        Raises:
            ValueError: There is no outcome, or an unknown one; or what is said is not as it should be.
        """
        unknown = [name for name in outcomes if name not in NAMED_OUTCOMES]
        if isinstance(outcomes, str) or not outcomes or unknown:
            raise ValueError(f"`outcomes` should be a list of these: {', '.join(NAMED_OUTCOMES)}.")
        chosen = [NAMED_OUTCOMES[name] for name in outcomes]
        if summary_text is not None or transcript is not None:
            if all(outcome.talking is None for outcome in chosen):
                raise ValueError("Only a call that completes has a summary and a transcript.")
            turns = None if transcript is None else _turns(transcript)
            chosen = [replace(outcome, summary_text=summary_text, turns=turns) for outcome in chosen]
        self._scripted[to_number] = tuple(chosen)
        del self._earlier_calls[to_number]

    @property
    def unused(self) -> dict[str, list[str]]:
        """The statuses that are scripted for calls which have not been placed, by number."""
        return {
            number: [outcome.status for outcome in outcomes[self._earlier_calls[number] :]]
            for number, outcomes in self._scripted.items()
            if len(outcomes) > self._earlier_calls[number]
        }

    def next_of(self, to_number: str) -> Outcome:
        """Return the outcome of a new call to this number.

        Raises:
            NotScriptedError: The call is to be refused.
        """
        earlier = self._earlier_calls[to_number]
        if self._scripted_only and earlier >= len(self._scripted.get(to_number, ())):
            self.refused.append(to_number)
            raise NotScriptedError("to_number: no further call to this number is scripted.")
        self._earlier_calls[to_number] += 1
        if outcomes := self._scripted.get(to_number):
            return outcomes[min(earlier, len(outcomes) - 1)]
        if MIXED_NUMBERS.fullmatch(to_number):
            drawn = random.Random(f"{self._seed}/{to_number}/{earlier}")  # noqa: S311 - repeatable, not secret
            return drawn.choices([*MIX], [*MIX.values()])[0]
        return lifecycle.COMPLETED


def _turns(transcript: Sequence[Turn]) -> tuple[Turn, ...]:
    turns = [tuple(turn) for turn in transcript]
    if not all(len(turn) == 2 and turn[0] in SPEAKERS and isinstance(turn[1], str) for turn in turns):
        raise ValueError('`transcript` should be a list of ("agent", text) and ("user", text).')
    return tuple((speaker, text) for speaker, text in turns)
