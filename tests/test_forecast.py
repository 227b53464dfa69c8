"""When each job will start: small lines that are checked by hand, and who comes later or stands far behind."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from itertools import count

from jobs.costs import Learnt, Pace
from jobs.fair import FairLine
from jobs.forecast import OVERDUE, UNKNOWN_LOADING_MS, Expected, look_ahead, remaining_ms
from jobs.line import Flow, Guild, Line, Running, Waiting
from jobs.newcomers import WINDOW_MS, Newcomers
from jobs.workers import Advert

NOW = 1_000_000
SVD, PARALLAX = "svd", "parallax"
NOTHING_LEARNT = Pace({})


def worker(name: str = "w1", *systems: str, warm: tuple[str, ...] = (), **more: object) -> Advert:
    """A worker that is online; for svd if nothing else is said."""
    known = {"host": name, "device": "0", "systems": dict.fromkeys(systems or (SVD,), ())}
    return Advert.model_validate({"worker": name, **known, "warm": warm, **more})


@dataclass
class Play:
    """A small line, as it would be read from Redis."""

    fair: FairLine = field(default_factory=FairLine)
    waiting: list[Waiting] = field(default_factory=list[Waiting])
    running: list[Running] = field(default_factory=list[Running])
    numbers: count[int] = field(default_factory=lambda: count(1))

    def asks(
        self, person: str, ms: int, kind: str = SVD, *, guild: str = "g", held: bool = False, most: int = 0
    ) -> Waiting:
        """Somebody asks; the jobs are called ann1, bob2, … as they come."""
        number = next(self.numbers)
        job = Waiting(f"{person}{number}", guild, person, "c", kind, ms, number, held)
        if not held:
            self.fair.terms(guild, person, most=most)
            self.fair.add(job)
        self.waiting.append(job)
        return job

    def runs(self, person: str, ms: int, since_ms: int, on: str = "w1", kind: str = SVD, *, most: int = 0) -> Running:
        """A job of theirs has been with a worker for so long."""
        job = self.asks(person, ms, kind, most=most)
        self.waiting.remove(job)
        assert self.fair.take([kind]) == job, "say first who runs"
        started = Running(job.id, "g", person, "c", kind, ms, on, NOW - since_ms)
        self.running.append(started)
        return started

    @property
    def line(self) -> Line:
        """As a value."""
        guilds = {
            name: Guild(
                replace(guild.flow), guild.virtual_time, {who: replace(p.flow) for who, p in guild.people.items()}
            )
            for name, guild in self.fair.guilds.items()
        }
        return Line(NOW, self.fair.virtual_time, guilds, tuple(self.waiting), tuple(self.running))

    def seen(self, *adverts: Advert, pace: Pace = NOTHING_LEARNT, **more: object) -> dict[str, Expected]:
        """What is to be expected, in milliseconds from now."""
        forecast = look_ahead(self.line, adverts, pace, NOW, **more)  # type: ignore[arg-type]
        return {job_id: since_now(expected) for job_id, expected in forecast.places.items()}


def since_now(expected: Expected) -> Expected:
    if expected.reason:
        return expected
    return replace(expected, starts_ms=expected.starts_ms - NOW, ends_ms=expected.ends_ms - NOW)


# --- by hand ---


def test_people_take_turns_on_one_worker() -> None:
    """ann asked for three and then bob for one: he is second."""
    play = Play()
    for person in ("ann", "ann", "ann", "bob"):
        play.asks(person, 10_000)

    assert play.seen(worker()) == {
        "ann1": Expected(0, 0, 10_000),
        "bob4": Expected(1, 10_000, 20_000),
        "ann2": Expected(2, 20_000, 30_000),
        "ann3": Expected(3, 30_000, 40_000),
    }


def test_two_workers_each_take_the_next_when_they_are_free() -> None:
    play = Play()
    for person, ms in (("ann", 30_000), ("bob", 10_000), ("carl", 10_000), ("dora", 5_000)):
        play.asks(person, ms)

    assert play.seen(worker("w1"), worker("w2")) == {
        "ann1": Expected(0, 0, 30_000),
        "bob2": Expected(1, 0, 10_000),
        "carl3": Expected(2, 10_000, 20_000),
        "dora4": Expected(3, 20_000, 25_000),
    }


def test_a_slow_card_is_known_to_be_slow() -> None:
    play = Play()
    play.asks("ann", 10_000)
    play.asks("bob", 10_000)
    pace = Pace({SVD: Learnt.nothing(SVD).model_copy(update={"devices": {"slow": 3.0}})})

    assert play.seen(worker(device_name="slow"), pace=pace)["bob2"] == Expected(1, 30_000, 60_000)


def test_what_runs_is_finished_first_and_has_nobody_ahead() -> None:
    play = Play()
    running = play.runs("ann", 30_000, since_ms=20_000)
    play.asks("bob", 5_000)

    assert play.seen(worker()) == {running.id: Expected(0, -20_000, 10_000), "bob2": Expected(0, 10_000, 15_000)}


def test_what_should_have_been_done_long_ago_is_never_said_to_be_done_by_now() -> None:
    play = Play()
    running = play.runs("ann", 10_000, since_ms=100_000)
    play.asks("bob", 5_000)
    seen = play.seen(worker())

    assert seen[running.id].ends_ms == seen["bob2"].starts_ms == OVERDUE * 100_000
    assert remaining_ms(10_000, 4_000) == 6_000
    assert remaining_ms(10_000, 9_999) == OVERDUE * 10_000


def test_the_older_of_two_jobs_in_one_workers_hands_is_being_written_and_does_not_hold_the_device() -> None:
    """A worker takes the next job while the last one's clip is encoded."""
    play = Play()
    old = play.runs("ann", 10_000, since_ms=12_000)
    new = play.runs("bob", 10_000, since_ms=2_000)
    play.asks("carl", 5_000)
    pace = Pace({SVD: Learnt.nothing(SVD).model_copy(update={"beside_ms": 3_000.0})})
    seen = play.seen(worker(), pace=pace)

    assert seen[old.id].ends_ms == 3_000
    assert seen[new.id].ends_ms == 11_000
    assert seen["carl3"] == Expected(0, 8_000, 16_000), "the device is free while the clip is written"


