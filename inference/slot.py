"""arq with one GPU: a worker that takes a job only while the device is free, and encodes the last one beside it."""

import asyncio
import logging
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from arq.worker import Worker

from jobs.queue import REDIS_AWAY

log = logging.getLogger(__name__)
AWAY_SECONDS = 1.0

ticket: ContextVar[object] = ContextVar("ticket", default=None)
"""Which hold on the device the running attempt has. Two attempts at one job may overlap, so its id would not do."""


class Slot:
    """The device's one place. Taken when arq starts a job, freed as soon as the job's frames are there."""

    def __init__(self) -> None:
        self.holder: object = None

    def free(self, held: object) -> None:
        """This attempt no longer needs the device, if it ever had it."""
        if self.holder is held:
            self.holder = None


class GpuWorker(Worker):
    """arq's worker with two places (`max_jobs=2`), of which one renders and one encodes.

    arq itself would start two renders at once on an idle worker, while another worker's GPU has nothing to do; it would
    take jobs that only another worker can do; and it would end when Redis is away for a second.
    """

    def __init__(self, *arguments: Any, slot: Slot, mine: Callable[[str], bool], **options: Any) -> None:
        """`mine` tells from a system's name whether its jobs are for this worker."""
        super().__init__(*arguments, **options)
        self.slot = slot
        self.mine = mine

    async def _poll_iteration(self) -> None:
        try:
            await super()._poll_iteration()
        except REDIS_AWAY as error:
            log.warning("Redis is away: %s", error)
            await asyncio.sleep(AWAY_SECONDS)

    async def start_jobs(self, job_ids: list[bytes]) -> None:
        """Start the first job that is free and ours, if the device is free."""
        if self.slot.holder is not None or not job_ids:
            return
        for job_id in await self._ours(job_ids):
            if await self._started(job_id):
                return

    async def _ours(self, job_ids: list[bytes]) -> list[bytes]:
        async with self.pool.pipeline(transaction=False) as pipe:
            for job_id in job_ids:
                pipe.hget(f"zoetrope:job:{job_id.decode()}", "system")
            systems = await pipe.execute()
        return [job_id for job_id, system in zip(job_ids, systems, strict=True) if self.mine((system or b"").decode())]

    async def _started(self, job_id: bytes) -> bool:
        name, hold, counted = job_id.decode(), object(), self.job_counter
        before = self.tasks.get(name)
        ticket.set(hold)  # the job's task takes a copy of this context
        try:
            await super().start_jobs([job_id])
        except REDIS_AWAY:
            if self.job_counter > counted and self.tasks.get(name) is before:
                self._release_sem_dec_counter_on_complete()  # arq counted a job that it then could not start
            raise
        task = self.tasks.get(name)
        if task is None or task is before:
            return False
        self.slot.holder = hold
        task.add_done_callback(lambda _: self.slot.free(hold))
        return True
