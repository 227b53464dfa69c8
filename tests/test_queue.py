"""The queue's promises: a job is taken in once, rendered by one, and ended once."""

import asyncio
import contextlib

import pytest
from pydantic import ValidationError

from jobs.errors import Note
from jobs.queue import DELIVERIES, RENDERS, JobQueue, LeaseLost, NoSuchJob, NotYours, TooManyJobs
from jobs.record import Cancelled, Failed, Progress, State
from tests.queued import ANN, CLIP, arq_would_start, dying, ended, running, submission, waiting_in_order

BOB = "8"
OUT_OF_MEMORY = Failed(reason=Note(code="out_of_memory"))


# Into the line


async def test_what_was_asked_comes_back_as_it_went_in(queue: JobQueue) -> None:
    asked = submission(name='Ann "🎞️" O\'Hara \\ \n')
    job = await queue.enqueue(asked)

    assert job == await queue.job(asked.id)
    assert (job.submission, job.state, job.attempts, job.outcome) == (asked, State.WAITING, 0, None)


async def test_asking_twice_is_asking_once(queue: JobQueue) -> None:
    first = await queue.enqueue(submission())
    again = await queue.enqueue(submission(name="somebody who repeats the id"))

    assert again == first
    assert await queue.head_of_line(9) == ["1001"]


async def test_asking_again_does_not_disturb_a_job_that_runs_or_has_ended(queue: JobQueue) -> None:
    lease = await running(queue)
    assert (await queue.enqueue(submission())).state is State.RUNNING
    await queue.settle(lease, CLIP)

    assert (await queue.enqueue(submission())).state is State.RENDERED


async def test_the_first_who_asks_is_the_first_in_line(queue: JobQueue) -> None:
    ids = ["1009", "1001", "1005", "1003-2"]
    for job_id in ids:
        await queue.enqueue(submission(job_id))

    assert await waiting_in_order(queue) == ids
    assert [job.id for job in (await queue.line()).waiting] == ids
    assert await queue.head_of_line(9) == ids[:1], "arq sees what is next"


async def test_one_person_may_have_so_many_open_jobs_and_others_still_may(queue: JobQueue) -> None:
    for job_id in ("1", "2"):
        await queue.enqueue(submission(job_id, person=ANN, waiting=2))
    with pytest.raises(TooManyJobs) as refused:
        await queue.enqueue(submission("3", person=ANN, waiting=2))

    assert refused.value.facts == {"most": 2}
    assert await queue.open_jobs() == ["1", "2"]
    await queue.enqueue(submission("4", person=BOB, waiting=2))


async def test_a_repeated_call_is_not_refused_for_the_job_it_made_itself(queue: JobQueue) -> None:
    for _ in range(2):
        await queue.enqueue(submission("1", waiting=1))


async def test_a_slot_is_free_again_once_the_channel_has_heard_the_end(queue: JobQueue) -> None:
    await ended(queue, "1")
    with pytest.raises(TooManyJobs):
        await queue.enqueue(submission("2", waiting=1))
    await queue.close("1", "900")

    await queue.enqueue(submission("2", waiting=1))


@pytest.mark.parametrize("job_id", ["", 'a"b', "a b", "1" * 25, "ä", "1:2", "1\n"])
def test_an_id_that_could_break_a_key_or_a_nonce_is_no_id(job_id: str) -> None:
    with pytest.raises(ValidationError):
        submission(job_id)


# One worker


async def test_of_many_workers_one_gets_the_job(queue: JobQueue) -> None:
    await queue.enqueue(submission())
    leases = await asyncio.gather(*(queue.claim("1001", f"w{number}") for number in range(20)))
    [lease] = [lease for lease in leases if lease]
    job = await queue.job("1001")

    assert (job.state, job.attempts, job.fence, job.worker) == (State.RUNNING, 1, lease.fence, lease.worker)
    assert job.started_ms


