"""A list of calls, as a task is given it: checked as a whole, so that all mistakes are named together."""

from __future__ import annotations

import ast
import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from airflow_provider_telzino.api.arguments import checked_agent_of, checked_call_id
from airflow_provider_telzino.exceptions import TelzinoArgumentError

MAX_RANGES = 20  # of positions in a message


class CallOfAgent(NamedTuple):
    """A call, and the agent that made it."""

    call_id: str
    agent_id: str | None
    """``None`` is the hook's agent, or the connection's."""


def checked_calls(call_ids: object, agent_id: object) -> list[CallOfAgent]:
    """Check the calls that a task waits for.

    Args:
        call_ids: Ids (UUIDs), or records that have an ``id``. What Jinja makes of a list, which is text, is
            read as that list.
        agent_id: The agent that made the calls; by default that of each record.

    Raises:
        TelzinoArgumentError: The message names the positions of all that are wrong, and never a value.
    """
    calls: list[CallOfAgent] = []
    wrong: dict[str, list[int]] = {"call id": [], "agent id": []}
    for position, given in enumerate(_sequence(call_ids), start=1):
        try:
            call_id = checked_call_id(given)
        except TelzinoArgumentError:
            wrong["call id"].append(position)
            continue
        try:
            calls.append(CallOfAgent(call_id, checked_agent_of(given, agent_id)))
        except TelzinoArgumentError:
            wrong["agent id"].append(position)
    if problems := [f"no valid {what} at {positions_text(found)}" for what, found in wrong.items() if found]:
        raise TelzinoArgumentError(
            f"`call_ids` has {', and '.join(problems)} (the first position is 1). Each should be a UUID, or "
            "a record that has an `id`, and the `agent_id`s of records should be UUIDs."
        )
    return calls


def positions_text(positions: Iterable[int]) -> str:
    """Name positions, which are in order: ``positions 2, 5 to 7``."""
    # Within consecutive positions, the difference to a counter stays the same.
    grouped = itertools.groupby(enumerate(positions), key=lambda pair: pair[1] - pair[0])
    ranges = [[position for _, position in group] for _, group in grouped]
    names = [str(each[0]) if len(each) == 1 else f"{each[0]} to {each[-1]}" for each in ranges[:MAX_RANGES]]
    if more := sum(map(len, ranges[MAX_RANGES:])):
        names.append(f"and {more:,} more")
    return f"position{'s' if sum(map(len, ranges)) > 1 else ''} {', '.join(names)}"


def _sequence(call_ids: object) -> Sequence[object]:
    if isinstance(call_ids, str):
        try:
            call_ids = ast.literal_eval(call_ids.strip())
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            raise TelzinoArgumentError(
                "`call_ids` is text, but not that of a list. Give a list, a template of a whole list, or the "
                "output of a task (`call_ids=place.output`)."
            ) from None
    if not isinstance(call_ids, Sequence) or isinstance(call_ids, (str, bytes)):
        fix = " Put the record into a list." if isinstance(call_ids, Mapping) else ""
        raise TelzinoArgumentError(
            "`call_ids` should be a list of call ids (UUIDs), or of records that have an `id`, but is of "
            f"type {type(call_ids).__name__}.{fix}"
        )
    # The outputs of mapped tasks come lazily: a slice takes one request, an iteration one for each.
    return call_ids[:]
