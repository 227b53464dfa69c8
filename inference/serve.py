"""One worker process: it joins settings, queue, store, renderer and arq, says what it can do, and serves until told.

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
from inference.leaving import Leaving
from inference.messages import Setup
from inference.meters import Meters
from inference.renderer import Renderer
from inference.settings import ModelSettings, SystemSettings, WorkerSettings, tables_of
from inference.slot import GpuWorker
from inference.systems import ROOMS
from inference.worker import RenderWorker
from jobs.queue import DEFAULT_URL, REDIS_AWAY, RENDERS, JobQueue, connect, deserialize, serialize
from jobs.retention import Retention
from jobs.settings import LimitSettings, RedisSettings, StoreSettings, read_config
from jobs.watch import MetricsSettings, Watch, new_registry, redis_answers, served
from jobs.workers import ADVERT_SECONDS, Advert, Workers, kinds_of
from media.clip_limits import clip_limits_of
from media.provenance import Sealer
from media.provenance_settings import ProvenanceSettings
from media.store import MediaStore
from media.sweep import drop_copies

log = logging.getLogger(__name__)

RECONCILE_SECONDS = 5.0
ADVERTISE_SECONDS = 5.0
DROP_COPIES_SECONDS = 600.0
POLL_SECONDS = 0.2
PREVIEW_SECONDS = 3.0
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
    models, systems, ways = ModelSettings.read(config), SystemSettings.read(config), WorkerSettings.read(config)
    redis_settings, limits = RedisSettings.read(config), LimitSettings.read(config)
    metrics = MetricsSettings.read(config)
    models.cache.mkdir(parents=True, exist_ok=True)
    _sweep(models.cache)
    redis = await connect(redis_settings.address or DEFAULT_URL)
    queue = JobQueue(redis, lease_seconds=redis_settings.lease_seconds, attempts=limits.attempts)
    store = MediaStore(StoreSettings.read(config).url)
    name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(2)}"
    setup = _setup(models, systems, limits, preview_seconds=PREVIEW_SECONDS if ways.previews else None)
    renderer = Renderer(setup, models.cache)
    sealer = Sealer.from_settings(ProvenanceSettings.read(config))
    keep_seconds = round(redis_settings.keep_days * 86_400)
    finisher = Finisher(
        store, Retention(redis), models, sealer, encode_seconds=limits.render_seconds, keep_seconds=keep_seconds
    )
    worker = RenderWorker(name, queue, store, renderer, finisher, limits, models.cache, Meters(new_registry()))
    service = Service(worker, redis, models, systems, Leaving(ways.stop_seconds))
    async with served(service.watch(), metrics.host, metrics.worker_port, key="worker_port"):
        await service.run()


def _sweep(cache: Path) -> None:
    """Take away what killed workers left."""
    for left in cache.glob("finish-*"):
        if time.time() - left.stat().st_mtime > STALE_SECONDS:
            shutil.rmtree(left, ignore_errors=True)


NEVER_SECONDS = 10**8
"""Rendering and encoding have limits of their own, which end in a sentence; arq's would only begin anew."""


def _setup(
    models: ModelSettings, systems: SystemSettings, limits: LimitSettings, preview_seconds: float | None
) -> Setup:
    gigabyte = 10**9
    return Setup(
        scratch=models.cache.absolute(),
        clips=clip_limits_of(limits),
        models=models.dir.absolute(),
        device=models.device,
        dtype=models.dtype,
        vram_bytes=None if models.vram is None else round(models.vram * gigabyte),
        ram_bytes=None if models.ram is None else round(models.ram * gigabyte),
        threads=models.threads,
        options=tables_of(systems),
        preview_seconds=preview_seconds,
    )


def installed(models: Path, systems: SystemSettings) -> dict[str, tuple[str, ...]]:
    """Systems that can run from this folder, with their checkpoints."""
    tables = tables_of(systems)
    found = {name: room.installed(models, tables[name]) for name, room in ROOMS.items()}
    return {name: checkpoints for name, checkpoints in found.items() if checkpoints is not None}


