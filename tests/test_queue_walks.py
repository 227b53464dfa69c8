"""Any sequence of events leaves every job where the record's diagram allows, ended once, and findable by arq."""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from hypothesis.strategies import booleans, sampled_from

from console.redis_server import embedded_redis
from jobs.errors import Note
from jobs.queue import DELIVERIES, JobQueue, LeaseLost, NoSuchJob, TooManyJobs, connect
from jobs.record import Failed, Job, Lease, Outcome, Progress, State
from tests.queued import CLIP, arq_would_start, dying, lose_arqs_keys, submission, waiting_in_order

T = TypeVar("T")
Run = Callable[[Coroutine[Any, Any, T]], T]
JOBS = ("1", "2")
MOST = 1
ENDS = {State.RENDERED, State.FAILED, State.CANCELLED}
ALLOWED = {
    State.WAITING: {State.WAITING, State.RUNNING, State.CANCELLED},
    State.RUNNING: {State.RUNNING, State.WAITING, *ENDS},
    State.RENDERED: {State.RENDERED, State.CLOSED},
    State.FAILED: {State.FAILED, State.CLOSED},
    State.CANCELLED: {State.CANCELLED, State.CLOSED},
    State.CLOSED: {State.CLOSED},
}
"""The diagram of `jobs/record.py`, one event at a time."""