async def test_nobody_claims_what_does_not_wait(queue: JobQueue) -> None:
    await running(queue, "1")
    await ended(queue, "2")
    await ended(queue, "3")
    await queue.close("3", None)
    await queue.enqueue(submission("4"))
    await queue.cancel("4", ANN)

    assert [await queue.claim(job_id, "w2") for job_id in ("1", "2", "3", "4", "unheard-of")] == [None] * 5


async def test_a_lease_that_is_renewed_holds_and_one_that_is_not_does_not(queue: JobQueue) -> None:
    lease = await running(queue)
    brief = JobQueue(queue.redis, lease_seconds=1)
    for _ in range(4):
        assert await brief.renew(lease) is None
        await asyncio.sleep(0.3)
        assert await queue.reconcile() == {}
    await asyncio.sleep(1)

    assert await queue.reconcile() == {"recovered": ["1001"]}


async def test_progress_is_seen_while_the_job_runs_and_no_longer(queue: JobQueue) -> None:
    lease = await running(queue)
    progress = Progress(job_id="1001", stage="denoising", step=3, total=25)
    await queue.report(lease, progress)
    assert (await queue.job("1001")).progress == progress
    await queue.settle(lease, CLIP)

    assert (await queue.job("1001")).progress is None


async def test_a_late_attempt_is_turned_away_after_its_job_was_given_on(queue: JobQueue) -> None:
    await queue.enqueue(submission())
    late = await dying(queue).claim("1001", "w1")
    assert late
    await queue.reconcile()
    for _ in range(2):  # first while the job waits, then while another renders it
        before = await queue.job("1001")
        with pytest.raises(LeaseLost):
            await queue.renew(late)
        with pytest.raises(LeaseLost):
            await queue.settle(late, CLIP)
        await queue.report(late, Progress(job_id="1001", stage="denoising"))
        await queue.release(late, free=True)
        assert await queue.job("1001") == before
        await queue.claim("1001", "w2")

    assert (await queue.job("1001")).fence > late.fence


async def test_an_end_is_not_ended_again(queue: JobQueue) -> None:
    lease = await running(queue)
    await queue.settle(lease, CLIP)
    with pytest.raises(LeaseLost):
        await queue.settle(lease, OUT_OF_MEMORY)

    assert (await queue.job("1001")).outcome == CLIP


@pytest.mark.parametrize("outcome", [CLIP, OUT_OF_MEMORY, Cancelled(by=ANN)], ids=lambda outcome: outcome.kind)
async def test_an_end_is_kept_whole_and_handed_to_the_bot_in_the_same_step(
    queue: JobQueue, outcome: Failed | Cancelled
) -> None:
    await queue.settle(await running(queue), outcome)
    job = await queue.job("1001")

    assert (job.state, job.outcome) == (State(outcome.kind), outcome)
    assert job.ended_ms
    assert await queue.head_of_line(9) == [], "a worker that dies now leaves no ghost in the line"
    assert await arq_would_start(queue, DELIVERIES, "deliver-1001")


# Cancel


async def test_a_cancelled_waiting_job_leaves_nothing_for_arq_and_one_end_for_the_bot(queue: JobQueue) -> None:
    await queue.enqueue(submission())
    assert await queue.cancel("1001", ANN) == "cancelled"

    assert await queue.redis.zscore(RENDERS, "1001") is None
    assert not await queue.redis.exists("arq:job:1001")
    assert (await queue.job("1001")).outcome == Cancelled(by=ANN)
    assert await arq_would_start(queue, DELIVERIES, "deliver-1001")


async def test_a_running_jobs_worker_hears_of_the_cancel_when_it_renews(queue: JobQueue) -> None:
    lease = await running(queue)
    assert await queue.renew(lease) is None
    assert await queue.cancel("1001", ANN) == "stopping"

    assert await queue.renew(lease) == ANN
    assert (await queue.job("1001")).state is State.RUNNING


async def test_a_cancel_that_came_before_the_end_wins_over_the_clip(queue: JobQueue) -> None:
    lease = await running(queue)
    await queue.cancel("1001", ANN)
    await queue.settle(lease, CLIP)

    assert (await queue.job("1001")).outcome == Cancelled(by=ANN)


