"""Whatever dies, every open job is found again, at its place, and tried so often and no more."""

import pytest
from redis._parsers.base import BaseParser
from redis.exceptions import RedisError, ResponseError

from jobs.queue import DELIVERIES, REDIS_AWAY, RENDERS, JobQueue
from jobs.record import Cancelled, Failed, State
from tests.queued import (
    ANN,
    CLIP,
    arq_would_start,
    dying,
    ended,
    lose_arqs_keys,
    running,
    submission,
    waiting_in_order,
)

# Back into the line


@pytest.mark.parametrize(("free", "attempts"), [(True, 0), (False, 1)])
async def test_a_job_given_back_keeps_its_place(queue: JobQueue, free: bool, attempts: int) -> None:
    lease = await running(queue, "1")
    for job_id in ("2", "3"):
        await queue.enqueue(submission(job_id))
    await queue.redis.set("arq:in-progress:1", "1", ex=900)  # arq's own mark of the worker that had it
    await queue.release(lease, free=free)
    job = await queue.job("1")

    assert await waiting_in_order(queue) == ["1", "2", "3"]
    assert (job.state, job.attempts, job.worker) == (State.WAITING, attempts, None)
    assert await arq_would_start(queue, RENDERS, "1")


async def test_a_job_that_was_cancelled_and_then_given_back_is_cancelled(queue: JobQueue) -> None:
    lease = await running(queue)
    await queue.cancel("1001", ANN)
    await queue.release(lease, free=True)

    assert (await queue.job("1001")).outcome == Cancelled(by=ANN)


# Mending


async def test_a_healthy_queue_needs_no_mending(queue: JobQueue) -> None:
    await queue.enqueue(submission("1"))
    await running(queue, "2")
    await ended(queue, "3")

    assert await queue.reconcile() == {}


@pytest.mark.parametrize("lost", ["arq:job:1", RENDERS])
async def test_a_waiting_job_that_arq_forgot_is_put_back_at_its_place(queue: JobQueue, lost: str) -> None:
    for job_id in ("1", "2"):
        await queue.enqueue(submission(job_id))
    await queue.redis.delete(lost)
    mended = await queue.reconcile()

    assert "1" in mended["requeued"]
    assert await waiting_in_order(queue) == ["1", "2"]
    assert await arq_would_start(queue, RENDERS, "1")


async def test_a_job_that_fell_out_of_its_persons_line_is_put_back(queue: JobQueue) -> None:
    for job_id in ("1", "2"):
        await queue.enqueue(submission(job_id))
    await queue.redis.zrem("zoetrope:line:5:7:parallax", "1")

    assert await queue.reconcile() == {"requeued": ["1"]}
    assert await waiting_in_order(queue) == ["1", "2"]


async def test_a_mark_that_a_dead_worker_left_hides_nothing(queue: JobQueue) -> None:
    """arq's mark lives for the job's time limit, two hours and more: so long would arq itself not see the job."""
    await queue.enqueue(submission())
    await queue.redis.set("arq:in-progress:1001", "1", ex=7210)
    lease = await queue.take("w2", ["parallax"])

    assert lease is not None
    assert lease.job_id == "1001"


async def test_a_lost_machine_costs_a_job_no_try_and_one_that_takes_many_with_it_ends(queue: JobQueue) -> None:
    for job_id in ("1", "2"):
        await queue.enqueue(submission(job_id))
    for _ in range(queue.lost_leases - 1):
        await dying(queue).claim("1", "w1")
        await queue.redis.set("arq:in-progress:1", "1", ex=7210)
        assert await queue.reconcile() == {"recovered": ["1"]}
        assert await waiting_in_order(queue) == ["1", "2"]
        assert await arq_would_start(queue, RENDERS, "1")
        assert (await queue.job("1")).attempts == 0
    await dying(queue).claim("1", "w1")
    assert await queue.reconcile() == {"failed": ["1"]}
    assert queue.lost_leases > queue.attempts
    outcome = (await queue.job("1")).outcome

    assert isinstance(outcome, Failed)
    assert outcome.reason.code == "worker_lost"
    assert await waiting_in_order(queue) == ["2"]
    assert await arq_would_start(queue, DELIVERIES, "deliver-1")


async def test_a_dead_workers_job_that_was_cancelled_meanwhile_is_not_started_again(queue: JobQueue) -> None:
    await queue.enqueue(submission())
    await dying(queue).claim("1001", "w1")
    await queue.cancel("1001", ANN)

    assert await queue.reconcile() == {"cancelled": ["1001"]}
    assert (await queue.job("1001")).outcome == Cancelled(by=ANN)
    assert await queue.head_of_line(9) == []


