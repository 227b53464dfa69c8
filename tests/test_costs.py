"""What jobs cost is learnt from what jobs have cost: quickly, without being led astray, and by all workers together."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Callable
from statistics import fmean
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis.strategies import booleans, builds, floats, integers, lists, sampled_from, tuples

from jobs.costs import COSTS, MOST_RENDERS, Costs, Estimate, Learnt, Pace
from jobs.fitting import Render, fit
from jobs.queue import JobQueue
from jobs.record import Job, Rendered, State
from jobs.requests import BY_SYSTEM
from jobs.requests.base import Rates, Work
from jobs.requests.parallax import ParallaxRequest
from jobs.requests.svd import SvdRequest
from tests.queued import CLIP, submission

PRIOR = SvdRequest.prior
FAST, SLOW = "RTX 4090", "RTX 3060"
Machine = Callable[[Work], float]


def works(chance: random.Random) -> Work:
    """What people ask for."""
    return Work(chance.randint(8, 40), chance.uniform(0.2, 1.0), chance.choice([10, 15, 25, 25, 25, 40]))


def linear(rates: Rates, slower: float = 1.0, scatter: float = 0.0, seed: int = 1) -> Machine:
    """A machine of the law that the fit believes in, with scatter."""
    chance = random.Random(seed)
    return lambda work: rates.ms(work) * slower * math.exp(chance.gauss(0, scatter))


def taught(machine: Machine, renders: int, learnt: Learnt | None = None, device: str = "", seed: int = 5) -> Learnt:
    """What is known after so many renders on this machine."""
    learnt, chance = learnt or Learnt.nothing("svd"), random.Random(seed)
    for _ in range(renders):
        work = works(chance)
        learnt = learnt.learn(work, machine(work), device)
    return learnt


def with_history(machine: Machine, device: str = "") -> Learnt:
    """What is known after as many renders as are remembered, at once."""
    chance = random.Random(6)
    seen = [(work, machine(work)) for work in (works(chance) for _ in range(MOST_RENDERS))]
    renders = tuple(Render(work.frames, work.megapixels, work.steps, ms, device) for work, ms in seen)
    rates, devices = fit(renders, PRIOR)
    known = {"renders": renders, "rates": rates, "devices": devices, "samples": MOST_RENDERS, "error": 0.05}
    return Learnt.nothing("svd").model_copy(update=known)


def off(learnt: Learnt, machine: Machine, device: str = "") -> float:
    """By how much estimates are off on the average, as a share of the truth."""
    chance = random.Random(99)
    asked = [works(chance) for _ in range(60)]
    return fmean(abs(learnt.estimate(work, device).gpu_ms / machine(work) - 1) for work in asked)


# --- the fit ---


def test_before_the_first_render_the_requests_own_guess_holds_and_says_that_it_is_one() -> None:
    work = Work(25, 0.59, 25)
    said = Learnt.nothing("svd").estimate(work, "any card")

    assert said == Estimate(round(PRIOR.ms(work)), error=1.0, samples=0)
    assert fit([], PRIOR) == (PRIOR, {})


def test_one_render_tells_how_fast_the_machine_is() -> None:
    """Another card is another factor: the first render on one that is five times slower tells most of it."""
    machine = linear(PRIOR, slower=5)

    assert off(Learnt.nothing("svd"), machine) == pytest.approx(0.8, abs=0.01)
    assert off(taught(machine, 1), machine) < 0.02


@pytest.mark.parametrize("seed", range(4))
def test_the_truth_is_found_whatever_the_machine(seed: int) -> None:
    """Three rates, each far from what was guessed, with 10 % of scatter."""
    chance = random.Random(seed)
    truth = Rates(220 * chance.uniform(0.2, 3), 600 * chance.uniform(0.2, 6), 20_000 * chance.random())
    learnt = taught(linear(truth, scatter=0.1, seed=seed), 50, seed=seed)

    assert off(learnt, linear(truth)) < 0.09
    assert learnt.error < 0.2
    assert learnt.samples == 50


def test_two_kinds_of_device_each_have_their_factor() -> None:
    fast, slow = linear(PRIOR, 0.5, 0.05), linear(PRIOR, 2.0, 0.05, seed=2)
    learnt, chance = Learnt.nothing("svd"), random.Random(3)
    for _ in range(40):
        machine, device = chance.choice([(fast, FAST), (fast, FAST), (slow, SLOW)])
        work = works(chance)
        learnt = learnt.learn(work, machine(work), device)

    assert learnt.devices[SLOW] / learnt.devices[FAST] == pytest.approx(4, rel=0.15)
    assert off(learnt, linear(PRIOR, 0.5), FAST) < 0.08
    assert off(learnt, linear(PRIOR, 2.0), SLOW) < 0.08


def test_a_card_that_nobody_measured_is_taken_for_a_usual_one() -> None:
    learnt = taught(linear(PRIOR, 2.0), 20, device=SLOW)
    work = Work(25, 0.59, 25)

    assert learnt.estimate(work, "new card").gpu_ms == learnt.estimate(work).gpu_ms


@pytest.mark.parametrize("stutter", [0.01, 10, 1000])
def test_a_stutter_moves_it_little(stutter: float) -> None:
    machine = linear(PRIOR, scatter=0.05)
    learnt = with_history(machine)
    work = Work(25, 0.59, 25)
    after = learnt.learn(work, machine(work) * stutter)

    assert off(after, linear(PRIOR)) < off(learnt, linear(PRIOR)) + 0.03


@pytest.mark.parametrize("slower", [0.5, 2.0])
def test_a_machine_that_has_changed_is_followed_within_eight_renders(slower: float) -> None:
    """A new driver, or a game on the same card. So much was seen before that it would outvote the change for a day."""
    learnt = with_history(linear(PRIOR, scatter=0.05), FAST)
    changed, truth = linear(PRIOR, slower, 0.05, seed=8), linear(PRIOR, slower)
    assert off(learnt, truth) > 0.4
    followed = taught(changed, 8, learnt, FAST)
    later = taught(changed, 20, followed, FAST)

    assert off(followed, truth, FAST) < 0.1
    assert off(followed, truth) < 0.1, "of a card that is not known yet, too"
    assert off(later, truth, FAST) < 0.05
    assert list(followed.devices) == [FAST]


def test_one_card_that_has_changed_leaves_the_others_estimates_alone() -> None:
    both, chance = Learnt.nothing("svd"), random.Random(1)
    for number in range(40):
        work, device = works(chance), (FAST, SLOW)[number % 2]
        both = both.learn(work, linear(PRIOR, 1 if device == FAST else 3)(work), device)
    throttled = taught(linear(PRIOR, 2), 10, both, FAST)

    assert off(throttled, linear(PRIOR, 2), FAST) < 0.1
    assert off(throttled, linear(PRIOR, 3), SLOW) < 0.1


def test_how_far_off_it_is_is_known() -> None:
    """What the owner reads as ± is what the last estimates were really off by."""
    exact, rough = taught(linear(PRIOR, scatter=0.02), 40), taught(linear(PRIOR, scatter=0.4), 40)

    assert exact.error < 0.05
    assert 0.2 < rough.error < 0.6


renders = builds(
    Render,
    frames=integers(1, 240),
    megapixels=floats(0.004, 4),
    steps=integers(0, 100),
    ms=floats(1, 10**7),
    device=sampled_from(["", FAST, SLOW]),
)


@given(lists(renders, max_size=40), sampled_from([SvdRequest.prior, ParallaxRequest.prior]))
@settings(max_examples=80, deadline=None)
def test_whatever_was_seen_no_rate_is_negative_and_no_estimate_is_nothing(seen: list[Render], prior: Rates) -> None:
    rates, devices = fit(seen, prior)

    assert all(0 <= rate < math.inf for rate in (rates.per_step, rates.per_frame, rates.constant))
    assert set(devices) == {each.device for each in seen}
    assert all(0 < factor < math.inf for factor in devices.values())


more = tuples(integers(0, 40), floats(0, 1), integers(0, 40))


@given(lists(renders, min_size=1, max_size=10), tuples(integers(1, 100), floats(0.01, 2), integers(0, 50)), more)
@settings(max_examples=30, deadline=None)
def test_more_work_never_costs_less(
    seen: list[Render], work: tuple[int, float, int], extra: tuple[int, float, int]
) -> None:
    learnt = Learnt.nothing("svd")
    for each in seen:
        learnt = learnt.learn(each.work, each.ms, each.device)
    larger = Work(work[0] + extra[0], work[1] + extra[1], work[2] + extra[2])

    for device in ("", FAST, SLOW):
        assert 1 <= learnt.estimate(Work(*work), device).gpu_ms <= learnt.estimate(larger, device).gpu_ms


@given(lists(tuples(booleans(), floats(0.5, 2)), min_size=20, max_size=60))
@settings(max_examples=6, deadline=None)
def test_parallax_with_and_without_depth_may_cost_quite_different(seen: list[tuple[bool, float]]) -> None:
    """All frames alike, and one step or none: what a look at the depth takes is told from the rest."""
    learnt = Learnt.nothing("parallax")
    for deep, scatter in seen:
        learnt = learnt.learn(Work(72, 0.9, int(deep)), (30_000 if deep else 500) * scatter)

    assert learnt.estimate(Work(72, 0.9, 0)).gpu_ms <= learnt.estimate(Work(72, 0.9, 1)).gpu_ms


@pytest.mark.parametrize("measured", [0, -5.0, math.inf, math.nan])
def test_what_cannot_be_a_measurement_teaches_nothing(measured: float) -> None:
    learnt = taught(linear(PRIOR), 3)

    assert learnt.learn(Work(25, 0.59, 25), measured) is learnt


# --- loading, and what is done beside the device ---


def test_loading_is_known_by_kind_and_a_warm_start_is_no_load() -> None:
    learnt = Learnt.nothing("svd").learn_around("svd/svd-xt", 20_000, 0)
    for _ in range(10):
        learnt = learnt.learn_around("svd/svd-xt", 3, 0)
    pace = Pace({"svd": learnt})

    assert 15_000 < pace.loading_ms("svd/svd-xt") <= 20_000
    assert pace.loading_ms("svd/svd") == pace.loading_ms("svd/svd-xt"), "nobody saw it: as long as another checkpoint"
    assert pace.loading_ms("parallax") == 0


def test_a_faster_disk_is_noticed_in_the_end() -> None:
    learnt = Learnt.nothing("svd").learn_around("svd", 60_000, 0)
    for _ in range(150):
        learnt = learnt.learn_around("svd", 4_000, 0)

    assert learnt.loading_ms["svd"] < 6_000


def test_one_upload_that_hung_for_an_hour_does_not_put_off_every_clip() -> None:
    learnt, chance = Learnt.nothing("svd"), random.Random(1)
    for beside_ms in (2_000, 2_000, 2_000, 3_600_000):
        work = works(chance)
        learnt = learnt.learn(work, PRIOR.ms(work)).learn_around("svd", 0, beside_ms)

    assert 2_000 <= Pace({"svd": learnt}).beside_ms("svd/svd-xt") < 4_000


@pytest.mark.parametrize("beside_ms", [math.nan, math.inf, -5.0])
def test_an_impossible_time_beside_leaves_a_document_that_can_be_read(beside_ms: float) -> None:
    learnt = taught(linear(PRIOR), 1).learn_around("svd", math.inf, beside_ms)

    assert Learnt.model_validate_json(learnt.model_dump_json()) == learnt
    assert (learnt.beside_ms, learnt.loading_ms) == (0, {})


# --- in Redis ---


JOB = Job(submission=submission(step=SvdRequest()), state=State.RENDERED)
WORK = SvdRequest().work({})


def done(gpu_ms: int, loading_ms: int = 0, beside_ms: int = 0) -> Rendered:
    """A clip that took so much."""
    seconds = (gpu_ms + loading_ms + beside_ms) / 1000
    return CLIP.model_copy(update={"gpu_ms": gpu_ms, "loading_ms": loading_ms, "seconds": seconds})


async def test_what_a_job_took_is_known_to_whoever_asks_next_even_after_a_restart(queue: JobQueue) -> None:
    for _ in range(3):
        await Costs(queue.redis).learn(JOB, done(40_000, loading_ms=9_000, beside_ms=2_500), FAST)
    asked = Costs(queue.redis)
    said = await asked.estimate(JOB.submission.recipe)
    pace = await asked.pace()

    assert said.gpu_ms == pytest.approx(40_000, rel=0.02)
    assert said.samples == 3
    assert said.error < 1
    assert await asked.loading_ms("svd") == 9_000
    assert pace.beside_ms("svd") == pytest.approx(2_500)
    assert 0 < await queue.redis.ttl(COSTS) <= 366 * 86_400


async def test_workers_that_teach_at_the_same_moment_lose_no_lesson(queue: JobQueue) -> None:
    workers = [Costs(queue.redis) for _ in range(6)]
    await asyncio.gather(*(costs.learn(JOB, done(40_000), FAST) for costs in workers for _ in range(5)))

    assert (await Costs(queue.redis).learnt("svd")).samples == 30
    assert len((await Costs(queue.redis).learnt("svd")).renders) == 30


async def test_systems_do_not_teach_one_another(queue: JobQueue) -> None:
    costs = Costs(queue.redis)
    await costs.learn(JOB, done(40_000), FAST)

    assert await costs.learnt("parallax") == Learnt.nothing("parallax")


async def test_a_clip_without_a_measurement_teaches_nothing_at_all(queue: JobQueue) -> None:
    """Else all of its time would pass for time beside the device."""
    costs = Costs(queue.redis)
    await costs.learn(JOB, CLIP.model_copy(update={"seconds": 600.0, "loading_ms": 5_000}), FAST)

    assert await costs.learnt("svd") == Learnt.nothing("svd")


@pytest.mark.parametrize("document", ["", "{", "[]", '{"system": "svd"}', '{"from": "another version"}', "null"])
async def test_what_cannot_be_read_is_as_if_nothing_was_learnt_and_is_learnt_anew(
    queue: JobQueue, document: str
) -> None:
    costs = Costs(queue.redis)
    await queue.redis.hset(COSTS, "svd", document)
    assert (await costs.estimate(JOB.submission.recipe)).samples == 0
    assert (await costs.pace()).error("svd") == 1.0
    await costs.learn(JOB, done(40_000), FAST)

    assert (await costs.estimate(JOB.submission.recipe)).samples == 1


async def test_the_owner_sees_each_system_and_kind_of_device_with_how_sure_that_is(queue: JobQueue) -> None:
    costs = Costs(queue.redis)
    for _ in range(8):
        await costs.learn(JOB, done(20_000, loading_ms=7_000), FAST)
        await costs.learn(JOB, done(60_000, loading_ms=7_000), SLOW)
    rows = {(row.system, row.device_name): row for row in await costs.table()}

    assert {row for row in rows if row[0] in ("svd", "parallax")} == {("svd", FAST), ("svd", SLOW), ("parallax", "")}
    assert {system for system, _ in rows} == set(BY_SYSTEM)
    fast, slow, guess = rows["svd", FAST], rows["svd", SLOW], rows["parallax", ""]
    assert (fast.samples, fast.loading_ms) == (16, 7_000)
    assert fast.estimate_ms == pytest.approx(20_000, rel=0.1)
    assert slow.estimate_ms == pytest.approx(60_000, rel=0.1)
    assert 0 < fast.error < 1
    assert (guess.samples, guess.error, guess.loading_ms) == (0, 1.0, 0)
    assert guess.estimate_ms > 1_000, "a request that leaves all at its defaults"


def test_a_device_without_lessons_is_as_fast_as_any() -> None:
    pace = Pace({"svd": taught(linear(PRIOR), 3, device=FAST)})
    factor = cast(float, pace.learnt["svd"].devices[FAST])

    assert pace.runs_ms("svd/svd-xt", 10_000, FAST) == pytest.approx(10_000 * factor)
    assert pace.runs_ms("svd", 10_000, "new") == pace.runs_ms("unheard of", 10_000, FAST) == 10_000
