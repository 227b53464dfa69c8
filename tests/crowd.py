"""A community at work, simulated on the real queue: many people who ask, and workers that take, report and settle."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Sequence
from itertools import count

from jobs.queue import JobQueue
from jobs.record import Channel, Job, Lease, Person, Progress, Rendered, ResultFile, Submission
from jobs.workers import Advert, Workers
from media.store import MediaStore
from tests.discord_server import LocalDiscord
from tests.discord_server import model as discord_model
from tests.queued import submission

REPORT_SECONDS = 0.5
ADVERT_SECONDS = 5.0
JOBS_PER_PERSON = 5
STEPS = ("loading", 0), ("denoising", 12), ("encoding", 0)
"""What a simulated render goes through, and in how many steps."""


class Crowd:
    """People who ask in some channels, and two workers, each of which needs `seconds` for a job, more or less."""

    def __init__(
        self,
        queue: JobQueue,
        store: MediaStore,
        server: LocalDiscord,
        channels: Sequence[discord_model.Channel],
        *,
        seconds: float = 4.0,
    ) -> None:
        self.queue = queue
        self.store = store
        self.server = server
        self.channels = channels
        self.seconds = seconds
        self.asked: list[str] = []
        """Ids of all jobs so far."""
        self.ended: list[str] = []
        self._numbers = count()
        self._random = random.Random(7)
        self._people = [server.user(f"person {number}") for number in range(60)]

    def next_submission(self) -> Submission:
        """What somebody asks next: five jobs of one person, then the next person, through all channels in turn."""
        number = next(self._numbers)
        person = self._people[number // JOBS_PER_PERSON % len(self._people)]
        channel = self.channels[number // JOBS_PER_PERSON % len(self.channels)]
        guild = channel.guild
        assert guild is not None
        plain = submission(str(self.server.world.new_id()), cost_ms=round(self.seconds * 1000))
        return plain.model_copy(
            update={
                "requester": Person(id=str(person.id), name=person.name),
                "channel": Channel(id=str(channel.id), guild_id=str(guild.id), upload_bytes=10 * 2**20),
                "accepted_ms": round(time.time() * 1000),
            }
        )

    async def ask(self, jobs: int = 1) -> list[Job]:
        """Somebody asks."""
        accepted = [await self.queue.enqueue(self.next_submission()) for _ in range(jobs)]
        self.asked += [job.id for job in accepted]
        return accepted

    @contextlib.asynccontextmanager
    async def at_work(self, *, newcomers_every: float | None = None) -> AsyncIterator[None]:
        """Two workers render as long as the block lasts; somebody new asks every so many seconds."""
        clip = await self.store.put(b"not looked at by anybody here")
        doing = [asyncio.create_task(self._work(f"worker{number}", clip)) for number in range(2)]
        if newcomers_every:
            doing.append(asyncio.create_task(self._keep_asking(newcomers_every)))
        try:
            yield
        finally:
            for each in doing:
                each.cancel()
            for ending in await asyncio.gather(*doing, return_exceptions=True):
                assert isinstance(ending, asyncio.CancelledError), ending

    async def advertise(self) -> None:
        """Both workers say that they are there."""
        for number in range(2):
            advert = Advert(worker=f"worker{number}", host=f"host{number}", device="cpu", systems={"parallax": ()})
            await Workers(self.queue.redis).advertise(advert)

    async def _keep_asking(self, every: float) -> None:
        while True:
            await asyncio.sleep(every)
            await self.ask()

    async def _work(self, name: str, clip: str) -> None:
        advertised = float("-inf")
        while True:
            if time.monotonic() - advertised > ADVERT_SECONDS:
                advertised = time.monotonic()
                await self.advertise()
            lease = await self.queue.take(name, ["parallax"])
            if lease is None:
                await asyncio.sleep(0.1)
                continue
            await self._render(lease, clip)

    async def _render(self, lease: Lease, clip: str) -> None:
        seconds = self.seconds * self._random.uniform(0.75, 1.25)
        begun, steps = time.monotonic(), [(stage, step, total) for stage, total in STEPS for step in range(total + 1)]
        for number, (stage, step, total) in enumerate(steps):
            due = begun + seconds * number / len(steps)
            if (left := due - time.monotonic()) > 0:
                await asyncio.sleep(left)
            await self.queue.report(lease, Progress(job_id=lease.job_id, stage=stage, step=step, total=total))
        await asyncio.sleep(max(0.0, begun + seconds - time.monotonic()))
        await self.queue.settle(lease, _rendered(clip, seconds))
        self.ended.append(lease.job_id)


def _rendered(clip: str, seconds: float) -> Rendered:
    file = ResultFile(
        digest=clip, name="clip.mp4", media_type="video/mp4",
        size_bytes=29, width=64, height=48, num_frames=12, fps=24.0,
    )  # fmt: skip
    return Rendered(files=(file,), seconds=round(seconds, 1), gpu_ms=round(seconds * 1000))
