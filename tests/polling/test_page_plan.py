"""The page plan, against a list that changes as an agent's list does."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_telzino.api.endpoints import MAX_PAGE_SIZE
from airflow_provider_telzino.polling.page_plan import CallPositions, PagePlan


@dataclass
class Agent:
    """An agent's list, newest first, and the calls on it that are waited for."""

    listed: list[str] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)
    positions: CallPositions = field(default_factory=CallPositions)
    broken_pages: set[int] = field(default_factory=set)
    now: float = 0.0

    def place(self, number: int, *, waited: bool) -> None:
        """Place calls; wait for them, or not."""
        for _ in range(number):
            call_id = f"call {len(self.listed)}"
            self.listed.insert(0, call_id)
            if waited:
                self.waiting.append(call_id)
                self.positions.add(call_id)

    def poll(self) -> tuple[list[int], set[str]]:
        """Poll once; return the pages that were read, and the calls that are fetched singly."""
        plan = self.plan()
        read = []
        while expected := plan.next_pages():
            for page, call_ids in expected.items():
                read.append(page)
                if page in self.broken_pages:
                    plan.page_failed(call_ids)
                    plan.page_broken(call_ids)
                    continue
                items = self.page(page)
                found = {call_id: index for index, call_id in enumerate(items) if call_id in self.waiting}
                is_last = page * MAX_PAGE_SIZE >= len(self.listed)
                plan.page_read(page, found, len(self.listed), is_last)
        return sorted(read), set(plan.single_calls())

    def plan(self, due: dict[str, float] | None = None) -> PagePlan:
        """Plan a poll: of all calls, unless it is said when each is due."""
        return PagePlan(self.positions, due or dict.fromkeys(self.waiting, 0.0), self.now)

    def page(self, number: int) -> list[str]:
        """Return the items of a page."""
        return self.listed[(number - 1) * MAX_PAGE_SIZE : number * MAX_PAGE_SIZE]


def test_one_call_is_fetched() -> None:
    """A page would be a request as well, with a hundred times as many records."""
    agent = Agent()
    agent.place(500, waited=False)
    agent.place(1, waited=True)

    assert agent.poll() == ([], {"call 500"})
    assert agent.poll() == ([], {"call 500"})


def test_two_calls_share_a_page() -> None:
    """One request serves both."""
    agent = Agent()
    agent.place(2, waited=True)

    assert agent.poll() == ([1], set())


def test_a_thousand_calls_take_ten_pages_whatever_is_older() -> None:
    """Older calls cost nothing: they are further down."""
    agent = Agent()
    agent.place(50_000, waited=False)
    agent.place(1_000, waited=True)

    for _ in range(3):
        assert agent.poll() == ([*range(1, 11)], set())


def test_newer_calls_move_the_others_down() -> None:
    """One poll finds them on their new pages, the next reads only those; no call is fetched singly."""
    agent = Agent()
    agent.place(1_000, waited=True)
    agent.poll()
    agent.place(250, waited=False)

    read, fetched = agent.poll()

    assert fetched == set()
    assert len(read) <= 13
    assert agent.poll() == ([*range(3, 14)], set())


def test_calls_far_down_are_found_once_and_then_known() -> None:
    """The search takes fewer requests than fetching each call; the next poll needs only their pages."""
    agent = Agent()
    agent.place(300, waited=True)
    agent.place(5_000, waited=False)

    read, fetched = agent.poll()
    assert fetched == set()
    assert read == [*range(1, 54)]
    assert agent.poll() == ([51, 52, 53], set())


def test_a_search_never_costs_more_than_fetching() -> None:
    """Two calls at the end of a long list: two useless pages, and not again soon."""
    agent = Agent()
    agent.place(2, waited=True)
    agent.place(50_000, waited=False)

    assert agent.poll() == ([1, 2], {"call 0", "call 1"})
    assert agent.poll() == ([], {"call 0", "call 1"})
    agent.now += 3_600
    assert agent.poll() == ([1, 2], {"call 0", "call 1"})


def test_a_few_old_stragglers_are_fetched() -> None:
    """New calls come with their page; one that is alone on its page is cheaper singly."""
    agent = Agent()
    agent.place(1, waited=True)
    agent.place(400, waited=False)
    agent.place(50, waited=True)

    assert agent.poll() == ([1], {"call 0"})
    assert agent.poll() == ([1], {"call 0"})


def test_calls_that_the_list_lacks_are_fetched() -> None:
    """A list may lag: the calls that it lacks are fetched, the others are not."""
    agent = Agent()
    agent.place(10, waited=True)
    agent.listed = agent.listed[3:]

    assert agent.poll() == ([1], {"call 7", "call 8", "call 9"})


def test_calls_on_a_broken_page_are_fetched_after_three_polls() -> None:
    """A broken page costs its calls three polls, and the others nothing."""
    agent = Agent()
    agent.place(200, waited=True)
    agent.poll()
    agent.broken_pages = {2}

    for _ in range(3):
        assert agent.poll() == ([1, 2], set())
    assert agent.poll() == ([1], {f"call {number}" for number in range(100)})


def test_pages_are_read_in_the_same_order_at_each_poll() -> None:
    """So that each page is read once an interval, whichever calls on it are left."""
    agent = Agent()
    agent.place(300, waited=True)
    agent.poll()

    orders = [
        [*agent.plan(dict.fromkeys(waiting, 0.0)).next_pages()]
        for waiting in (agent.waiting, agent.waiting[::-1])
    ]

    assert orders == [[1, 2, 3], [1, 2, 3]]


def test_urgent_pages_are_read_first() -> None:
    """They have calls that an earlier poll missed, or that were never polled."""
    agent = Agent()
    agent.place(300, waited=True)
    agent.poll()
    due = dict.fromkeys(agent.waiting, 20.0) | dict.fromkeys(agent.page(3), 10.0)

    assert [*agent.plan(due).next_pages()] == [3, 1, 2]


def test_a_call_whose_wait_leaves_during_a_poll_is_forgotten() -> None:
    """The poll continues for the others, and nothing is kept for the one that left."""
    agent = Agent()
    agent.place(3, waited=True)
    plan = agent.plan()
    expected = plan.next_pages()

    agent.positions.remove("call 1")
    plan.page_read(1, {"call 2": 0, "call 1": 1}, total=3, is_last=True)
    plan.page_broken(expected[1])

    assert plan.single_calls() == ["call 0"]
    assert agent.positions.get("call 1") is None


@given(
    st.lists(st.tuples(st.integers(0, 300), st.booleans()), max_size=8),
    st.lists(st.integers(0, 250), min_size=1, max_size=4),
)
def test_every_call_is_seen_for_no_more_requests_than_calls(
    history: list[tuple[int, bool]], placed_between_polls: list[int]
) -> None:
    """Whatever the list is like: no call is left out, and a poll never costs twice what fetching would."""
    agent = Agent()
    for number, waited in history:
        agent.place(number, waited=waited)

    for number in placed_between_polls:
        read, fetched = agent.poll()

        seen = {call_id for page in read for call_id in agent.page(page)}
        assert set(agent.waiting) <= seen | fetched
        assert len(read) == len(set(read))
        assert len(read) + len(fetched) <= 2 * len(agent.waiting)
        agent.place(number, waited=False)
