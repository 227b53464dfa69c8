"""The order of the line: what start-time fair queueing promises, rule by rule and as theorems on random schedules."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import combinations, count, pairwise

import pytest
from hypothesis import given, settings
from hypothesis.strategies import DrawFn, composite, floats, integers, lists, none, sampled_from, tuples

from jobs.fair import LEAST_TURN_MS, MOST_PASSES, FairLine
from jobs.line import Waiting

SVD, PARALLAX = "svd", "parallax"
SECOND = 1000


@dataclass(frozen=True)
class Asked:
    """A short way to say who asks for what in a test."""

    fair: FairLine
    numbers: count[int]

    def __call__(
        self, person: str, cost_ms: int = SECOND, *, guild: str = "g", kind: str = SVD, times: int = 1
    ) -> list[Waiting]:
        """The person asks so many times."""
        jobs = [
            Waiting(f"{person}{number}", guild, person, "c", kind, cost_ms, number)
            for number, _ in zip(self.numbers, range(times), strict=False)
        ]
        for job in jobs:
            self.fair.add(job)
        return jobs


def empty() -> tuple[FairLine, Asked]:
    fair = FairLine()
    return fair, Asked(fair, count(1))


def order(fair: FairLine, *kinds: str) -> list[str]:
    """Who is served, until nobody is."""
    return [job.person for job in iter(lambda: fair.take(kinds or (SVD,)), None)]


# Rule by rule


def test_people_take_turns_whoever_asked_more() -> None:
    fair, ask = empty()
    for person in "AABCCA":
        ask(person)

    assert order(fair) == list("ABCACA")


def test_with_fifty_jobs_of_one_person_waiting_anothers_single_job_starts_next() -> None:
    fair, ask = empty()
    ask("greedy", times=50)
    fair.take([SVD])
    ask("late")

    assert order(fair)[:2] == ["late", "greedy"]


def test_turns_are_counted_in_gpu_time_not_in_jobs() -> None:
    fair, ask = empty()
    ask("long", 30 * SECOND, times=2)
    ask("short", 10 * SECOND, times=6)

    assert order(fair)[:6] == ["long", "short", "short", "short", "long", "short"]


def test_twice_the_weight_is_twice_the_share() -> None:
    fair, ask = empty()
    fair.terms("g", "booster", weight=2)
    ask("booster", times=40)
    ask("member", times=40)

    assert Counter(order(fair)[:30]) == {"booster": 20, "member": 10}


def test_servers_share_first_and_then_their_people() -> None:
    """Nine people of one server get together what the one person of another gets alone."""
    fair, ask = empty()
    for person in "abcdefghi":
        ask(person, guild="large", times=5)
    ask("z", guild="small", times=20)

    assert Counter(order(fair)[:20])["z"] == 10


def test_who_was_idle_has_saved_nothing_up() -> None:
    fair, ask = empty()
    ask("busy", times=30)
    for _ in range(20):
        fair.take([SVD])
    ask("idle", times=10)

    assert order(fair)[:6] == ["idle", "busy", "idle", "busy", "idle", "busy"]


def test_a_cancelled_job_costs_its_person_nothing() -> None:
    fair, ask = empty()
    [_, second, _] = ask("a", 10 * SECOND, times=3)
    ask("b", 10 * SECOND, times=3)
    fair.remove(second)

    assert order(fair) == ["a", "b", "a", "b", "b"]


def test_a_failure_counts_as_the_turn_that_it_really_was() -> None:
    """A minute was expected, twelve seconds it took: two of hers go before the next of b's, which would be six more."""
    fair, ask = empty()
    [broken, *_] = ask("a", 60 * SECOND, times=2)
    ask("b", 5 * SECOND, times=4)
    assert fair.take([SVD]) == broken
    fair.fail(broken, 12 * SECOND)

    assert order(fair) == ["b", "b", "b", "a", "b"]


@pytest.mark.parametrize("used_ms", [0, 400, 60 * SECOND])
def test_who_fails_and_asks_again_at_once_does_not_go_before_others_for_ever(used_ms: int) -> None:
    fair, ask = empty()
    ask("b", 60 * SECOND, times=2)
    assert fair.take([SVD])
    ask("a", 60 * SECOND)
    started: list[str] = []
    while "b" not in started:
        job = fair.take([SVD])
        assert job
        started.append(job.person)
        fair.fail(job, used_ms)
        ask("a", 60 * SECOND)

    assert started.count("a") <= 6, "a failure counts for ten seconds at least"


def test_what_a_failure_gives_back_lets_nobody_stand_before_a_newcomer() -> None:
    """While a's long job ran, b was served for a minute: a's claim to that minute is gone with the job."""
    fair, ask = empty()
    [long] = ask("a", 600 * SECOND)
    ask("b", 20 * SECOND, times=9)
    assert fair.take([SVD]) == long
    for _ in range(4):
        fair.take([SVD])
    ask("new", 20 * SECOND)
    ask("a", 20 * SECOND, times=3)
    fair.fail(long, 1 * SECOND)

    assert order(fair)[:3] == ["new", "a", "b"]