class Walk(RuleBasedStateMachine):
    """One bot, workers that die or come back late, an arq that forgets; on one real queue."""

    def __init__(self, run: Run[Any], queue: JobQueue) -> None:
        super().__init__()
        self.run = run
        self.queue = queue
        self.leases: list[Lease] = []
        self.before: dict[str, Job] = {}
        self.closed: list[str] = []
        run(queue.redis.flushall())

    def held(self, which: int) -> Lease | None:
        """One of the last leases that were given, the late ones too."""
        return self.leases[-1 - which] if which < len(self.leases) else None

    def holds(self, lease: Lease) -> bool:
        """Whether this lease is the living one, as the last look at the record says."""
        job = self.before[lease.job_id]
        return job.state is State.RUNNING and job.fence == lease.fence

    @rule(job_id=sampled_from(JOBS))
    def enqueue(self, job_id: str) -> None:
        """Ann asks, or Discord repeats what she asked."""
        opened = [job for job in self.before.values() if job.state is not State.CLOSED]
        try:
            self.run(self.queue.enqueue(submission(job_id, waiting=MOST)))
        except TooManyJobs:
            assert job_id not in self.before
            assert len(opened) >= MOST
        else:
            assert job_id in self.before or len(opened) < MOST

    @rule(job_id=sampled_from(JOBS), dies=booleans())
    def claim(self, job_id: str, dies: bool) -> None:
        """A worker starts, and may die with the lease in its hands; arq's mark of it stays."""
        waits = job_id in self.before and self.before[job_id].state is State.WAITING
        lease = self.run((dying(self.queue) if dies else self.queue).claim(job_id, "w"))
        assert (lease is not None) == waits
        if lease:
            assert all(lease.fence > old.fence for old in self.leases if old.job_id == job_id)
            self.leases.append(lease)
            self.run(self.queue.redis.set(f"arq:in-progress:{job_id}", "1", ex=7210))

    @rule(which=sampled_from(range(4)))
    def renew(self, which: int) -> None:
        """A worker, or a late one, holds on and hears of a cancel."""
        if lease := self.held(which):
            try:
                assert self.run(self.queue.renew(lease)) == self.before[lease.job_id].cancel_by
                assert self.holds(lease)
            except LeaseLost:
                assert not self.holds(lease)

    @rule(which=sampled_from(range(4)))
    def report(self, which: int) -> None:
        """A worker, or a late one, says how far it is."""
        if lease := self.held(which):
            progress = Progress(job_id=lease.job_id, stage=f"under {lease.fence}")
            self.run(self.queue.report(lease, progress))
            assert (self.run(self.queue.job(lease.job_id)).progress == progress) == self.holds(lease)

    @rule(which=sampled_from(range(4)), outcome=sampled_from([CLIP, Failed(reason=Note("out_of_memory"))]))
    def settle(self, which: int, outcome: Outcome) -> None:
        """A worker, or a late one, has finished."""
        if lease := self.held(which):
            try:
                self.run(self.queue.settle(lease, outcome))
            except LeaseLost:
                assert not self.holds(lease)
                return
            assert self.holds(lease)
            cancelled = self.before[lease.job_id].cancel_by is not None
            assert (self.run(self.queue.job(lease.job_id)).state is State.CANCELLED) == cancelled

    @rule(which=sampled_from(range(4)), free=booleans())
    def release(self, which: int, free: bool) -> None:
        """A worker, or a late one, gives its job back."""
        if lease := self.held(which):
            self.run(self.queue.release(lease, free=free))

    @rule(which=sampled_from(range(4)))
    def die(self, which: int) -> None:
        """A worker's last renewal has run out."""
        if lease := self.held(which):
            with contextlib.suppress(LeaseLost):
                self.run(dying(self.queue).renew(lease))

    @rule(job_id=sampled_from(JOBS))
    def cancel(self, job_id: str) -> None:
        """Ann presses Cancel."""
        with contextlib.suppress(NoSuchJob):
            self.run(self.queue.cancel(job_id, "7"))

    @rule(job_id=sampled_from(JOBS))
    def lose(self, job_id: str) -> None:
        """arq forgets the job."""
        self.run(lose_arqs_keys(self.queue, job_id))

    @rule(job_id=sampled_from(JOBS), dies=booleans())
    def post(self, job_id: str, dies: bool) -> None:
        """The bot begins to post, and may die of it; arq's mark stays."""
        ended = job_id in self.before and self.before[job_id].state in ENDS
        tries = self.run((dying(self.queue) if dies else self.queue).delivering(job_id, begins=True))
        assert (tries is not None) == ended
        if ended:
            self.run(self.queue.redis.set(f"arq:in-progress:deliver-{job_id}", "1", ex=900))

    @rule(job_id=sampled_from(JOBS))
    def close(self, job_id: str) -> None:
        """The channel has heard the end."""
        if self.run(self.queue.close(job_id, "900")):
            self.closed.append(job_id)

    @rule()
    def reconcile(self) -> None:
        """Afterwards every open job is in somebody's hands, or where arq finds it."""
        self.run(self.queue.reconcile())
        for job_id in self.run(self.queue.open_jobs()):
            self.run(self.findable(job_id))

    async def findable(self, job_id: str) -> None:
        """Held by a living lease, or the next thing that arq would start."""
        job = await self.queue.job(job_id)
        seconds, microseconds = await self.queue.redis.time()
        now_ms = seconds * 1000 + microseconds // 1000
        if job.state is State.WAITING:
            assert job_id in await waiting_in_order(self.queue)
        elif job.state is State.RUNNING:
            assert job.lease_until_ms > now_ms
        else:
            posted_until_ms = await self.queue.redis.hget(f"zoetrope:job:{job_id}", "delivering_until_ms") or 0
            deliverable = await arq_would_start(self.queue, DELIVERIES, f"deliver-{job_id}")
            assert deliverable or int(posted_until_ms) > now_ms

    @invariant()
    def moves_as_the_diagram_says(self) -> None:
        """No job jumps, none ends twice, none loses what it knew; and the open ones are counted right."""
        now = self.run(self.look())
        for job_id, old in self.before.items():
            new = now[job_id]  # nothing accepted is lost
            assert new.state in ALLOWED[old.state], f"{old.state} → {new.state}"
            assert new.fence >= old.fence
            assert new.submission == old.submission
            assert old.outcome is None or new.outcome == old.outcome, "one end, for ever"
            assert (new.outcome is not None) == new.state.ended
            assert 0 <= new.attempts <= new.fence
        assert len(set(self.closed)) == len(self.closed)
        assert set(self.closed) == {job_id for job_id, job in now.items() if job.state is State.CLOSED}
        still_open = {job_id for job_id in now if job_id not in self.closed}
        assert set(self.run(self.queue.open_jobs())) == still_open
        assert {one.decode() for one in self.run(self.queue.redis.smembers("zoetrope:person:7"))} == still_open
        self.before = now

    async def look(self) -> dict[str, Job]:
        """Every job's record, where there is one."""
        found: dict[str, Job] = {}
        for job_id in JOBS:
            with contextlib.suppress(NoSuchJob):
                found[job_id] = await self.queue.job(job_id)
        return found


@pytest.mark.timeout(400)  # seconds where it passes; hypothesis takes minutes to find the shortest way to a failure
def test_whatever_happens_in_whatever_order_the_records_hold(tmp_path: Path) -> None:
    with asyncio.Runner() as runner:
        rooms = contextlib.AsyncExitStack()
        try:
            url = runner.run(rooms.enter_async_context(embedded_redis(tmp_path)))
            queue = JobQueue(runner.run(connect(url)))
            rooms.push_async_callback(queue.redis.aclose)
            runner.run(queue.redis.config_set("appendfsync", "no"))  # thousands of writes, none to outlive a power cut
            run_state_machine_as_test(
                lambda: Walk(runner.get_loop().run_until_complete, queue),
                settings=settings(
                    max_examples=60, stateful_step_count=50, deadline=None, database=None,
                    suppress_health_check=list(HealthCheck),
                ),
            )  # fmt: skip
        finally:
            runner.run(rooms.aclose())