async def test_a_cancel_after_the_end_changes_nothing(queue: JobQueue) -> None:
    before = await ended(queue)
    assert await queue.cancel("1001", ANN) == "ended"
    assert await queue.job("1001") == before
    await queue.close("1001", "900")

    assert await queue.cancel("1001", ANN) == "ended"


async def test_a_stranger_cannot_cancel_and_a_moderator_can(queue: JobQueue) -> None:
    lease = await running(queue, "1")
    await queue.enqueue(submission("2"))
    for job_id in ("1", "2"):
        before = await queue.job(job_id)
        with pytest.raises(NotYours):
            await queue.cancel(job_id, BOB)
        assert await queue.job(job_id) == before

    assert [await queue.cancel(job_id, BOB, moderator=True) for job_id in ("1", "2")] == ["stopping", "cancelled"]
    assert await queue.renew(lease) == BOB


async def test_the_first_who_cancels_is_the_one_who_is_named(queue: JobQueue) -> None:
    lease = await running(queue)
    await queue.cancel("1001", ANN)
    await queue.cancel("1001", BOB, moderator=True)

    assert await queue.renew(lease) == ANN


async def test_a_forgotten_job_is_said_to_be_forgotten(queue: JobQueue) -> None:
    for ask in (queue.job("1"), queue.cancel("1", ANN)):
        with pytest.raises(NoSuchJob):
            await ask
    assert await queue.keep_status("1", "900") is None
    assert not await queue.delivering("1")
    assert not await queue.close("1", "900")


# The end


async def test_of_many_closers_one_closes(queue: JobQueue) -> None:
    await ended(queue)
    closed = await asyncio.gather(*(queue.close("1001", f"90{number}") for number in range(9)))
    job = await queue.job("1001")

    assert sum(closed) == 1
    assert (job.state, job.final_message) == (State.CLOSED, f"90{closed.index(True)}")
    assert await queue.open_jobs() == []
    assert await queue.reconcile() == {}


async def test_what_has_not_ended_cannot_be_closed(queue: JobQueue) -> None:
    await queue.enqueue(submission("1"))
    await running(queue, "2")

    assert [await queue.close(job_id, "900") for job_id in ("1", "2")] == [False, False]
    assert await queue.open_jobs() == ["1", "2"]


async def test_a_closed_job_is_kept_for_some_days_and_an_open_one_for_ever(queue: JobQueue) -> None:
    await ended(queue)
    assert await queue.redis.ttl("zoetrope:job:1001") == -1
    await JobQueue(queue.redis, keep_days=3).close("1001", None)

    assert 3 * 86_400 - 60 < await queue.redis.ttl("zoetrope:job:1001") <= 3 * 86_400
    assert (await queue.job("1001")).final_message is None


async def test_the_first_status_message_stays(queue: JobQueue) -> None:
    await queue.enqueue(submission())
    kept = await asyncio.gather(*(queue.keep_status("1001", f"80{number}") for number in range(5)))

    assert len(set(kept)) == 1
    assert (await queue.job("1001")).status_message == kept[0]


async def test_every_change_is_announced(queue: JobQueue) -> None:
    """Four: claimed, a step, ended, closed. Whoever enqueues knows of it anyway."""
    heard: list[str] = []

    async def listen() -> None:
        async with contextlib.aclosing(queue.changes()) as changes:  # pyright: ignore[reportArgumentType]
            async for job_id in changes:
                heard.append(job_id)
                if len(heard) == 4:
                    return

    listener = asyncio.create_task(listen())
    while not dict(await queue.redis.pubsub_numsub("zoetrope:changed"))[b"zoetrope:changed"]:
        await asyncio.sleep(0.01)
    lease = await running(queue)
    await queue.report(lease, Progress(job_id="1001", stage="depth"))
    await queue.settle(lease, CLIP)
    await queue.close("1001", None)
    await asyncio.wait_for(listener, 5)

    assert heard == ["1001"] * 4