async def test_one_job_that_cannot_be_mended_keeps_none_of_the_others_from_it(
    queue: JobQueue, caplog: pytest.LogCaptureFixture
) -> None:
    for job_id in ("1", "2", "3"):
        await queue.enqueue(submission(job_id))
        await dying(queue).claim(job_id, "w1")
    await queue.redis.hdel("zoetrope:job:2", "guild")

    assert await queue.reconcile() == {"recovered": ["1", "3"]}
    assert "job 2 cannot be mended" in caplog.text


async def test_a_server_that_can_do_no_work_now_is_away_and_an_error_in_a_script_is_a_bug(queue: JobQueue) -> None:
    """The one ends by itself, the other never does: who waits for it would wait for ever."""
    await queue.enqueue(submission())
    await queue.redis.config_set("maxmemory", 1)
    try:
        with pytest.raises(REDIS_AWAY):
            await queue.take("w1", ["parallax"])
    finally:
        await queue.redis.config_set("maxmemory", 0)
    await queue.redis.hdel("zoetrope:job:1001", "guild")
    with pytest.raises(ResponseError) as raised:
        await queue.take("w1", ["parallax"])

    assert not isinstance(raised.value, REDIS_AWAY)


@pytest.mark.parametrize(
    ("answer", "away"),
    [
        ("LOADING Redis is loading the dataset in memory", True),
        ("READONLY You can't write against a read only replica.", True),
        ("MASTERDOWN Link with MASTER is down", True),
        ("TRYAGAIN Multiple keys request during rehashing of slot", True),
        ("OOM command not allowed when used memory > 'maxmemory'.", True),
        ("MISCONF Errors writing to the AOF file: No space left on device", True),
        ("BUSY Redis is busy running a script.", True),
        ("NOREPLICAS Not enough good replicas to write.", True),
        ("ERR Error running script (call to f_1): @user_script:5: @user_script: 5: -READONLY You can't write", True),
        ("ERR Error running script: attempt to index a nil value", False),
        ("WRONGTYPE Operation against a key holding the wrong kind of value", False),
    ],
)
async def test_an_answer_is_read_as_what_it_is(queue: JobQueue, answer: str, away: bool) -> None:
    async def answers(*_: object, **__: object) -> None:
        raise BaseParser().parse_error(answer)

    await queue.enqueue(submission())
    queue._scripts["claim"] = answers  # pyright: ignore[reportPrivateUsage]
    with pytest.raises(RedisError) as raised:
        await queue.claim("1001", "w1")

    assert isinstance(raised.value, REDIS_AWAY) == away


async def test_an_end_that_arq_forgot_is_handed_to_the_bot_again(queue: JobQueue) -> None:
    await ended(queue)
    await lose_arqs_keys(queue, "1001")
    assert await queue.reconcile() == {"delivery": ["1001"]}

    assert await arq_would_start(queue, DELIVERIES, "deliver-1001")
    assert await queue.reconcile() == {}


async def test_an_end_that_is_being_posted_is_left_alone(queue: JobQueue) -> None:
    await ended(queue)
    await queue.redis.set("arq:in-progress:deliver-1001", "1", ex=900)
    assert await queue.delivering("1001", begins=True)

    assert await queue.reconcile() == {}
    assert not await arq_would_start(queue, DELIVERIES, "deliver-1001")


async def test_an_end_whose_bot_died_while_posting_is_free_once_its_lease_has_run_out(queue: JobQueue) -> None:
    await ended(queue)
    await queue.redis.set("arq:in-progress:deliver-1001", "1", ex=900)
    assert await dying(queue).delivering("1001", begins=True)

    assert await queue.reconcile() == {"delivery": ["1001"]}
    assert await arq_would_start(queue, DELIVERIES, "deliver-1001")


async def test_there_is_nothing_to_post_before_the_end_and_after_the_close(queue: JobQueue) -> None:
    lease = await running(queue)
    assert not await queue.delivering("1001", begins=True)
    await queue.settle(lease, CLIP)
    assert await queue.delivering("1001", begins=True)
    await queue.close("1001", "900")

    assert not await queue.delivering("1001", begins=True)


async def test_the_tries_at_posting_an_end_are_counted_across_bots(queue: JobQueue) -> None:
    await ended(queue)
    tries = [await queue.delivering("1001", begins=begins) for begins in (True, False, True, False)]

    assert tries == [1, 1, 2, 2]