def test_held_jobs_get_no_time_and_nobody_waits_for_them() -> None:
    play = Play()
    play.asks("ann", 60_000, held=True)
    play.asks("bob", 10_000)

    assert play.seen(worker()) == {"bob2": Expected(0, 0, 10_000), "ann1": Expected(1, 0, 0, "paused")}


def test_what_no_machine_online_can_run_gets_the_reason_instead_of_a_time() -> None:
    play = Play()
    play.asks("ann", 10_000, PARALLAX)
    play.asks("bob", 10_000)

    assert play.seen(worker()) == {"bob2": Expected(0, 0, 10_000), "ann1": Expected(1, 0, 0, "no_worker")}
    assert {each.reason for each in play.seen().values()} == {"no_worker"}


def test_a_worker_that_leaves_finishes_what_it_has_and_takes_nothing_more() -> None:
    play = Play()
    running = play.runs("ann", 30_000, since_ms=10_000)
    play.asks("bob", 10_000)

    assert play.seen(worker(leaving=True, job=running.id)) == {
        running.id: Expected(0, -10_000, 20_000),
        "bob2": Expected(0, 0, 0, "no_worker"),
    }
    assert play.seen(worker(leaving=True, job=running.id), worker("w2"))["bob2"] == Expected(0, 0, 10_000)


def test_models_that_must_be_loaded_take_their_time_and_then_are_there() -> None:
    play = Play()
    for _ in range(2):
        play.asks("ann", 10_000)
    pace = Pace({SVD: Learnt.nothing(SVD).model_copy(update={"loading_ms": {SVD: 25_000.0}})})

    assert play.seen(worker(), pace=pace) == {"ann1": Expected(0, 0, 35_000), "ann2": Expected(1, 35_000, 45_000)}
    assert play.seen(worker(warm=(SVD,)), pace=pace)["ann1"] == Expected(0, 0, 10_000)


def test_who_may_run_one_at_a_time_waits_for_their_own() -> None:
    """ann's second could start on the second worker at once, but she may have one running."""
    play = Play()
    for _ in range(2):
        play.asks("ann", 10_000, most=1)
    play.asks("bob", 4_000)

    assert play.seen(worker("w1"), worker("w2")) == {
        "ann1": Expected(0, 0, 10_000),
        "bob3": Expected(1, 0, 4_000),
        "ann2": Expected(2, 10_000, 20_000),
    }


def test_a_running_job_of_theirs_counts_even_on_a_worker_that_is_gone() -> None:
    play = Play()
    play.runs("ann", 10_000, since_ms=0, on="gone", most=1)
    play.asks("ann", 5_000, most=1)

    assert play.seen(worker())["ann2"] == Expected(0, 10_000, 15_000)


