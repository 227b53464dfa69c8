"""How soon a killed worker's job starts on another worker that is already there: with the product's own lease."""

from __future__ import annotations

import asyncio
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from jobs.settings import RedisSettings
from tests.chaos.crowd import Crowd
from tests.chaos.plan import Plan
from tests.chaos.sight import Sight
from tests.chaos.town import Kept, Town, town

LIMIT_SECONDS = 30.0
SLOW = {"num_inference_steps": 100, "num_frames": 50}
"""A render that does not end by itself before its worker is killed."""


@dataclass(frozen=True)
class Takeover:
    """Seconds from each SIGKILL to the start of the next attempt on the other worker."""

    lease_seconds: int
    seconds: list[float]

    @property
    def good(self) -> bool:
        """As promised."""
        return bool(self.seconds) and max(self.seconds) <= LIMIT_SECONDS

    def markdown(self) -> str:
        """For people."""
        each = ", ".join(f"{seconds:.1f}" for seconds in self.seconds)
        middle = sorted(self.seconds)[len(self.seconds) // 2]
        return (
            f"Lease {self.lease_seconds} s, {len(self.seconds)} kills: the job started on the other worker after "
            f"{each} s (median {middle:.1f}, worst {max(self.seconds):.1f}, promised {LIMIT_SECONDS:.0f})."
        )


async def measure(folder: Path, kills: int, lease_seconds: int | None = None) -> Takeover:
    """Kill the worker that renders, again and again."""
    lease = RedisSettings().lease_seconds if lease_seconds is None else lease_seconds
    async with town(folder, lease) as here:
        return Takeover(lease, [await _one(here) for _ in range(kills)])


async def _one(here: Town) -> float:
    """One job, whose worker dies; it is cancelled once it runs elsewhere."""
    crowd = Crowd(here, Sight(here.server), Plan(seed=1, people=1, channels=1))
    server = here.server
    asked = await server.slash("svd", crowd.people[0], channel=crowd.channels[0], image=crowd.picture(), **SLOW)
    holder = await _holder(here, asked.id)
    await asyncio.sleep(1.0)
    holder.wanted = False  # it stays dead: back within the lease, it might take its own job again
    holder.process.signal(signal.SIGKILL)
    killed = time.time()
    other = await _holder(here, asked.id, besides=holder)
    started = (here.records[asked.id].started_ms or 0) / 1000
    assert other is not holder
    holder.wanted = True
    holder.keep()
    await here.queue.cancel(asked.id, str(crowd.people[0].id))
    await here.until(lambda: asked.id in here.closed_at, 30)
    await _all_ready(here)
    return started - killed


async def _holder(here: Town, job_id: str, besides: Kept | None = None) -> Kept:
    """The worker that has the job, once one has."""

    def holders() -> list[Kept]:
        return [worker for worker in here.workers if worker is not besides and job_id in here.running_on(worker)]

    assert await here.until(holders, 90), f"nobody took {job_id}"
    return holders()[0]


async def _all_ready(here: Town) -> None:
    """Wait until the killed worker is back, so that the next job may go to either."""

    async def online() -> int:
        return len(await here.queue.redis.keys("zoetrope:worker:*"))

    await asyncio.sleep(2)
    while await online() < len(here.workers):
        await asyncio.sleep(0.2)
