"""What Airflow's database has about the waits, and a ledger in it of every push and change of state."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg2
from psycopg2.extras import RealDictCursor

FINISHED = ("success", "failed", "skipped", "upstream_failed", "removed")

Task = tuple[str, str]
"""Its run id and task id."""

LEDGER = """
create table crash_ledger (
    at timestamptz default clock_timestamp(), event text, run_id text, task_id text, detail text
);
create function note_push() returns trigger language plpgsql as $$ begin
    insert into crash_ledger (event, run_id, task_id) values ('push', new.run_id, new.task_id);
    return null;
end $$;
create function note_state() returns trigger language plpgsql as $$ begin
    insert into crash_ledger (event, run_id, task_id, detail)
    values ('state', new.run_id, new.task_id, new.state);
    return null;
end $$;
create function note_triggerer() returns trigger language plpgsql as $$ begin
    insert into crash_ledger (event, run_id, task_id, detail)
    select 'triggerer', run_id, task_id, new.triggerer_id from task_instance where trigger_id = new.id;
    return null;
end $$;
create function note_deadline() returns trigger language plpgsql as $$ begin
    insert into crash_ledger (event, run_id, task_id, detail)
    select 'deadline', new.run_id, new.task_id, groups[1]
    from regexp_matches(new.next_kwargs::text, '"deadline": *([0-9.]+)', 'g') as matches(groups);
    return null;
end $$;
create trigger note_push after insert or update on xcom
    for each row when (new.key = 'return_value') execute function note_push();
create trigger note_state after update on task_instance
    for each row when (old.state is distinct from new.state) execute function note_state();
create trigger note_deadline after update on task_instance
    for each row when (old.next_kwargs::text is distinct from new.next_kwargs::text)
    execute function note_deadline();
create trigger note_triggerer after update on trigger
    for each row when (old.triggerer_id is distinct from new.triggerer_id) execute function note_triggerer();
"""

OUTCOME = """
select state, try_number as tries, start_date as started, end_date as ended,
    (select array_agg(value::text) from xcom x
     where x.run_id = t.run_id and x.task_id = t.task_id and key = 'return_value') as records,
    (select count(*) from crash_ledger l
     where l.run_id = t.run_id and l.task_id = t.task_id and event = 'push') as pushes,
    (select array_agg(detail order by at) from crash_ledger l
     where l.run_id = t.run_id and l.task_id = t.task_id and event = 'state') as states,
    (select array_agg(distinct detail) from crash_ledger l
     where l.run_id = t.run_id and l.task_id = t.task_id and event = 'deadline') as deadlines,
    exists (select from log m
     where m.run_id = t.run_id and m.task_id = t.task_id and event = 'state mismatch') as considered_dead
from task_instance t where run_id = %s and task_id = %s
"""


@dataclass(frozen=True)
class Outcome:
    """The outcome of one task."""

    state: str | None
    tries: int
    started: datetime | None
    ended: datetime | None
    records: list[Any]
    pushes: int
    states: list[str | None]
    deadlines: list[str]
    """All deadlines that it, or its trigger, was ever given, in seconds since the epoch."""
    considered_dead: bool
    """Airflow gave it another try, since the executor reported the deferral late (docs/crashes.md)."""


@dataclass(frozen=True)
class RunningTask:
    """A task that a worker is running."""

    run_id: str
    task_id: str
    map_index: int
    pid: int
    resumed: bool
    """Whether it is the second run, after the deferral."""


class Ledger:
    """Queries the database, each time over a new connection, so that the database may be restarted."""

    def __init__(self, url: str) -> None:
        self._url = url.replace("+psycopg2", "")
        self._execute(LEDGER)

    def outcome(self, run_id: str, task_id: str) -> Outcome:
        """Return the outcome of a task, over all of its tries."""
        row = self.rows(OUTCOME, run_id, task_id)[0]
        row["records"] = [json.loads(text) for text in row["records"] or []]
        row["states"], row["deadlines"] = row["states"] or [], row["deadlines"] or []
        return Outcome(**row)

    def unfinished(self) -> set[Task]:
        """Return the tasks that have not finished."""
        sql = "select run_id, task_id from task_instance where state is null or state <> all(%s)"
        return {(row["run_id"], row["task_id"]) for row in self.rows(sql, list(FINISHED))}

    def count(self, state: str) -> int:
        """Return how many tasks are in a state."""
        return int(self.rows("select count(*) from task_instance where state = %s", state)[0]["count"])

    def running(self) -> list[RunningTask]:
        """Return the tasks that workers are running."""
        sql = """select run_id, task_id, map_index, pid, next_method is not null as resumed from task_instance
            where state = 'running' and pid is not null"""
        return [RunningTask(**row) for row in self.rows(sql)]

    def held_by(self, triggerer: int) -> set[Task]:
        """Return the deferred tasks of a triggerer (its job id), whether it is alive or not."""
        sql = """select run_id, task_id from trigger join task_instance on trigger_id = trigger.id
            where triggerer_id = %s and state = 'deferred'"""
        return {(row["run_id"], row["task_id"]) for row in self.rows(sql, triggerer)}

    def assigned_to(self, triggerer: int) -> set[Task]:
        """Return the tasks that were ever assigned to a triggerer (its job id)."""
        sql = "select run_id, task_id from crash_ledger where event = 'triggerer' and detail = %s"
        return {(row["run_id"], row["task_id"]) for row in self.rows(sql, str(triggerer))}

    def newest_job(self, job_type: str) -> int:
        """Return the job id of the component of a type (``TriggererJob``) that was started last."""
        sql = "select coalesce(max(id), 0) as id from job where job_type = %s"
        return int(self.rows(sql, job_type)[0]["id"])

    def heartbeats_since(self, moment: datetime) -> set[str]:
        """Return the types of the components that have sent a heartbeat since then."""
        sql = "select distinct job_type from job where latest_heartbeat > %s"
        return {row["job_type"] for row in self.rows(sql, moment)}

    def rows(self, sql: str, *arguments: Any) -> list[dict[str, Any]]:
        """Return the rows of a query."""
        with (
            closing(psycopg2.connect(self._url)) as connection,
            connection.cursor(cursor_factory=RealDictCursor) as cursor,
        ):
            cursor.execute(sql, arguments)
            return [dict(row) for row in cursor.fetchall()]

    def _execute(self, sql: str) -> None:
        with closing(psycopg2.connect(self._url)) as connection, connection, connection.cursor() as cursor:
            cursor.execute(sql)
