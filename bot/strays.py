"""Jobs that no machine online can run: they wait for one, but not for ever."""

import asyncio
import logging
import time
from collections.abc import Iterable

from bot.amounts import lasting
from jobs.errors import Note
from jobs.line import Waiting
from jobs.policy import holding_scopes
from jobs.queue import JobQueue
from jobs.record import Failed
from jobs.requests.base import called
from jobs.workers import Workers

log = logging.getLogger(__name__)

LOOK_SECONDS = 5.0
BLIND_SECONDS = 3 * LOOK_SECONDS
"""Of a longer time between two looks only so much counts: nobody knows who was online meanwhile."""
LEAST_SECONDS = 300.0
"""Where such jobs are refused at once, those that were accepted before still wait for a worker to be started again."""


class Strays:
    """Looks at who waits in vain, and gives up what has waited too long.

    The time counts while nobody could run a job and this bot was there to see it: a long line, a pause, or the night in
    which everything or Redis alone was switched off, is nobody's reason to lose a job.
    """

    def __init__(self, queue: JobQueue, workers: Workers, wait_minutes: float) -> None:
        self.queue = queue
        self.workers = workers
        self.wait_seconds = wait_minutes * 60 or LEAST_SECONDS
        self._waited: dict[str, float] = {}
        """Seconds, by job, over all looks since it first waited in vain."""
        self._looked = 0.0

    async def watch(self) -> None:
        """Look for ever; the client starts it again when Redis was away."""
        while True:
            await self.look(time.monotonic())
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self, now: float) -> list[str]:
        """One look, at the monotonic clock's `now` seconds: the ids of the jobs that were given up."""
        stranded = await self._stranded()
        passed, self._looked = min(now - self._looked, BLIND_SECONDS), now
        self._waited = {job.id: self._waited.get(job.id, -passed) + passed for job in stranded}
        late = [job for job in stranded if self._waited[job.id] >= self.wait_seconds]
        return [job.id for job in late if await self._give_up(job)]

    async def _stranded(self) -> list[Waiting]:
        """Waiting jobs that nobody online can run; those that are held by a pause are not waiting for a machine."""
        waiting = (await self.queue.line()).waiting
        if not waiting:
            return []
        online = [advert for advert in await self.workers.online() if not advert.leaving]
        served = frozenset[str]().union(*(advert.kinds for advert in online))
        paused = await self.queue.paused()
        return [job for job in waiting if job.kind not in served and not _held(job, paused)]

    async def _give_up(self, job: Waiting) -> bool:
        facts = {"kind": called(job.kind), "time": lasting(self.wait_seconds * 1000)}
        given_up = await self.queue.abandon(job.id, Failed(reason=Note("nobody_came", facts)))
        if given_up:
            log.warning("no machine came for %s (%s); given up", job.id, job.kind)
        return given_up


def _held(job: Waiting, paused: Iterable[str]) -> bool:
    return not holding_scopes(job.guild, job.channel, job.parent).isdisjoint(paused)
