"""arq with one GPU: a worker that takes a job only while the device is free, and encodes the last one beside it."""

import asyncio
from typing import Any

from arq.worker import Worker


class Slot:
    """The device's one place. Taken when arq starts a job, freed as soon as the job's frames are there."""

    def __init__(self) -> None:
        self.holder: str | None = None

    def take(self, job_id: str) -> None:
        """This job has the device."""
        self.holder = job_id

    def free(self, job_id: str) -> None:
        """This job no longer needs the device, if it ever had it."""
        if self.holder == job_id:
            self.holder = None


class GpuWorker(Worker):
    """arq's worker with two places (`max_jobs=2`), of which one renders and one encodes.

    arq itself would start two renders at once on an idle worker, while another worker's GPU has nothing to do.
    """

    def __init__(self, *arguments: Any, slot: Slot, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.slot = slot

    async def start_jobs(self, job_ids: list[bytes]) -> None:
        """Start the first job that is free, if the device is."""
        for job_id in job_ids:
            if self.slot.holder is not None:
                return
            name = job_id.decode()
            before = self.tasks.get(name)
            await super().start_jobs([job_id])
            task = self.tasks.get(name)
            if task is not None and task is not before:
                self._hold(name, task)

    def _hold(self, name: str, task: asyncio.Task[Any]) -> None:
        self.slot.take(name)
        task.add_done_callback(lambda _: self.slot.free(name))
