"""Places several calls of a campaign, a few at a time, as fast as the API permits it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airflow_provider_telzino.api.backoff import SharedBackoff
from airflow_provider_telzino.api.retry import RETRY_FOR
from airflow_provider_telzino.exceptions import TelzinoBadRequestError, TelzinoError, TelzinoTransientError
from airflow_provider_telzino.placing.contacts import Contact
from airflow_provider_telzino.rules.campaign import Ready
from airflow_provider_telzino.rules.permission import Never, NotBefore

if TYPE_CHECKING:
    from airflow_provider_telzino.hooks.telzino import Record, TelzinoHook

MAX_IN_FLIGHT = 4  # POSTs at the same time
CONFIRMED_FOR = 0.2  # seconds for which Airflow's confirmation counts that this process runs the task
MAX_SEND_DELAY = 1.0  # seconds between that confirmation and a POST: another token may have to be fetched
LONGEST_PAUSE = RETRY_FOR  # seconds that a worker waits for the API; for longer the campaign is deferred


@dataclass
class WaveResult:
    """What a wave has brought."""

    placed: list[Record] = field(default_factory=list)
    """The API's answers."""
    rejected: dict[str, str] = field(default_factory=dict)
    """By contact: why the API has refused the call."""
    never: dict[str, Never] = field(default_factory=dict)
    """By contact: why it may not be called."""
    later: list[NotBefore] = field(default_factory=list)
    """When contacts may be called that may not be called now, and why."""
    lost: int = 0
    """How many answers were lost: those calls may have been placed."""
    left: list[Ready[Contact]] = field(default_factory=list)
    """Contacts that were not tried: they may be called as soon as other calls end."""
    pause: float = 0.0
    """Seconds for which the API is to be left alone."""