def test_a_job_that_came_back_and_is_then_cancelled_has_had_its_turn() -> None:
    fair, ask = empty()
    ask("b", 60 * SECOND, times=2)
    assert fair.take([SVD])
    started: list[str] = []
    ask("a", 60 * SECOND)
    for _ in range(3):
        job = fair.take([SVD])
        assert job
        started.append(job.person)
        if job.person == "b":
            break
        fair.release(job, 0.0)
        fair.remove(job)
        ask("a", 60 * SECOND)

    assert started == ["a", "b"]


def test_what_is_given_back_is_what_was_charged_though_a_role_changed_meanwhile() -> None:
    fair, ask = empty()
    fair.terms("g", "a", weight=4, guild_weight=2)
    [first, _] = ask("a", 100 * SECOND, times=2)
    assert fair.take([SVD]) == first
    fair.terms("g", "a", weight=1, guild_weight=1)
    fair.finish(first, 20 * SECOND)
    guild = fair.guilds["g"]

    assert guild.people["a"].flow.tag == pytest.approx(5 * SECOND, abs=1)
    assert guild.flow.tag == pytest.approx(10 * SECOND, abs=1)


def test_what_it_really_cost_counts_in_the_end() -> None:
    fair, ask = empty()
    [first, _] = ask("a", times=2)
    ask("b", times=3)
    assert fair.take([SVD]) == first
    fair.finish(first, 3 * SECOND)

    assert order(fair) == ["b", "b", "b", "a"]


def test_a_job_given_back_stands_where_it_stood() -> None:
    fair, ask = empty()
    [first, *_] = ask("a", times=2)
    ask("b", times=1)
    assert fair.take([SVD]) == first
    fair.release(first)

    assert fair.take([SVD]) == first


def test_a_person_at_their_running_limit_lets_others_pass_and_saves_nothing_up() -> None:
    fair, ask = empty()
    fair.terms("g", "a", most=1)
    [first, *_] = ask("a", times=3)
    ask("b", times=6)
    assert [fair.take([SVD]).person for _ in range(4)] == ["a", "b", "b", "b"]  # type: ignore[union-attr]
    fair.finish(first)

    assert [fair.take([SVD]).person for _ in range(3)] == ["a", "b", "b"]  # type: ignore[union-attr]


def test_a_worker_starts_what_it_can_do() -> None:
    fair, ask = empty()
    ask("a")
    ask("a", kind=PARALLAX)

    assert [job.kind for job in iter(lambda: fair.take([PARALLAX]), None)] == [PARALLAX]
    assert fair.take([]) is None


def test_a_model_that_is_there_is_used_before_another_is_loaded() -> None:
    fair, ask = empty()
    for number in range(4):
        ask(f"s{number}", kind=SVD)
        ask(f"p{number}", kind=PARALLAX)
    warm, order_of_kinds = PARALLAX, []
    while job := fair.take([SVD, PARALLAX], [warm], slack_ms=5 * SECOND):
        warm = job.kind
        order_of_kinds.append(job.kind)

    switches = sum(before != after for before, after in pairwise(order_of_kinds))
    assert switches < 4, "in turn it would be seven"


def test_nobody_is_passed_for_ever() -> None:
    fair, ask = empty()
    ask("cold", kind=SVD)
    for number in range(20):
        ask(f"warm{number}", kind=PARALLAX)
    started = [fair.take([SVD, PARALLAX], [PARALLAX], slack_ms=10**9) for _ in range(MOST_PASSES + 1)]

    assert [job.person for job in started if job][-1] == "cold"


def test_a_job_far_behind_may_not_pass_though_its_model_is_there() -> None:
    fair, ask = empty()
    ask("heavy", 60 * SECOND, kind=PARALLAX, times=2)
    ask("light", kind=SVD)
    fair.take([PARALLAX])

    assert order(fair, SVD, PARALLAX)[0] == "light"


def test_nobody_passes_themselves() -> None:
    fair, ask = empty()
    [first] = ask("a", kind=SVD)
    ask("a", kind=PARALLAX)

    assert fair.take([SVD, PARALLAX], [PARALLAX], slack_ms=10**9) == first


# Over random schedules


@dataclass(frozen=True)
class Schedule:
    """Weights, and what happens: somebody asks (person, cost), or a worker is free.

    What that worker takes fails after so much of its estimate, and its person asks again at once; None: it does not.
    """

    weights: dict[str, float]
    events: list[tuple[str, int] | float | None]


PEOPLE = ("a", "b", "c", "d")


