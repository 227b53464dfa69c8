"""One attempt at one job, as the queue sees it: kept alive, stopped when somebody says so, and reported on."""

import asyncio
import contextlib
import logging
import time

from redis.exceptions import RedisError

from inference.messages import Step
from jobs.previews import Previews
from jobs.queue import REDIS_AWAY, JobQueue, LeaseLost
from jobs.record import Job, Lease, Progress

log = logging.getLogger(__name__)

RENEW_SECONDS = 1.0
"""How often a lease is renewed; a cancel is heard as often."""
REPORT_SECONDS = 0.5
"""At most as often is a step written to Redis."""
PATIENCE_SECONDS = 300.0
"""For so long past its lease an attempt goes on while Redis cannot be reached. After a restart of Redis the job is its
own still; a worker that is cut off for longer has lost it to another, and its GPU works for nobody."""


class Attempt:
    """One lease on one job: keeps it alive, hears its cancel, reports its steps."""

    def __init__(self, queue: JobQueue, job: Job, lease: Lease, *, patience_seconds: float = PATIENCE_SECONDS) -> None:
        self.queue = queue
        self.patience_seconds = patience_seconds
        self.job = job
        self.lease = lease
        self.stop = asyncio.Event()
        self.cancelled_by: str | None = None
        self.lost = False
        self.spent_ms: int | None = None
        """GPU milliseconds of this attempt; None before anything was rendered."""
        self.away = False
        """Whether Redis could not be reached when the lease was to be renewed."""
        self._previews = Previews(queue.redis)
        self._progress = Progress(job_id=job.id, stage="loading")
        self._reported = ("", 0.0)

    async def keep(self) -> None:
        """Renew until cancelled. Sets `stop` when the person cancelled, or when the job is another attempt's by now.

        Redis may be away for all, and then nobody else can take the job; or for this worker alone, and then somebody
        has. From here both look the same, so the attempt goes on for a while: its fence decides afterwards.
        """
        held_until = time.monotonic() + self.queue.lease_seconds
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            try:
                self.cancelled_by = await self.queue.renew(self.lease)
                held_until, self.away = time.monotonic() + self.queue.lease_seconds, False
            except LeaseLost:
                self.lost = True
            except REDIS_AWAY as error:
                log.warning("lease not renewed: %s", error)
                self.away, self.lost = True, time.monotonic() > held_until + self.patience_seconds
            except RedisError:
                log.exception("lease not renewed")
                self.away, self.lost = True, time.monotonic() > held_until + self.patience_seconds
            if self.lost or self.cancelled_by:
                self.stop.set()
                return

    async def step(self, step: Step) -> None:
        """Pass a step on, the last of a stage always, others now and then."""
        self._progress = Progress(job_id=self.job.id, stage=step.stage, step=step.step, total=step.total)
        stage, at = self._reported
        now = time.monotonic()
        if self.away or (step.stage == stage and step.step < step.total and now - at < REPORT_SECONDS):
            return
        self._reported = (step.stage, now)
        with contextlib.suppress(*REDIS_AWAY):
            await self.queue.report(self.lease, self._progress)

    async def preview(self, picture: bytes) -> None:
        """Show what comes; the bot hears of it as of a step."""
        if self.away or self.stop.is_set():
            return
        with contextlib.suppress(*REDIS_AWAY):
            await self._previews.put(self.job.id, picture)
            await self.queue.report(self.lease, self._progress)