class Wave:
    """Places calls until all that are ready are placed, or as many are live as may be.

    Threads only send. Everything else happens in the task's own thread, between two sends: a DAG author's
    ``may_call`` and Airflow's client need not be thread-safe.

    Args:
        hook: The hook of the task's connection.
        agent_id: The agent that calls.
        check: Says whether a contact may be called now. It is asked before each POST.
        check_time: Says the same from the time alone. It is asked directly before each POST, since the other
            checks may take a while.
        confirm: Makes sure that this process still runs the task; raises if not.
        is_killed: Whether the task was killed meanwhile.
        marked: Returns a contact's metadata with the identity of this attempt.
        log: The task's logger.
    """

    sleep = staticmethod(lambda seconds: time.sleep(seconds))  # tests replace either

    def __init__(
        self,
        hook: TelzinoHook,
        agent_id: str,
        *,
        check: Callable[[Contact], NotBefore | Never | None],
        check_time: Callable[[Contact], NotBefore | Never | None],
        confirm: Callable[[], None],
        is_killed: Callable[[], bool],
        marked: Callable[[Ready[Contact]], Mapping[str, Any]],
        log: Any,
    ) -> None:
        self.result = WaveResult()
        self._hook = hook
        self._agent_id = agent_id
        self._check = check
        self._check_time = check_time
        self._confirm = confirm
        self._is_killed = is_killed
        self._marked = marked
        self._log = log
        self._queue: deque[Ready[Contact]] = deque()
        self._slots = 0
        self._pending: dict[Future[Record], Ready[Contact]] = {}
        self._backoff = SharedBackoff()
        self._confirmed_at = float("-inf")
        self._succeeded_at = time.time()
        self._error: TelzinoError | None = None

    def dial(self, ready: Iterable[Ready[Contact]], slots: int) -> WaveResult:
        """Place calls.

        Args:
            ready: The contacts to call, in this order.
            slots: How many calls may be placed.

        Raises:
            TelzinoError: The API refuses all calls, ``may_call`` raised, or the task was taken from this
                process. Calls may have been placed before.
        """
        self._queue, self._slots = deque(ready), slots
        with ThreadPoolExecutor(MAX_IN_FLIGHT, "telzino-dial") as pool:
            try:
                while self._error is None and (self._pending or self._can_continue()):
                    self._send_next(pool)
            finally:
                while self._pending:
                    self._collect()
                self.result.left = list(self._queue)
        if self._error is not None:
            raise self._error
        return self.result

    def _can_continue(self) -> bool:
        """Whether another call is to be placed now."""
        return bool(self._queue) and self._slots > 0 and not self.result.pause

    def _send_next(self, pool: ThreadPoolExecutor) -> None:
        """Send the next POST; or first let one end, or a pause pass."""
        if len(self._pending) >= MAX_IN_FLIGHT or not self._can_continue():
            self._collect()
        elif (pause := self._backoff.pause(time.time())) > 0:
            self._pass(pause)
        elif self._may_dial(self._queue[0].contact):
            ready = self._queue.popleft()
            self._slots -= 1
            self._pending[pool.submit(self._post, ready, self._confirmed_at)] = ready
        else:
            self._queue.popleft()

    def _pass(self, pause: float) -> None:
        """Let a pause pass that the API asks for. A long one ends the wave."""
        if self._pending:
            self._collect(timeout=pause)
        elif pause > LONGEST_PAUSE or time.time() - self._succeeded_at > LONGEST_PAUSE:
            self.result.pause = max(pause, LONGEST_PAUSE)
        else:
            self._require_alive()
            self.sleep(min(pause, 1.0))

    def _may_dial(self, contact: Contact) -> bool:
        self._require_alive()
        if not self._is_allowed(contact, self._check(contact)):
            return False
        if time.monotonic() - self._confirmed_at > CONFIRMED_FOR:
            self._confirm()
            self._confirmed_at = time.monotonic()
        return self._is_allowed(contact, self._check_time(contact))

    def _is_allowed(self, contact: Contact, answer: NotBefore | Never | None) -> bool:
        if isinstance(answer, NotBefore):
            self.result.later.append(answer)
        elif isinstance(answer, Never):
            self.result.never[contact.key] = answer
        return answer is None

    def _require_alive(self) -> None:
        if self._is_killed():
            raise TelzinoError(
                "The task was killed, so it places no more calls.", conn_id=self._hook.telzino_conn_id
            )

    def _post(self, ready: Ready[Contact], confirmed_at: float) -> Record:
        contact = ready.contact
        request = (contact.to_number, contact.call_context, self._marked(ready), contact.callback_url)

        def before_send() -> None:
            # Time may have passed since this contact's checks, such as for fetching an access token.
            if self._is_killed() or time.monotonic() - confirmed_at > MAX_SEND_DELAY:
                raise _NotSentError

        return self._hook.place_call(*request, self._agent_id, retry_for=0, before_send=before_send)

    def _collect(self, timeout: float | None = None) -> None:
        """Wait until a POST has ended, and note what came of it."""
        done, _ = wait(self._pending, timeout, return_when=FIRST_COMPLETED)
        for future in done:
            self._note(self._pending.pop(future), future)

    def _note(self, ready: Ready[Contact], future: Future[Record]) -> None:
        try:
            answer = future.result()
        except _NotSentError:
            self._give_back(ready)
        except TelzinoBadRequestError as error:
            self._succeeded()
            self._slots += 1
            self.result.rejected[ready.contact.key] = str(error.args[0])
            self._log.warning("The API refuses the call to contact %s: %s", ready.contact.position, error)
        except TelzinoTransientError as error:
            self._failed(ready, error)
        except TelzinoError as error:
            self._error = self._error or error
        else:
            self._succeeded()
            self.result.placed.append(answer)

    def _failed(self, ready: Ready[Contact], error: TelzinoTransientError) -> None:
        if error.maybe_received:
            # It may have been placed, so it counts as live until the agent's list says more.
            self.result.lost += 1
            self._log.warning("%s It is searched for before this contact is called again.", error.sentence)
        else:
            self._give_back(ready)
        if self._backoff.fail(error, time.time()):
            pause = self._backoff.pause(time.time())
            self._log.warning("%s Placing no calls for %.1f s.", error.sentence, pause)

    def _give_back(self, ready: Ready[Contact]) -> None:
        self._slots += 1
        self._queue.appendleft(ready)

    def _succeeded(self) -> None:
        self._backoff.succeed(time.time())
        self._succeeded_at = time.time()


class _NotSentError(Exception):
    """The POST was not sent."""
