"""A job that no machine can run waits for one, but not for ever; and it is given up once, for that reason alone."""

from collections.abc import Iterable

import pytest

from bot.strays import BLIND_SECONDS, LEAST_SECONDS, LOOK_SECONDS, Strays
from jobs.queue import DELIVERIES, JobQueue
from jobs.record import Failed, State
from jobs.requests.svd import SvdRequest
from jobs.texts import say
from jobs.workers import Advert, Workers
from tests.queued import submission

MINUTES = 2.0
LOOKS = round(MINUTES * 60 / LOOK_SECONDS)
"""After the first one, until a job is given up."""


class Watch:
    """The bot's watch, on a clock of ours."""

    def __init__(self, queue: JobQueue, minutes: float = MINUTES) -> None:
        self.strays = Strays(queue, Workers(queue.redis), minutes)
        self.now = 5_000_000.0

    async def looks(self, times: int) -> list[str]:
        """So many looks in the usual pace: whom they gave up."""
        return [job_id for _ in range(times) for job_id in await self._look(LOOK_SECONDS)]

    async def after(self, seconds: float) -> list[str]:
        """One look, so much later."""
        return await self._look(seconds)

    async def _look(self, seconds: float) -> list[str]:
        self.now += seconds
        return await self.strays.look(self.now)


async def online(queue: JobQueue, systems: Iterable[str], *, leaving: bool = False) -> None:
    known = dict.fromkeys(systems, ())
    await Workers(queue.redis).advertise(Advert(worker="w1", host="h", device="cpu", systems=known, leaving=leaving))


async def test_a_job_for_which_no_machine_comes_is_given_up_when_it_was_said_and_not_before(queue: JobQueue) -> None:
    await queue.enqueue(submission("1", step=SvdRequest(model="svd-xt")))
    await online(queue, ["parallax"])
    watch = Watch(queue)

    assert await watch.looks(LOOKS) == []
    assert (await queue.job("1")).state is State.WAITING
    assert await watch.looks(1) == ["1"]


async def test_it_ends_once_with_the_reason_in_words(queue: JobQueue) -> None:
    await queue.enqueue(submission("1", step=SvdRequest(model="svd-xt")))
    watch = Watch(queue)
    await watch.looks(LOOKS + 1)
    job = await queue.job("1")
    assert job.state is State.FAILED
    assert isinstance(job.outcome, Failed)
    reason = job.outcome.reason

    assert (reason.code, dict(reason.facts)) == ("nobody_came", {"kind": "svd-xt", "time": "2 minutes"})
    assert say(reason.code, reason.facts).startswith("No machine that can run **svd-xt** came online within 2 minutes")
    assert await queue.redis.zrange(DELIVERIES, 0, -1) == [b"deliver-1"]
    assert await watch.looks(LOOKS + 2) == []
    assert await queue.redis.zrange(DELIVERIES, 0, -1) == [b"deliver-1"]
    assert (await queue.line()).waiting == ()


async def test_two_bots_that_watch_give_it_up_once(queue: JobQueue) -> None:
    await queue.enqueue(submission("1"))
    one, other = Watch(queue), Watch(queue)
    given_up = [*await one.looks(LOOKS + 1), *await other.looks(LOOKS + 1)]

    assert given_up == ["1"]


async def test_a_machine_that_comes_back_in_time_keeps_its_jobs_and_the_time_begins_anew(queue: JobQueue) -> None:
    await queue.enqueue(submission("1"))
    watch = Watch(queue)
    await watch.looks(LOOKS)
    await online(queue, ["parallax"])
    assert await watch.looks(3) == []
    await Workers(queue.redis).leave("w1")

    assert await watch.looks(LOOKS) == []
    assert await watch.looks(1) == ["1"]


async def test_a_long_line_is_no_reason(queue: JobQueue) -> None:
    await queue.enqueue(submission("1"))
    await online(queue, ["parallax"])

    assert await Watch(queue).looks(LOOKS * 3) == []


async def test_a_machine_that_is_leaving_will_not_run_it(queue: JobQueue) -> None:
    await queue.enqueue(submission("1"))
    await online(queue, ["parallax"], leaving=True)

    assert await Watch(queue).looks(LOOKS + 1) == ["1"]


@pytest.mark.parametrize("scope", ["all", "guild:5", "channel:55"])
async def test_who_is_paused_does_not_wait_for_a_machine(queue: JobQueue, scope: str) -> None:
    await queue.enqueue(submission("1"))
    await queue.enqueue(submission("2", guild="6", channel="66"))
    await queue.pause(scope, "mod")
    watch = Watch(queue)
    assert await watch.looks(LOOKS + 1) == ([] if scope == "all" else ["2"])
    await queue.resume(scope)

    assert await watch.looks(LOOKS) == []
    assert "1" in await watch.looks(1)


async def test_what_runs_is_never_given_up(queue: JobQueue) -> None:
    await queue.enqueue(submission("1"))
    await queue.claim("1", "w1")

    assert await Watch(queue).looks(LOOKS + 1) == []


async def test_time_in_which_nobody_looked_does_not_count(queue: JobQueue) -> None:
    """Redis was away for an hour, and the workers have not spoken again yet when it is back."""
    await queue.enqueue(submission("1"))
    watch = Watch(queue)
    await watch.looks(1)
    assert await watch.after(3_600) == []
    left = LOOKS - round(BLIND_SECONDS / LOOK_SECONDS)

    assert await watch.looks(left - 1) == []
    assert await watch.looks(1) == ["1"]


async def test_a_bot_that_was_just_started_has_seen_nobody_wait(queue: JobQueue) -> None:
    await queue.enqueue(submission("1"))
    await Watch(queue).looks(LOOKS)

    assert await Watch(queue).looks(LOOKS) == []


async def test_where_such_jobs_are_refused_those_accepted_before_still_wait_some_minutes(queue: JobQueue) -> None:
    await queue.enqueue(submission("1"))
    watch = Watch(queue, minutes=0)

    assert await watch.looks(round(LEAST_SECONDS / LOOK_SECONDS)) == []
    assert await watch.looks(1) == ["1"]
