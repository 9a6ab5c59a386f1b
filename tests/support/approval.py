"""A person who answers what Airflow's ``ApprovalOperator`` asks, while ``dag.test()`` runs the DAG."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from typing import Any

from airflow.models import trigger
from airflow.models.hitl import HITLDetail
from airflow.models.taskinstance import TaskInstance
from airflow.triggers.base import TriggerEvent
from airflow.utils.session import create_session
from sqlalchemy import select

POLL_INTERVAL = 0.5  # seconds


@contextlib.contextmanager
def answering(dag_id: str, answer: str, *, first: Callable[[], None]) -> Iterator[dict[str, str]]:
    """Answer the next question of a DAG, as Airflow's API does for its web interface.

    Args:
        dag_id: The DAG.
        answer: ``Approve`` or ``Reject``.
        first: What to do between the question and the answer.

    Yields:
        ``subject`` and ``body`` of the question, once it is there.
    """
    seen: dict[str, str] = {}
    ended = threading.Event()

    def answer_once() -> None:
        while not seen and not ended.wait(POLL_INTERVAL):
            seen.update(_answer(dag_id, answer, first))

    thread = threading.Thread(target=answer_once)
    thread.start()
    try:
        yield seen
    finally:
        ended.set()
        thread.join()


def _answer(dag_id: str, answer: str, first: Callable[[], None]) -> dict[str, str]:
    """Answer the DAG's question if there is one, and return it."""
    # By tables, not by classes: those must not be set up while the other thread is still importing some.
    questions, tasks = HITLDetail.__table__, TaskInstance.__table__
    waiting = (
        select(questions.c.ti_id)
        .join(tasks, tasks.c.id == questions.c.ti_id)
        .where(
            tasks.c.dag_id == dag_id,
            tasks.c.state == "awaiting_input",
            questions.c.responded_at.is_(None),
        )
    )
    with create_session() as session:
        task_instance_id = session.scalar(waiting)
    if task_instance_id is None:
        return {}
    first()
    with create_session() as session:
        question: Any = session.get(HITLDetail, task_instance_id)
        question.responded_at = datetime.now(timezone.utc)
        question.responded_by = {"id": "1", "name": "A person"}
        question.chosen_options = [answer]
        question.params_input = {}
        task: Any = session.get(TaskInstance, task_instance_id)
        event = TriggerEvent(question.as_resume_event_payload())
        trigger.handle_event_submit(event, task_instance=task, session=session)
        return {"subject": question.subject, "body": question.body}