def test_a_job_whose_models_are_there_is_let_pass_within_a_bound() -> None:
    play = Play()
    play.asks("ann", 10_000, PARALLAX)
    play.asks("bob", 10_000, SVD)
    both = worker("w1", SVD, PARALLAX, warm=(SVD,))

    assert UNKNOWN_LOADING_MS == 20_000
    assert play.seen(both)["bob2"] == Expected(0, 0, 10_000)
    assert play.seen(both)["ann1"] == Expected(1, 10_000, 20_000)


# --- who comes later, and who stands far behind ---


def test_a_newcomers_first_job_overtakes_a_busy_persons_fifth() -> None:
    """An hour ago carl came, half a minute after this minute of the hour; so he is expected again."""
    play, newcomers = Play(), Newcomers()
    empty = Line(NOW + 30_000 - WINDOW_MS, 0.0, {}, (), ())
    newcomers.see(empty)
    newcomers.see(replace(empty, waiting=(Waiting("old", "g", "carl", "c", SVD, 20_000, 1),)))
    for _ in range(5):
        play.asks("ann", 20_000)
    alone, together = play.seen(worker()), play.seen(worker(), newcomers=newcomers)

    assert [alone[f"ann{number}"].starts_ms for number in range(1, 6)] == [0, 20_000, 40_000, 60_000, 80_000]
    assert [together[f"ann{number}"].starts_ms for number in range(1, 6)] == [0, 20_000, 60_000, 80_000, 100_000]
    assert [together[f"ann{number}"].ahead for number in range(1, 6)] == [0, 1, 2, 3, 4], (
        "who is not there is not counted"
    )
    assert set(together) == set(alone), "nobody is told of a job that nobody asked for"


def test_who_came_over_an_hour_ago_is_not_expected_again_and_the_first_look_tells_nothing() -> None:
    newcomers = Newcomers()
    line = Line(NOW, 0.0, {}, (Waiting("a", "g", "ann", "c", SVD, 1, 1),), ())
    newcomers.see(line)
    assert list(newcomers.again(NOW)) == []
    newcomers.see(replace(line, waiting=(*line.waiting, Waiting("b", "g", "bob", "c", SVD, 1, 2))))

    assert next(newcomers.again(NOW + 1_000))[0] == NOW + WINDOW_MS
    assert list(newcomers.again(NOW + WINDOW_MS)) == []


def test_beyond_the_cut_off_times_are_coarse_and_still_in_order() -> None:
    play = Play()
    for _ in range(6):
        play.asks("ann", 10_000)
    seen = play.seen(worker("w1"), worker("w2"), most=2)

    assert [seen[f"ann{number}"].ahead for number in range(1, 7)] == list(range(6))
    assert [seen[f"ann{number}"].starts_ms for number in range(1, 7)] == [0, 0, 5_000, 10_000, 15_000, 20_000]
    assert all(each.ends_ms - each.starts_ms == 10_000 for each in seen.values())


def test_nobody_beyond_the_cut_off_is_told_a_time_that_has_passed() -> None:
    play = Play()
    play.runs("ann", 60_000, since_ms=50_000)
    play.asks("bob", 1_000)

    assert play.seen(worker(), most=0)["bob2"].starts_ms >= 0


def test_ten_thousand_who_wait_are_all_told_something() -> None:
    play, chance = Play(), random.Random(1)
    for number in range(10_000):
        play.asks(f"p{number % 700}", chance.randint(1, 60) * 1_000, guild=f"g{number % 9}")
    seen = play.seen(*(worker(f"w{number}") for number in range(4)), most=1_000)

    assert len(seen) == 10_000
    assert sorted(each.ahead for each in seen.values()) == list(range(10_000))
    assert all(each.ends_ms > each.starts_ms >= 0 for each in seen.values())


def test_flows_of_the_line_are_left_as_they_were() -> None:
    """A forecast plays on copies: the same line can be looked at twice."""
    play = Play()
    play.asks("ann", 10_000)
    line = play.line
    before = Flow(**vars(line.guilds["g"].people["ann"]))

    assert look_ahead(line, [worker()], NOTHING_LEARNT, NOW) == look_ahead(line, [worker()], NOTHING_LEARNT, NOW)
    assert line.guilds["g"].people["ann"] == before
