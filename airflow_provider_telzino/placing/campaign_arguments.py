"""The arguments of a campaign, checked when the DAG is parsed."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from airflow_provider_telzino.api.arguments import (
    check_literals,
    checked_callback_url,
    checked_metadata,
    checked_optional_agent_id,
)
from airflow_provider_telzino.exceptions import TelzinoArgumentError
from airflow_provider_telzino.placing.contacts import check_literal_contacts
from airflow_provider_telzino.placing.dialling import check_dialling_arguments
from airflow_provider_telzino.rules.calling_hours import checked_zone
from airflow_provider_telzino.rules.campaign import MAX_ACTIVE_CALLS
from airflow_provider_telzino.rules.campaign_results import checked_outcomes
from airflow_provider_telzino.rules.waiting import OutcomePolicy, flag, seconds


def check_campaign_arguments(given: Mapping[str, Any]) -> None:
    """Check those of a task's arguments that are literals.

    Raises:
        TelzinoArgumentError: The message names the argument.
    """
    check_literal_contacts(given.get("contacts"))
    check_literals(
        {name: value for name, value in given.items() if value is not None},
        metadata=checked_metadata,
        callback_url=checked_callback_url,
        timezone=checked_zone,
        agent_id=checked_optional_agent_id,
        max_active_calls=checked_max_active,
        timeout=functools.partial(seconds, "timeout"),
        poll_interval=functools.partial(seconds, "poll_interval"),
        **{name: functools.partial(flag, name) for name in ("dry_run", "deferrable", "soft_fail")},
    )
    refuse_multiple_outputs(given.get("multiple_outputs"), dry_run=given.get("dry_run", False))
    checked_outcomes(given.get("fail_on", ()))
    OutcomePolicy.checked((), (), given.get("record_fields"))
    check_dialling_arguments(given)


def refuse_multiple_outputs(multiple_outputs: object, *, dry_run: bool) -> None:
    """Refuse what Airflow would refuse only when all calls are made: their outcomes are a list."""
    if multiple_outputs and not dry_run:
        raise TelzinoArgumentError(
            "`multiple_outputs` doesn't apply to a campaign, which pushes a list of outcomes. Leave it out."
        )


def checked_max_active(value: object) -> int:
    """Check how many calls of a campaign may be live."""
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= MAX_ACTIVE_CALLS:
        raise TelzinoArgumentError(
            f"`max_active_calls` should be a whole number from 1 to {MAX_ACTIVE_CALLS:,}."
        )
    return value
