"""All of Zoetrope as its owner runs it, for tests: real Redis, bot and worker processes, the local Discord."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from typing import Self

import psutil
from arq.connections import ArqRedis

from console.redis_server import embedded_redis
from jobs.queue import JobQueue, connect
from jobs.workers import Advert
from media.store import MediaStore
from tests.discord_server import LocalDiscord

ROOT = Path(__file__).parent.parent


class Process:
    """One of our processes; its log is kept in memory and in a file."""

    def __init__(self, name: str, arguments: Iterable[str], environment: dict[str, str], log: Path) -> None:
        self.name = name
        self.arguments = tuple(arguments)
        self.environment = environment
        self.log = log
        self.process: asyncio.subprocess.Process | None = None

    async def start(self) -> Self:
        """Start it; what it says goes to the end of its log."""
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", *self.arguments, env=self.environment, stdout=log, stderr=log, cwd=ROOT
            )
        return self

    def text(self) -> str:
        """The whole log so far."""
        return self.log.read_text("utf-8", "replace") if self.log.exists() else ""

    def lines(self, part: str) -> list[str]:
        """Lines of the log that contain `part`."""
        return [line for line in self.text().splitlines() if part in line]

    async def says(self, pattern: str, *, times: int = 1, seconds: float = 60.0) -> None:
        """Wait until the log matches `pattern` so many times."""
        end = time.monotonic() + seconds
        while len(re.findall(pattern, self.text())) < times:
            assert self.process is not None
            assert self.process.returncode is None, f"{self.name} ended with {self.process.returncode}:\n{self.text()}"
            assert time.monotonic() < end, f"{self.name} never said {pattern!r}:\n{self.text()}"
            await asyncio.sleep(0.05)

    def kill(self) -> None:
        """SIGKILL, as a power cut would."""
        self.signal(signal.SIGKILL)

    def signal(self, number: int) -> None:
        """Send a signal to the process, if it lives."""
        if self.process and self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(number)

    def child(self, part: str) -> psutil.Process | None:
        """The living child process whose command line contains `part`."""
        if self.process is None or self.process.returncode is not None:
            return None
        for child in psutil.Process(self.process.pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if part in " ".join(child.cmdline()):
                    return child
        return None

    async def ended(self, seconds: float = 20.0) -> int:
        """Its exit code, once it has ended."""
        assert self.process is not None
        return await asyncio.wait_for(self.process.wait(), seconds)

    async def stop(self) -> None:
        """SIGTERM and, if it does not heed that, SIGKILL."""
        if self.process is None or self.process.returncode is not None:
            return
        self.signal(signal.SIGTERM)
        try:
            await self.ended()
        except TimeoutError:
            self.kill()
            await self.ended()


class Stack:
    """Redis, bot and worker of one Zoetrope, and how a test looks inside."""

    def __init__(self, server: LocalDiscord, folder: Path, redis_url: str, settings: dict[str, str]) -> None:
        self.server = server
        self.folder = folder
        self.redis_url = redis_url
        (folder / "config.toml").touch()
        common = {
            **{key: value for key, value in os.environ.items() if not key.startswith(("ZOETROPE_", "DISCORD_"))},
            "ZOETROPE_CONFIG": str(folder / "config.toml"),
            "ZOETROPE_REDIS__URL": redis_url,
            "ZOETROPE_REDIS__LEASE_SECONDS": "5",
            "ZOETROPE_STORE__URL": str(folder / "store"),
            "ZOETROPE_MODELS__DIR": str(folder / "models"),
            "ZOETROPE_MODELS__CACHE": str(folder / "cache"),
            "ZOETROPE_MODELS__THREADS": "1",
            "ZOETROPE_LIMITS__CONFIRM_GPU_SECONDS": "0",  # slow renders are what most tests ask for
            "ZOETROPE_METRICS__BOT_PORT": "0",  # tests run side by side; those of the pages choose ports
            "ZOETROPE_METRICS__WORKER_PORT": "0",
            "PYTHONUNBUFFERED": "1",
            "PYTHONWARNINGS": "default",
            **settings,
        }
        discord = {
            "DISCORD_TOKEN": server.token,
            "ZOETROPE_DISCORD__API": server.api,
            "ZOETROPE_DISCORD__CDN": f'["{server.cdn}"]',
        }
        self.bot = Process("bot", ("console", "bot"), {**common, **discord}, folder / "bot.log")
        self.worker = Process("worker", ("console", "worker"), common, folder / "worker.log")
        self.redis: ArqRedis
        self.queue: JobQueue
        self.believed: Advert | None = None
        """Of a worker that is none: what is said of it again and again."""

    async def start(self, *, worker: bool = True) -> Self:
        """Start bot and worker side by side and wait until both are ready."""
        self.redis = await connect(self.redis_url)
        self.queue = JobQueue(self.redis)
        if worker:
            await self.worker.start()
        await self.bot.start()
        await self.bot.says("ready as")
        if worker:
            await self.worker_ready()
        return self

    async def worker_ready(self) -> None:
        """Wait until the worker has said what it can do."""
        while not await self.redis.keys("zoetrope:worker:*"):
            assert self.worker.process is not None
            assert self.worker.process.returncode is None, self.worker.text()
            await asyncio.sleep(0.05)

    async def readvertised(self) -> None:
        """Wait until the worker has looked at its folder of models again."""
        for key in [*await self.redis.keys("zoetrope:worker:*"), "zoetrope:known"]:
            await self.redis.delete(key)
        await self.worker_ready()

    async def restart_bot(self) -> None:
        """Start the bot again after it was killed, and wait until it is ready."""
        times = len(self.bot.lines("ready as"))
        await self.bot.start()
        await self.bot.says("ready as", times=times + 1)

    async def stop(self) -> None:
        """End everything."""
        await asyncio.gather(self.bot.stop(), self.worker.stop())
        await self.redis.aclose()

    @property
    def store(self) -> MediaStore:
        """The store, as the processes see it."""
        return MediaStore(str(self.folder / "store"))

    async def until(self, predicate: Callable[[], object], seconds: float = 30.0) -> None:
        """Wait until it is true; the logs of both processes explain where it never is."""
        end = time.monotonic() + seconds
        while not predicate():
            assert time.monotonic() < end, (
                f"--- bot\n{self.bot.text()[-4000:]}\n--- worker\n{self.worker.text()[-4000:]}"
            )
            await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def running(
    server: LocalDiscord, folder: Path, *, worker: bool = True, settings: dict[str, str] | None = None
) -> AsyncIterator[Stack]:
    """A stack from nothing, ended with the block."""
    async with embedded_redis(folder / "redis") as url:
        stack = Stack(server, folder, url, settings or {})
        try:
            yield await stack.start(worker=worker)
        finally:
            await stack.stop()
