"""What is under test: Redis, the bot and two workers as real processes, started again when they die, and a Discord."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import psutil

from console.redis_server import embedded_redis
from jobs.queue import REDIS_AWAY, JobQueue, NoSuchJob, connect
from jobs.record import Job
from media.store import MediaStore
from tests.discord_server import LocalDiscord
from tests.stack import Process, Stack
from tests.tiny_models import write_usual

T = TypeVar("T")
RESTART_SECONDS = 1.0
"""`console up` waits so long before it starts a process again for the first time."""
READY_SECONDS = 60.0
LOOK_SECONDS = 0.25


async def patiently(call: Callable[[], Awaitable[T]]) -> T:
    """The call's result, however often Redis is killed meanwhile."""
    while True:
        try:
            return await call()
        except REDIS_AWAY:
            await asyncio.sleep(0.1)


class Kept:
    """A process that is started again whenever it ends, as `console up` does."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.wanted = True
        self._keeper: asyncio.Task[None] | None = None

    def keep(self) -> None:
        """Start it, and from now on whenever it ends."""
        self._keeper = asyncio.create_task(self._run())

    async def _run(self) -> None:
        while self.wanted:
            await self.process.start()
            await self._ended()
            await asyncio.sleep(RESTART_SECONDS)

    async def _ended(self) -> None:
        assert self.process.process is not None
        await self.process.process.wait()

    @property
    def pid(self) -> int | None:
        """Of the living process."""
        process = self.process.process
        return process.pid if process and process.returncode is None else None

    async def end(self) -> None:
        """For good."""
        self.wanted = False
        while self._keeper and not self._keeper.done():
            self.process.signal(signal.SIGCONT)
            await self.process.stop()
            await asyncio.sleep(0.05)


class Town:
    """Everything that runs, and the records as they were seen last."""

    def __init__(self, server: LocalDiscord, folder: Path, redis_url: str, queue: JobQueue, lease_seconds: int) -> None:
        self.server = server
        self.folder = folder
        self.redis_url = redis_url
        self.queue = queue
        stack = Stack(server, folder, redis_url, {"ZOETROPE_REDIS__LEASE_SECONDS": str(lease_seconds)})
        self.bot = Kept(stack.bot)
        self.workers = [Kept(_worker(stack, folder, number)) for number in (1, 2)]
        self.store = MediaStore(str(folder / "store"))
        self.records: dict[str, Job] = {}
        """Every job that was ever seen open, as it was when looked at last."""
        self.closed_at: dict[str, float] = {}

    async def start(self) -> None:
        """Start everything and wait until all are ready."""
        for kept in (self.bot, *self.workers):
            kept.keep()
            await asyncio.sleep(0.2)
        await self._says(self.bot, "ready as")
        for worker in self.workers:
            await self._says(worker, "is ready on")

    async def _says(self, kept: Kept, words: str) -> None:
        said = await self.until(lambda: kept.process.lines(words), READY_SECONDS)
        assert said, f"{kept.process.name} never said {words!r}:\n{kept.process.text()[-4000:]}"

    async def stop(self) -> None:
        """End everything but Redis and Discord."""
        await asyncio.gather(self.bot.end(), *(worker.end() for worker in self.workers))

    async def until(self, predicate: Callable[[], object], seconds: float) -> bool:
        """Wait until it is true; False where it is not after so long."""
        end = time.monotonic() + seconds
        while not predicate():
            if time.monotonic() > end:
                return False
            await asyncio.sleep(0.05)
        return True

    def redis_process(self) -> psutil.Process | None:
        """The Redis server, if it lives."""
        socket = self.redis_url.removeprefix("unix://")
        for child in psutil.Process().children():
            with contextlib.suppress(psutil.Error):
                if socket in " ".join(child.cmdline()) and child.status() != psutil.STATUS_ZOMBIE:
                    return child
        return None

    async def look(self) -> None:
        """Read the open jobs' records once."""
        opened = set(await self.queue.open_jobs())
        watched = {job_id for job_id in self.records if job_id not in self.closed_at}
        for job_id in opened | watched:
            with contextlib.suppress(NoSuchJob):
                self.records[job_id] = await self.queue.job(job_id)
        for job_id in watched - opened:
            self.closed_at[job_id] = time.time()

    async def watch(self) -> None:
        """Keep looking, for ever."""
        while True:
            with contextlib.suppress(*REDIS_AWAY):
                await self.look()
            await asyncio.sleep(LOOK_SECONDS)

    @property
    def open(self) -> set[str]:
        """Jobs that were open when looked at last."""
        return set(self.records) - set(self.closed_at)

    def running_on(self, worker: Kept) -> dict[str, int]:
        """Jobs in this worker's hands, with their fencing tokens."""
        return {
            job.id: job.fence
            for job in self.records.values()
            if job.state == "running" and job.worker and f"-{worker.pid}-" in job.worker
        }


def _worker(stack: Stack, folder: Path, number: int) -> Process:
    environment = {**stack.worker.environment, "ZOETROPE_MODELS__CACHE": str(folder / f"cache{number}")}
    assert not any("TOKEN" in name for name in environment), "a worker has no business with Discord"
    return Process(f"worker{number}", ("console", "worker"), environment, folder / f"worker{number}.log")


@contextlib.asynccontextmanager
async def town(folder: Path, lease_seconds: int) -> AsyncIterator[Town]:
    """A town from nothing, ended with the block."""
    write_usual(folder / "models")
    async with LocalDiscord(message_content=True) as server, embedded_redis(folder / "redis") as url:
        redis = await connect(url)
        here = Town(server, folder, url, JobQueue(redis), lease_seconds)
        watcher = asyncio.create_task(here.watch())
        try:
            await here.start()
            yield here
        finally:
            watcher.cancel()
            await asyncio.gather(watcher, return_exceptions=True)
            await here.stop()
            await redis.aclose()
