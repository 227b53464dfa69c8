"""arq with one GPU: a worker takes the next job only while its device is free, and encodes the last one beside it."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any

from arq.utils import timestamp_ms
from arq.worker import Worker
from redis.exceptions import ResponseError

from jobs.queue import REDIS_AWAY
from jobs.record import Lease

log = logging.getLogger(__name__)
AWAY_SECONDS = 1.0
HEARTBEAT_SECONDS = 1.0
"""While the device works, arq gets its turn at least this often."""

ticket: ContextVar[object] = ContextVar("ticket", default=None)
"""Which hold on the device the running attempt has. Two attempts at one job may overlap, so its id would not do."""


class Slot:
    """The device's one place. Taken when arq starts a job, freed as soon as the job's frames are there."""

    def __init__(self) -> None:
        self.holder: object = None
        self._freed = asyncio.Event()

    @property
    def taken(self) -> bool:
        """Whether an attempt has the device."""
        return self.holder is not None

    def hold(self, holder: object) -> None:
        """This attempt has the device now."""
        self.holder = holder
        self._freed.clear()

    def free(self, held: object) -> None:
        """This attempt no longer needs the device, if it ever had it."""
        if self.holder is held:
            self.holder = None
            self._freed.set()

    async def wait_free(self, seconds: float) -> None:
        """Until the device is free, or so long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._freed.wait()


class GpuWorker(Worker):
    """arq's worker with two places (`max_jobs=2`), of which one renders and one encodes.

    arq itself would take what stands first in its set; which job is next for *this* worker, with its systems and the
    models it holds, the queue alone can tell, and tells together with the lease. arq would also start two renders at
    once on an idle worker, while another worker's GPU has nothing to do, and end when Redis is away for a second.
    """

    def __init__(
        self, *arguments: Any, slot: Slot, take: Callable[[], Awaitable[Lease | None]], **options: Any
    ) -> None:
        """`take` starts the next job in the queue and remembers its lease."""
        super().__init__(*arguments, **options)
        self.slot = slot
        self.take = take

    async def _poll_iteration(self) -> None:
        try:
            await super()._poll_iteration()
        except REDIS_AWAY as error:
            log.warning("Redis is away: %s", error)
            await asyncio.sleep(AWAY_SECONDS)
        except ResponseError:
            log.exception("a script failed")
            await asyncio.sleep(AWAY_SECONDS)

    async def start_jobs(self, job_ids: list[bytes]) -> None:
        """Take and start the next job, and the one after it the moment the device is free again."""
        while not self.slot.taken and self.allow_pick_jobs and self.job_counter < self.max_jobs:
            lease = await self.take()
            if lease is None:
                return
            await self._start(lease)
            await self.slot.wait_free(HEARTBEAT_SECONDS)

    async def _start(self, lease: Lease) -> None:
        """What arq does for a job it picks itself, without asking again whether it may: the lease says so."""
        hold = object()
        await self.sem.acquire()
        self.job_counter += 1
        ticket.set(hold)  # the job's task takes a copy of this context
        self.slot.hold(hold)
        task = self.tasks[lease.job_id] = self.loop.create_task(self.run_job(lease.job_id, timestamp_ms()))
        task.add_done_callback(lambda _: self._release_sem_dec_counter_on_complete())
        task.add_done_callback(lambda _: self.slot.free(hold))
