"""A Zoetrope on several machines: Redis, a bucket and the bot in the middle, a worker on each of two hosts."""

from __future__ import annotations

import asyncio
import contextlib
import io
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Self

import psutil
from PIL import Image
from redis.asyncio import Redis
from redis.exceptions import RedisError

from console.redis_server import binary
from jobs.record import Job, State
from tests.discord_server import LocalDiscord
from tests.discord_server.model import Attachment
from tests.hosts.bucket import KEYS, URL, endpoint, make_bucket, s3_server
from tests.hosts.lines import Host, Net, redis_command
from tests.hosts.servers import login, refused, write_users
from tests.stack import ROOT, Process, Stack
from tests.tiny_models import write_usual


class Worker(Process):
    """A worker on one of the hosts."""

    def __init__(self, host: Host, stack: Stack, folder: Path) -> None:
        environment = {
            **stack.worker.environment,
            "ZOETROPE_REDIS__URL": f"redis://{login('zoetrope-worker')}@{host.redis[0]}:{host.redis[1]}/0",
            "AWS_ENDPOINT_URL": f"http://{host.store[0]}:{host.store[1]}",
            "ZOETROPE_MODELS__CACHE": str(folder / f"cache-{host.name}"),
        }
        assert not any("TOKEN" in name for name in environment), "a worker has no business with Discord"
        super().__init__(host.name, ("console", "worker"), environment, folder / f"{host.name}.log")
        self.host = host

    async def start(self) -> Self:
        """Start it on its host."""
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *self.host.prefix, sys.executable, "-m", *self.arguments,
                env=self.environment, stdout=log, stderr=log, cwd=ROOT,
            )  # fmt: skip
        return self

    def holds(self, job: Job) -> bool:
        """Whether the job is in its hands."""
        return bool(self.process and job.worker and f"-{self.process.pid}-" in job.worker)


class Town:
    """All of it, and the two workers by who holds a job."""

    def __init__(self, stack: Stack, workers: tuple[Worker, Worker]) -> None:
        self.stack = stack
        self.workers = workers

    async def rendering(self, job_id: str) -> tuple[Worker, Worker]:
        """Wait until the job's steps are reported: who renders it, and the other."""
        while not ((job := await self.stack.queue.job(job_id)).progress and job.progress.stage == "denoising"):
            assert job.state in (State.WAITING, State.RUNNING), job
            await asyncio.sleep(0.05)
        one, other = self.workers
        return (one, other) if one.holds(job) else (other, one)

    async def refused(self) -> list[str]:
        """What Redis refused to anybody."""
        return await refused(self.stack.redis)

    async def until_held(self, job_id: str, worker: Worker) -> None:
        """Wait until the job is in this worker's hands."""
        while not worker.holds(await self.stack.queue.job(job_id)):
            await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def town(net: Net, folder: Path, server: LocalDiscord, lease_seconds: int) -> AsyncIterator[Town]:
    """From nothing, ended with the block."""
    write_usual(folder / "models")
    settings = {
        **KEYS,
        "AWS_ENDPOINT_URL": endpoint(net.store_sockets[0]),
        "ZOETROPE_STORE__URL": URL,
        "ZOETROPE_REDIS__LEASE_SECONDS": str(lease_seconds),
    }
    with s3_server(*net.store_sockets):
        make_bucket(net.store_sockets[0])
        async with _redis(net, folder) as url:
            stack = Stack(server, folder, url, settings)
            stack.bot.environment["ZOETROPE_REDIS__URL"] = url.replace("unix://", f"unix://{login('zoetrope-bot')}@")
            workers = (Worker(net.hosts[0], stack, folder), Worker(net.hosts[1], stack, folder))
            try:
                await asyncio.gather(stack.start(worker=False), *(worker.start() for worker in workers))
                await asyncio.gather(*(worker.says("is ready on") for worker in workers))
                yield Town(stack, workers)
            finally:
                for host in net.hosts:
                    host.mend()
                await asyncio.gather(stack.stop(), *(worker.stop() for worker in workers))


@contextlib.asynccontextmanager
async def _redis(net: Net, folder: Path) -> AsyncIterator[str]:
    write_users(folder / "redis")
    command = redis_command(binary(), folder / "redis", net.redis, str(folder / "redis" / "users.conf"))
    process = psutil.Popen([*net.redis_prefix, *command], stdout=-3)
    url = f"unix://{folder}/redis/redis.sock"
    try:
        async with Redis.from_url(url) as client:
            while not await _answers(client):
                assert process.poll() is None, "Redis ended"
                await asyncio.sleep(0.02)
        yield url
    finally:
        process.terminate()
        process.wait(10)


async def _answers(client: Redis) -> bool:
    try:
        return bool(await client.ping())  # type: ignore[misc]
    except (RedisError, OSError):
        return False


def picture(server: LocalDiscord) -> Attachment:
    """Something to animate."""
    data = io.BytesIO()
    Image.radial_gradient("L").resize((96, 64)).convert("RGB").save(data, "PNG")
    return server.upload("picture.png", data.getvalue())
