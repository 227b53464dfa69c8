"""One worker process: it joins settings, queue, store, renderer and arq, says what it can do, and serves until SIGTERM.

One runs for each device: `python -m console worker`.
"""

import asyncio
import contextlib
import logging
import os
import secrets
import shutil
import signal
import socket
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, cast

from arq.connections import ArqRedis
from arq.worker import func

from inference.finish import Finisher
from inference.messages import Setup
from inference.renderer import Renderer
from inference.settings import ModelSettings, SystemSettings
from inference.slot import GpuWorker
from inference.systems import ROOMS
from inference.worker import RenderWorker
from jobs.queue import DEFAULT_URL, REDIS_AWAY, RENDERS, JobQueue, connect, deserialize, serialize
from jobs.settings import LimitSettings, RedisSettings, StoreSettings, read_config
from jobs.workers import Advert, Workers, kinds_of
from media.store import MediaStore

log = logging.getLogger(__name__)

RECONCILE_SECONDS = 5.0
ADVERTISE_SECONDS = 5.0
POLL_SECONDS = 0.2
STALE_SECONDS = 6 * 3600
"""Scratch older than this was left by a worker that was killed."""


class CannotRender(Exception):
    """No renderer comes to life on this machine; its supervisor may try again later."""


async def main() -> None:
    """Read the settings, start the renderer, and serve until SIGTERM.

    Raises:
        CannotRender: see there.
    """
    config = read_config()
    models, systems = ModelSettings.read(config), SystemSettings.read(config)
    redis_settings, limits = RedisSettings.read(config), LimitSettings.read(config)
    models.cache.mkdir(parents=True, exist_ok=True)
    _sweep(models.cache)
    redis = await connect(redis_settings.url.get_secret_value() or DEFAULT_URL)
    queue = JobQueue(redis, lease_seconds=redis_settings.lease_seconds, attempts=limits.attempts)
    store = MediaStore(StoreSettings.read(config).url)
    name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(2)}"
    renderer = Renderer(_setup(models, systems), models.cache)
    worker = RenderWorker(name, queue, store, renderer, Finisher(store, models.cache), limits, models.cache)
    await Service(worker, redis, models, systems).run()


def _sweep(cache: Path) -> None:
    """Take away what killed workers left."""
    for left in cache.glob("finish-*"):
        if time.time() - left.stat().st_mtime > STALE_SECONDS:
            shutil.rmtree(left, ignore_errors=True)


def _setup(models: ModelSettings, systems: SystemSettings) -> Setup:
    gigabyte = 10**9
    return Setup(
        models=models.dir.absolute(),
        device=models.device,
        dtype=models.dtype,
        vram_bytes=None if models.vram is None else round(models.vram * gigabyte),
        ram_bytes=None if models.ram is None else round(models.ram * gigabyte),
        threads=models.threads,
        options=systems.model_dump(mode="json"),
    )


def installed(models: Path, systems: SystemSettings) -> dict[str, tuple[str, ...]]:
    """Systems that can run from this folder, with their checkpoints."""
    found = {name: room.installed(models, getattr(systems, name).model_dump()) for name, room in ROOMS.items()}
    return {name: checkpoints for name, checkpoints in found.items() if checkpoints is not None}


class Service:
    """A worker with its chores."""

    def __init__(self, worker: RenderWorker, redis: ArqRedis, models: ModelSettings, systems: SystemSettings) -> None:
        self.worker = worker
        self.redis = redis
        self.models = models
        self.systems = systems
        self.workers = Workers(redis)

    async def run(self) -> None:
        """Advertise, reconcile and consume until arq is told to stop; then say goodbye.

        Raises:
            CannotRender: no renderer came to life.
        """
        await self.worker.renderer.start()
        await self.advertise()
        consumer = self._consumer()
        chores = [
            asyncio.create_task(_every(ADVERTISE_SECONDS, self.advertise)),
            asyncio.create_task(_every(RECONCILE_SECONDS, self.worker.queue.reconcile)),
            asyncio.create_task(self._end_when_broken(consumer)),
        ]
        try:
            await consumer.async_run()
        except asyncio.CancelledError:
            log.info("stopping")
        finally:
            for chore in chores:
                chore.cancel()
            await self.worker.renderer.kill()
            with contextlib.suppress(*REDIS_AWAY):
                await self.workers.leave(self.worker.name)
                await consumer.close()
        if self.worker.broken.is_set():
            raise CannotRender("No renderer comes to life on this machine; what it printed is above.")

    def _consumer(self) -> GpuWorker:
        render = func(
            cast(Any, self.worker.render),
            name="render",
            timeout=self.worker.limits.render_seconds * 2,
            max_tries=10**6,  # the record counts tries, not arq
            keep_result=0,
        )
        return GpuWorker(
            [render],
            slot=self.worker.slot,
            take=self.worker.take,
            redis_pool=self.redis,
            queue_name=RENDERS,
            max_jobs=2,
            poll_delay=POLL_SECONDS,
            job_serializer=serialize,
            job_deserializer=deserialize,
        )

    async def advertise(self) -> None:
        """Look at the folder of models, say what can be done here, and hear what others can do."""
        systems = installed(self.models.dir, self.systems)
        facts = self.worker.renderer.facts
        await self.workers.advertise(
            Advert(
                worker=self.worker.name,
                host=socket.gethostname(),
                device=facts.device if facts else self.models.device,
                device_name=facts.device_name if facts else "",
                vram_bytes=facts.vram_bytes if facts else 0,
                systems=systems,
            )
        )
        self.worker.kinds = kinds_of(systems)

    async def _end_when_broken(self, consumer: GpuWorker) -> None:
        await self.worker.broken.wait()
        consumer.handle_sig(signal.SIGTERM)


async def _every(seconds: float, act: Callable[[], Awaitable[object]]) -> None:
    """Call `act` again and again, whatever becomes of it."""
    while True:
        try:
            await act()
        except REDIS_AWAY as error:
            log.warning("Redis is away: %s", error)
        except Exception:
            log.exception("a chore failed; it is tried again")
        await asyncio.sleep(seconds)
