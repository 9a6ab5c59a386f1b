"""How a task that waits ends: what is pushed first, what ``soft_fail`` skips, and how it resumes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowException, AirflowSkipException

from airflow_provider_telzino.exceptions import TelzinoError
from airflow_provider_telzino.rules.waiting import OutcomePolicy
from airflow_provider_telzino.version_compat import TRIGGER_FAILED, is_trigger_timeout
from airflow_provider_telzino.xcom import xcoms

if TYPE_CHECKING:
    from typing import Literal

    from airflow.providers.common.compat.sdk import BaseOperator, Context
else:
    # A mixin: Airflow's metaclass would give a subclass of BaseOperator an __init__ that hides the sensor's.
    BaseOperator = object


class OutcomeTask(BaseOperator):
    """A task that ends according to the outcome of one call or many. A mixin of all that wait."""

    agent_id: str | None
    telzino_conn_id: str
    policy: OutcomePolicy
    soft_fail: bool
    timeout: Any

    @property
    def wait_timeout(self) -> float:
        """Seconds until the wait gives up."""
        return float(self.timeout)

    @property
    def wait_interval(self) -> float:
        """Seconds between two polls."""
        raise NotImplementedError

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Resume as Airflow does, but poll first if the trigger has emitted no event."""
        if next_method != TRIGGER_FAILED:
            # Not Airflow's own method: a sensor's replaces the reason of a skip by "due to soft_fail".
            return getattr(self, next_method)(context, **(next_kwargs or {}))
        airflows = super().resume_execution
        return self.resume_without_event(
            "stopped" if is_trigger_timeout(next_kwargs) else "broken",
            context,
            lambda: airflows(next_method, next_kwargs, context),  # logs the traceback
        )

    def resume_without_event(
        self, outcome: Literal["stopped", "broken"], context: Context, raise_airflows_error: Callable[[], Any]
    ) -> Any:
        """Resume although the trigger has emitted no event.

        Args:
            outcome: Whether Airflow stopped the trigger at its timeout, or it has broken down.
            context: Airflow's context.
            raise_airflows_error: What Airflow itself does then.
        """
        raise NotImplementedError

    def refused_in_triggerer(self, error: str | None, call_id: str | None = None) -> TelzinoError:
        """Create the error for a triggerer that was refused twice, while the worker was not."""
        return TelzinoError(
            f"The triggerer was refused while it waited ({error}), but this worker was not. The reason is in "
            "the triggerer's log lines above. Does the triggerer have the same connection?",
            conn_id=self.telzino_conn_id,
            call_id=call_id,
        )

    def unknown_event(self, call_id: str | None = None) -> TelzinoError:
        """Create the error for an event that isn't what our trigger emits for this task."""
        return TelzinoError(
            "The trigger's event is unknown, or about another call. Do triggerer and workers run the same "
            "version of the provider?",
            conn_id=self.telzino_conn_id,
            call_id=call_id,
        )

    def _push(self, context: Context, value: Any) -> None:
        """Push as Airflow does with what a task returns, for a task that won't return."""
        if not self.do_xcom_push:
            return
        for key, each in xcoms(value, self.multiple_outputs):
            context["ti"].xcom_push(key=key, value=each)

    @contextlib.contextmanager
    def _softly(self) -> Iterator[None]:
        """Turn any error into a skip if the user wants that: Airflow itself does so in some modes only."""
        try:
            yield
        except AirflowSkipException:
            raise
        except AirflowException as error:
            if self.soft_fail or getattr(self, "never_fail", False):  # only sensors have the latter
                raise AirflowSkipException(f"Skipped instead of failed (soft_fail): {error}") from error
            raise
