"""The choice of the cheapest look, against a list that changes as an agent's list does."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_telzino.api.endpoints import MAX_PAGE_SIZE
from airflow_provider_telzino.polling.page_plan import ListedCall, Look


@dataclass
class Agent:
    """An agent's list, newest first, and the calls of it that are waited for."""

    listed: list[str] = field(default_factory=list)
    waiting: dict[str, ListedCall] = field(default_factory=dict)
    total: int = 0
    broken_pages: set[int] = field(default_factory=set)
    now: float = 0.0

    def place(self, number: int, *, waited: bool) -> None:
        """Place calls; wait for them, or not."""
        for _ in range(number):
            call_id = f"call {len(self.listed)}"
            self.listed.insert(0, call_id)
            if waited:
                self.waiting[call_id] = ListedCall(call_id)

    def look(self) -> tuple[list[int], set[str]]:
        """Look once, as a poller does; return the pages that were read, and the calls that are fetched."""
        look = Look(self.waiting.values(), self.total, self.now)
        read = []
        while expected := look.next_pages():
            for page, calls in expected.items():
                read.append(page)
                if page in self.broken_pages:
                    look.page_failed(calls)
                    for call in calls:
                        call.missed(self.now)
                    continue
                items = self.listed[(page - 1) * MAX_PAGE_SIZE : page * MAX_PAGE_SIZE]
                found = [call_id for call_id in items if call_id in self.waiting]
                for call_id in found:
                    self.waiting[call_id].listed_at(page, items.index(call_id), len(self.listed))
                is_last = page * MAX_PAGE_SIZE >= len(self.listed)
                look.page_read(page, found, len(self.listed), is_last)
        self.total = look.total
        return sorted(read), {call.call_id for call in look.rest()}


def test_one_call_is_fetched() -> None:
    """A page would be a request, too, and a hundred times as long."""
    agent = Agent()
    agent.place(500, waited=False)
    agent.place(1, waited=True)

    assert agent.look() == ([], {"call 500"})
    assert agent.look() == ([], {"call 500"})


def test_two_calls_share_a_page() -> None:
    """One request does for both."""
    agent = Agent()
    agent.place(2, waited=True)

    assert agent.look() == ([1], set())


def test_a_thousand_calls_take_ten_pages_whatever_is_older() -> None:
    """Old calls cost nothing: they're further down."""
    agent = Agent()
    agent.place(50_000, waited=False)
    agent.place(1_000, waited=True)

    for _ in range(3):
        assert agent.look() == ([*range(1, 11)], set())


def test_newer_calls_move_the_others_down() -> None:
    """The pages are known again from the second look after that on, and no call is fetched for it."""
    agent = Agent()
    agent.place(1_000, waited=True)
    agent.look()
    agent.place(250, waited=False)

    read, fetched = agent.look()
    assert fetched == set()
    assert len(read) <= 13
    assert agent.look() == ([*range(3, 14)], set())


def test_calls_far_down_are_found_once_and_then_known() -> None:
    """The search takes fewer requests than to fetch each call; the next look needs only their pages."""
    agent = Agent()
    agent.place(300, waited=True)
    agent.place(5_000, waited=False)

    read, fetched = agent.look()
    assert fetched == set()
    assert read == [*range(1, 54)]
    assert agent.look() == ([51, 52, 53], set())


def test_a_search_never_costs_more_than_fetching() -> None:
    """Two calls at the end of a long list: two pages in vain, and not again soon."""
    agent = Agent()
    agent.place(2, waited=True)
    agent.place(50_000, waited=False)

    assert agent.look() == ([1, 2], {"call 0", "call 1"})
    assert agent.look() == ([], {"call 0", "call 1"})
    agent.now += 3_600
    assert agent.look() == ([1, 2], {"call 0", "call 1"})


def test_a_few_old_stragglers_are_fetched() -> None:
    """New calls come from their page; one that is alone on its page is cheaper singly."""
    agent = Agent()
    agent.place(1, waited=True)
    agent.place(400, waited=False)
    agent.place(50, waited=True)

    assert agent.look() == ([1], {"call 0"})
    assert agent.look() == ([1], {"call 0"})


def test_calls_that_the_list_lacks_are_fetched() -> None:
    """A list may lag: what it doesn't have is fetched, what it has isn't."""
    agent = Agent()
    agent.place(10, waited=True)
    agent.listed = agent.listed[3:]

    assert agent.look() == ([1], {"call 7", "call 8", "call 9"})


def test_calls_on_a_page_that_cannot_be_read_are_fetched_in_the_end() -> None:
    """A broken page costs its calls three looks, and the others nothing."""
    agent = Agent()
    agent.place(200, waited=True)
    agent.look()
    agent.broken_pages = {2}

    for _ in range(3):
        assert agent.look() == ([1, 2], set())
    assert agent.look() == ([1], {f"call {number}" for number in range(100)})


def test_pages_are_read_in_the_same_order_at_each_look() -> None:
    """So that each is read an interval after it was, whatever call on it is left."""
    agent = Agent()
    agent.place(300, waited=True)
    agent.look()

    waiting = [*agent.waiting.values()]
    orders = [[*Look(order, agent.total, 0.0).next_pages()] for order in (waiting, waiting[::-1])]

    assert orders == [[1, 2, 3], [1, 2, 3]]


def test_urgent_pages_are_read_first() -> None:
    """What an earlier look didn't reach, and calls that nobody has looked at yet."""
    agent = Agent()
    agent.place(300, waited=True)
    agent.look()
    for call in agent.waiting.values():
        call.due = 20.0
    late = [call for call in agent.waiting.values() if call.ordinal is not None and call.ordinal <= 100]
    for call in late:
        call.due = 10.0
    due = sorted(agent.waiting.values(), key=lambda call: call.due)

    assert [*Look(due, agent.total, 0.0).next_pages()] == [3, 1, 2]


@given(
    st.lists(st.tuples(st.integers(0, 300), st.booleans()), max_size=8),
    st.lists(st.integers(0, 250), min_size=1, max_size=4),
)
def test_every_call_is_seen_for_no_more_requests_than_calls(
    history: list[tuple[int, bool]], placed_between_looks: list[int]
) -> None:
    """Whatever the list is like: no call is left out, and a look never costs twice what fetching would."""
    agent = Agent()
    for number, waited in history:
        agent.place(number, waited=waited)

    for number in placed_between_looks:
        read, fetched = agent.look()

        seen = {
            call_id
            for page in read
            for call_id in agent.listed[(page - 1) * MAX_PAGE_SIZE : page * MAX_PAGE_SIZE]
        }
        assert set(agent.waiting) <= seen | fetched
        assert len(read) == len(set(read))
        assert len(read) + len(fetched) <= 2 * len(agent.waiting)
        agent.place(number, waited=False)
