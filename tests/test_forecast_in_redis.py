"""What is said of the line is what the real queue then does; what is said of a job before it is queued, holds."""

from __future__ import annotations

import asyncio
import heapq
import random
import time
from collections.abc import Mapping
from itertools import count

import pytest

from bot.forecasts import Forecasts
from jobs.costs import Costs, Pace
from jobs.forecast import UNKNOWN_LOADING_MS, look_ahead
from jobs.queue import JobQueue
from jobs.record import Lease, Submission
from jobs.requests.parallax import ParallaxRequest
from jobs.requests.svd import SvdRequest
from jobs.workers import Advert, Workers
from tests.queued import CLIP, submission

SVD, PARALLAX = "svd", "parallax"
NOTHING_LEARNT = Pace({})


STEPS = {SVD: SvdRequest(), "svd/svd-xt": SvdRequest(model="svd-xt"), PARALLAX: ParallaxRequest()}
LARGE = Advert(worker="large", host="l", device="0", systems={SVD: ("svd-xt",), PARALLAX: ()}, warm=(PARALLAX, SVD))
SMALL = Advert(worker="small", host="s", device="0", systems={PARALLAX: ()})


def anything(chance: random.Random, job_id: str) -> Submission:
    """Somebody of two servers asks for something, on some terms."""
    return submission(
        job_id, person=chance.choice("abcd"), guild=chance.choice(["1", "2"]), step=STEPS[chance.choice(list(STEPS))],
        cost_ms=chance.randint(1, 90) * 1_000, weight=chance.choice([0.5, 1.0, 2.0]),
        running=chance.choice([0, 0, 1]), waiting=0,
    )  # fmt: skip


async def played(queue: JobQueue, adverts: Mapping[str, Advert], begins_ms: int) -> dict[str, int]:
    """Let these workers serve the real queue, on a clock of ours: when each job started."""
    starts, numbers, warm = dict[str, int](), count(), {name: list(advert.warm) for name, advert in adverts.items()}
    events: list[tuple[int, int, str, Lease | None]] = [(begins_ms, next(numbers), name, None) for name in adverts]
    idle: list[str] = []
    while events:
        now_ms, _, name, ended = heapq.heappop(events)
        if ended:
            await queue.settle(ended, CLIP, gpu_ms=(await queue.job(ended.job_id)).submission.estimate_ms)
        else:
            idle.append(name)
        for name in tuple(idle):
            taken = await queue.take(name, adverts[name].kinds, warm[name], slack_ms=UNKNOWN_LOADING_MS)
            if taken:
                idle.remove(name)
                starts[taken.job_id] = now_ms
                kind, free_ms = taken.job.submission.kind, now_ms + taken.job.submission.estimate_ms
                room = max(1, len(adverts[name].warm))
                warm[name] = [*(held for held in warm[name] if held != kind), kind][-room:]
                heapq.heappush(events, (free_ms, next(numbers), name, None))
                heapq.heappush(events, (free_ms, next(numbers), "", taken))
    return starts


@pytest.mark.parametrize("seed", range(12))
async def test_jobs_start_in_the_order_and_at_the_times_that_were_said(queue: JobQueue, seed: int) -> None:
    chance = random.Random(seed)
    for number in range(25):
        await queue.enqueue(anything(chance, str(number)))
    workers = {advert.worker: advert for advert in ((LARGE, SMALL) if seed % 2 else (LARGE,))}
    line = await queue.line()
    said = look_ahead(line, list(workers.values()), NOTHING_LEARNT, line.at_ms).places
    starts = await played(queue, workers, line.at_ms)

    assert {job_id: expected.starts_ms for job_id, expected in said.items()} == starts
    assert sorted(said, key=lambda job_id: said[job_id].ahead) == list(starts)


def forecasts(queue: JobQueue) -> Forecasts:
    """As a bot that was just started has them."""
    return Forecasts(queue, Workers(queue.redis), Costs(queue.redis))


@pytest.mark.parametrize("seed", range(12))
async def test_what_is_said_before_a_job_is_queued_is_what_holds_when_it_is(queue: JobQueue, seed: int) -> None:
    """Some run, something may be paused, and the one who asks may have jobs in line already."""
    chance = random.Random(seed)
    for advert in (LARGE, SMALL):
        await Workers(queue.redis).advertise(advert)
    for number in range(chance.choice([0, 1, 8, 20])):
        await queue.enqueue(anything(chance, str(number)))
    await queue.take("large", LARGE.kinds, LARGE.warm)
    if seed % 3 == 0:
        await queue.pause(chance.choice(["guild:1", "channel:55", "guild:elsewhere"]), "mod")
    asked = anything(chance, "asked")
    said = await forecasts(queue).of(asked)
    assert "asked" not in (await forecasts(queue).get()).places, "only asked about"
    await queue.enqueue(asked)
    came = (await forecasts(queue).get()).places["asked"]

    assert (said.ahead, said.reason) == (came.ahead, came.reason)
    assert said.starts_ms == pytest.approx(came.starts_ms, abs=800)
    assert said.ends_ms == pytest.approx(came.ends_ms, abs=800)


async def test_a_pause_is_seen_before_the_held_jobs_turn_comes(queue: JobQueue) -> None:
    """The queue itself holds a job only when a worker gets to it, which may be in half an hour."""
    await Workers(queue.redis).advertise(LARGE)
    await queue.enqueue(submission("here", cost_ms=60_000))
    await queue.enqueue(submission("elsewhere", guild="6", channel="66"))
    await queue.pause("channel:55", "mod")
    places = (await forecasts(queue).get()).places

    assert places["here"].reason == "paused"
    assert (places["elsewhere"].ahead, places["elsewhere"].reason) == (0, "")


async def test_many_who_ask_at_once_share_one_look(queue: JobQueue) -> None:
    await queue.enqueue(submission("1"))
    asked = forecasts(queue)
    looks = {id(await asked.get()) for _ in range(50)}

    assert len(looks) == 1


async def test_somebody_new_is_not_kept_waiting_for_the_next_second(queue: JobQueue) -> None:
    await Workers(queue.redis).advertise(LARGE)
    asked = forecasts(queue)
    assert (await asked.get()).places == {}
    await queue.enqueue(submission("new"))

    assert (await asked.get()).places == {}, "for who wants nobody in particular it is new enough"
    end = time.monotonic() + 0.8
    while "new" not in (await asked.get(["new"])).places:
        assert time.monotonic() < end
        await asyncio.sleep(0.01)
    assert "new" in (await asked.get()).places


async def test_a_job_that_is_in_no_line_is_not_looked_for_again_and_again(queue: JobQueue) -> None:
    for number in range(200):
        await queue.enqueue(submission(str(number), person=str(number)))
    asked = forecasts(queue)

    first = await asked.get(["nobody"])
    assert await asked.get(["nobody"]) is first, "at most a fifth of the time, however long the line is"