class Service:
    """A worker with its chores."""

    def __init__(
        self,
        worker: RenderWorker,
        redis: ArqRedis,
        models: ModelSettings,
        systems: SystemSettings,
        leaving: Leaving,
    ) -> None:
        self.worker = worker
        self.redis = redis
        self.models = models
        self.systems = systems
        self.leaving = leaving
        self.workers = Workers(redis)
        self._advertised_at: float | None = None

    def watch(self) -> Watch:
        """The worker's pages."""
        checks = {
            "redis": redis_answers(self.redis),
            "renderer": self._renderer_starts,
            "advert": self._advert_is_fresh,
        }
        return Watch(self.worker.meters.registry, checks, [self._look_at_device])

    async def _renderer_starts(self) -> str | None:
        failed = self.worker.failed_starts
        return f"it did not start, {failed} times in a row" if failed else None

    async def _advert_is_fresh(self) -> str | None:
        if self._advertised_at is None:
            return "nobody was told yet that this worker is here"
        silent = time.monotonic() - self._advertised_at
        return f"the others last heard of this worker {silent:.0f} s ago" if silent > ADVERT_SECONDS else None

    async def _look_at_device(self) -> None:
        self.worker.meters.device(self.worker.renderer, busy=bool(self.worker.rendering))

    async def run(self) -> None:
        """Advertise, reconcile and consume until told to stop; then finish what is in hand, and say goodbye.

        Raises:
            CannotRender: no renderer came to life.
        """
        await self.worker.renderer.start()
        await self.advertise()
        consumer = self._consumer()
        self.leaving.listen()
        chores = [
            asyncio.create_task(_every(ADVERTISE_SECONDS, self.advertise)),
            asyncio.create_task(_every(RECONCILE_SECONDS, self.worker.queue.reconcile)),
            asyncio.create_task(_every(DROP_COPIES_SECONDS, self._drop_copies)),
            asyncio.create_task(self._leave_when_broken()),
        ]
        consuming = asyncio.create_task(consumer.async_run())
        try:
            await self._until_asked(consuming)
            await self._finish(consumer)
        finally:
            for chore in chores:
                chore.cancel()
            await self._end(consumer, consuming)
        if self.worker.broken.is_set():
            raise CannotRender("No renderer comes to life on this machine; what it printed is above.")

    async def _until_asked(self, consuming: asyncio.Task[None]) -> None:
        """Consume; what goes wrong with arq itself goes wrong here."""
        asked = asyncio.create_task(self.leaving.asked.wait())
        try:
            await asyncio.wait({consuming, asked}, return_when=asyncio.FIRST_COMPLETED)
            if consuming.done():
                consuming.result()
        finally:
            asked.cancel()

    async def _finish(self, consumer: GpuWorker) -> None:
        """Take nothing more, and let the jobs in hand come to their end if they are quick about it."""
        consumer.allow_pick_jobs = False
        log.info("leaving: no more jobs; those in hand have %.0f s", self.leaving.stop_seconds)
        with contextlib.suppress(*REDIS_AWAY):
            await self.advertise()

        def busy() -> bool:
            working = any(not task.done() for task in consumer.tasks.values())
            return working or self.worker.taking or bool(self.worker.leases)

        if not await self.leaving.finished(busy):
            log.warning("leaving: the jobs in hand go back to their places in the line")

    async def _end(self, consumer: GpuWorker, consuming: asyncio.Task[None]) -> None:
        """Let go of whatever is left, and say goodbye."""
        consumer.handle_sig(signal.SIGTERM)  # cancels jobs and consumer; each job gives itself back
        await asyncio.gather(consuming, *consumer.tasks.values(), return_exceptions=True)
        await self.worker.renderer.kill()
        with contextlib.suppress(*REDIS_AWAY):
            await self.worker.let_go()
            await self.workers.leave(self.worker.name)
            await consumer.close()

    def _consumer(self) -> GpuWorker:
        render = func(
            cast(Any, self.worker.render),
            name="render",
            timeout=NEVER_SECONDS,
            max_tries=10**6,  # the record counts tries, not arq
        )
        return GpuWorker(
            [render],
            slot=self.worker.slot,
            take=self.worker.take,
            redis_pool=self.redis,
            keep_result=0,
            queue_name=RENDERS,
            max_jobs=2,
            handle_signals=False,
            poll_delay=POLL_SECONDS,
            job_serializer=serialize,
            job_deserializer=deserialize,
        )

    async def advertise(self) -> None:
        """Look at the folder of models, and say what can be done here and how things stand."""
        systems = installed(self.models.dir, self.systems)
        self.worker.kinds = kinds_of(systems)
        facts = self.worker.renderer.facts
        await self.workers.advertise(
            Advert(
                worker=self.worker.name,
                host=socket.gethostname(),
                device=facts.device if facts else self.models.device,
                device_name=facts.device_name if facts else "",
                vram_bytes=facts.vram_bytes if facts else 0,
                vram_free_bytes=self.worker.renderer.vram_free_bytes,
                systems=systems,
                warm=tuple(sorted(self.worker.warm)),
                job=self.worker.rendering,
                leaving=self.leaving.asked.is_set(),
            )
        )
        self._advertised_at = time.monotonic()

    async def _drop_copies(self) -> None:
        await drop_copies(Retention(self.redis), self.models.cache)

    async def _leave_when_broken(self) -> None:
        await self.worker.broken.wait()
        self.leaving.hurry()


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
