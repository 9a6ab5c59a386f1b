"""A person who answers what Airflow's ``ApprovalOperator`` asks, while ``dag.test()`` runs the DAG."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from typing import Any

from airflow.models import trigger
from airflow.models.hitl import HITLDetail
from airflow.models.taskinstance import TaskInstance
from airflow.triggers.base import TriggerEvent
from airflow.utils.session import create_session
from sqlalchemy import select

from airflow_provider_telzino.testing.clock import MovableClock
from tests.support.dag_test_run import when_time_passes


@contextlib.contextmanager
def answering(
    clock: MovableClock, dag_id: str, answer: str, *, first: Callable[[], object] = lambda: None
) -> Iterator[dict[str, str]]:
    """Answer the next question of a DAG, as Airflow's API does for its web interface.

    Args:
        clock: The clock on which ``dag.test()`` waits for the answer.
        dag_id: The DAG.
        answer: ``Approve`` or ``Reject``.
        first: What to do between the question and the answer.

    Yields:
        ``subject`` and ``body`` of the question, once it is there.
    """
    seen: dict[str, str] = {}

    def answer_once() -> bool:
        seen.update(_answer(dag_id, answer, first))
        return bool(seen)

    with when_time_passes(clock, answer_once):
        yield seen


def _answer(dag_id: str, answer: str, first: Callable[[], object]) -> dict[str, str]:
    """Answer the DAG's question if there is one, and return it."""
    waiting = (
        select(HITLDetail)
        .join(TaskInstance, TaskInstance.id == HITLDetail.ti_id)
        .where(
            TaskInstance.dag_id == dag_id,
            TaskInstance.state == "awaiting_input",
            HITLDetail.responded_at.is_(None),
        )
    )
    with create_session(scoped=False) as session:  # not the one that `dag.test()` uses in this thread
        question: Any = session.scalar(waiting)
        if question is None:
            return {}
        first()
        question.responded_at = datetime.now(timezone.utc)
        question.responded_by = {"id": "1", "name": "A person"}
        question.chosen_options = [answer]
        question.params_input = {}
        task: Any = session.get(TaskInstance, question.ti_id)
        event = TriggerEvent(question.as_resume_event_payload())
        trigger.handle_event_submit(event, task_instance=task, session=session)
        return {"subject": question.subject, "body": question.body}