@composite
def schedules(draw: DrawFn) -> Schedule:
    weights = {person: draw(sampled_from([0.5, 1.0, 2.0, 3.0])) for person in PEOPLE}
    asks = tuples(sampled_from(PEOPLE), integers(1, 300 * SECOND))
    frees = lists(sampled_from([None, None, None, 0.0, 0.1, 1.0, 1.9]), max_size=8)
    bursts = draw(lists(tuples(lists(asks, max_size=8), frees), min_size=1, max_size=8))
    return Schedule(weights, [event for asked, free in bursts for event in (*asked, *free)])


@dataclass(frozen=True)
class Served:
    """A job that was started, the turn that it had, and who was backlogged just then."""

    job: Waiting
    turn_ms: float
    backlogged: frozenset[str]


def play(schedule: Schedule, *, by_guild: bool = False) -> list[Served]:
    """The schedule, with people in one server, or each as a server of their own."""
    fair, ask = empty()
    waiting: Counter[str] = Counter()
    served: list[Served] = []
    for event in schedule.events:
        if isinstance(event, tuple):
            person, cost_ms = event
            guild, weight = (person if by_guild else "g"), schedule.weights[person]
            fair.terms(guild, person, **({"guild_weight": weight} if by_guild else {"weight": weight}))
            ask(person, cost_ms, guild=guild)
            waiting[person] += 1
        elif job := fair.take([SVD]):
            backlogged = frozenset(person for person in PEOPLE if waiting[person])
            served.append(Served(job, turn_ms(job, event), backlogged))
            if event is None:
                waiting[job.person] -= 1
            else:
                ask(job.person, job.cost_ms, guild=job.guild)
                fair.fail(job, event * job.cost_ms)
    return served


def turn_ms(job: Waiting, fails_after: float | None) -> float:
    """What a job that takes so much of its estimate counts in the line."""
    return job.cost_ms if fails_after is None else max(fails_after * job.cost_ms, min(job.cost_ms, LEAST_TURN_MS))


def check_bound(schedule: Schedule, served: list[Served]) -> None:
    """Theorem 1 for each pair of flows and each interval in which both are backlogged."""
    for a, b in combinations(PEOPLE, 2):
        weight_a, weight_b = schedule.weights[a], schedule.weights[b]
        most = {
            who: max((max(start.job.cost_ms, start.turn_ms) for start in served if start.job.person == who), default=0)
            for who in (a, b)
        }
        bound = most[a] / weight_a + most[b] / weight_b
        for begin in range(len(served)):
            got = {a: 0.0, b: 0.0}
            for start in served[begin:]:
                if not {a, b} <= start.backlogged:
                    break
                if start.job.person in got:
                    got[start.job.person] += start.turn_ms
                assert abs(got[a] / weight_a - got[b] / weight_b) <= bound + TIES_MS


TIES_MS = 0.1
"""What all the fractions that tell equal tags apart can add up to, and the rounding of sums."""


@settings(max_examples=500, deadline=None)
@given(schedules())
def test_backlogged_people_are_served_alike_up_to_one_job_of_each(schedule: Schedule) -> None:
    check_bound(schedule, play(schedule))


@settings(max_examples=300, deadline=None)
@given(schedules())
def test_backlogged_servers_are_served_alike_up_to_one_job_of_each(schedule: Schedule) -> None:
    check_bound(schedule, play(schedule, by_guild=True))


@settings(max_examples=300, deadline=None)
@given(schedules())
def test_a_persons_jobs_start_in_the_order_in_which_they_came(schedule: Schedule) -> None:
    for person in PEOPLE:
        theirs = [start.job.seq for start in play(schedule) if start.job.person == person]
        assert theirs == sorted(theirs)


@settings(max_examples=300, deadline=None)
@given(schedules(), floats(0.1, 10))
def test_a_newcomer_waits_for_at_most_one_job_of_each_other_newcomer(schedule: Schedule, weight: float) -> None:
    """And for the jobs that run already: who was served before stands behind, however many jobs they have in line."""
    fair, ask = empty()
    served: set[str] = set()
    for event in schedule.events:
        if isinstance(event, tuple):
            ask(*event)
        elif job := fair.take([SVD]):
            served.add(job.person)
    fair.terms("g", "newcomer", weight=weight)
    ask("newcomer", 10**9)
    before = order(fair)
    before = before[: before.index("newcomer")]

    assert all(times == 1 for times in Counter(before).values())


@settings(max_examples=300, deadline=None)
@given(schedules(), none() | floats(0, 2))
def test_nobody_starves_while_others_keep_asking(schedule: Schedule, fails_after: float | None) -> None:
    """What goes before a waiting job is at most what each other flow may use until its tag has passed.

    Though all others' jobs fail, and they ask again at once.
    """
    fair, ask = empty()
    for event in schedule.events:
        if isinstance(event, tuple):
            ask(*event)
    [last] = ask("patient", SECOND)
    for _ in range(10_000):
        job = fair.take([SVD])
        if job == last:
            return
        assert job is not None
        ask(job.person, 300 * SECOND)
        if fails_after is not None:
            fair.fail(job, fails_after * job.cost_ms)
    raise AssertionError("it never came to its turn")
