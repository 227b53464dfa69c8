"""The worker: an arq consumer without torch that claims jobs, has its renderer child render them, encodes and stores.

One runs for each device: `python -m inference.worker`.
"""

import asyncio
import contextlib
import logging
import os
import secrets
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from arq.connections import ArqRedis
from arq.worker import Retry, func

from inference.finish import Finisher
from inference.messages import Setup, Step
from inference.renderer import CannotBeRendered, RenderBroke, RenderedClip, Renderer, RendererDied, RenderStopped
from inference.settings import ModelSettings, SystemSettings
from inference.slot import GpuWorker, Slot
from inference.systems import ROOMS
from jobs import logs
from jobs.errors import Failure, Note, new_incident
from jobs.queue import DEFAULT_URL, REDIS_AWAY, RENDERS, JobQueue, LeaseLost, connect, deserialize, serialize
from jobs.record import Cancelled, Failed, Job, Lease, Outcome, Progress, Rendered
from jobs.settings import LimitSettings, RedisSettings, StoreSettings, read_config
from jobs.workers import Advert, Workers
from media.store import MediaStore

log = logging.getLogger(__name__)

RENEW_SECONDS = 1.0
"""How often a lease is renewed; a cancel is heard as often."""
REPORT_SECONDS = 0.5
"""At most as often is a step written to Redis."""
RECONCILE_SECONDS = 5.0
ADVERTISE_SECONDS = 5.0
POLL_SECONDS = 0.2


class Attempt:
    """One lease on one job: keeps it alive, hears its cancel, reports its steps."""

    def __init__(self, queue: JobQueue, job: Job, lease: Lease) -> None:
        self.queue = queue
        self.job = job
        self.lease = lease
        self.stop = asyncio.Event()
        self.cancelled_by: str | None = None
        self.lost = False
        self._reported = ("", 0.0)

    async def keep(self) -> None:
        """Renew until cancelled. Sets `stop` when the person cancelled, or when the job is another attempt's by now."""
        deadline = time.monotonic() + self.queue.lease_seconds
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            try:
                by = await self.queue.renew(self.lease)
                deadline = time.monotonic() + self.queue.lease_seconds
            except LeaseLost:
                self.lost = True
            except REDIS_AWAY as error:  # Redis is away; the lease may hold until it is back
                log.warning("lease not renewed: %s", error)
                self.lost, by = time.monotonic() > deadline, None
            else:
                self.cancelled_by = by
            if self.lost or self.cancelled_by:
                self.stop.set()
                return

    async def step(self, step: Step) -> None:
        """Pass a step on, the last of a stage always, others now and then."""
        stage, at = self._reported
        now = time.monotonic()
        if step.stage == stage and step.step < step.total and now - at < REPORT_SECONDS:
            return
        self._reported = (step.stage, now)
        progress = Progress(job_id=self.job.id, stage=step.stage, step=step.step, total=step.total)
        with contextlib.suppress(*REDIS_AWAY):
            await self.queue.report(self.lease, progress)


class RenderWorker:
    """One device's worker."""

    def __init__(
        self,
        name: str,
        queue: JobQueue,
        store: MediaStore,
        renderer: Renderer,
        finisher: Finisher,
        limits: LimitSettings,
        cache: Path,
    ) -> None:
        self.name = name
        self.queue = queue
        self.store = store
        self.renderer = renderer
        self.finisher = finisher
        self.limits = limits
        self.cache = cache
        self.slot = Slot()

    async def render(self, _: Mapping[str, Any], job_id: str) -> None:
        """arq's function: one attempt at one job. Never raises but to be called again."""
        logs.job_id.set(job_id)
        lease = await self.queue.claim(job_id, self.name)
        if lease is None:
            return
        job = await self.queue.job(job_id)
        attempt = Attempt(self.queue, job, lease)
        keeper = asyncio.create_task(attempt.keep())
        log.info("attempt %d on %s", job.attempts, job.submission.recipe.steps[0].system)
        try:
            outcome = await self._outcome(attempt)
            await self.queue.settle(lease, outcome)
            log.info("%s", outcome.kind)
        except LeaseLost:
            log.warning("the lease was lost; another attempt has the job")
            raise Retry from None
        except RendererDied as error:
            await self._try_again(attempt, error)
        except asyncio.CancelledError:
            await self.queue.release(lease, free=True)
            raise
        finally:
            keeper.cancel()

    async def _try_again(self, attempt: Attempt, error: RendererDied) -> None:
        if attempt.job.attempts < self.queue.attempts:
            log.warning("%s; the job goes back into the line", error)
            await self.queue.release(attempt.lease, free=False)
            raise Retry from None
        incident = new_incident()
        log.error("%s for the last time; incident %s", error, incident)
        reason = Note(code="renderer_died", facts={"attempts": attempt.job.attempts, "incident": incident})
        await self.queue.settle(attempt.lease, Failed(reason=reason, incident=incident))

    async def _outcome(self, attempt: Attempt) -> Outcome:
        """How the attempt ends, as far as anybody can read it.

        Raises:
            LeaseLost, RendererDied: it does not end here.
        """
        try:
            return await self._rendered(attempt)
        except RenderStopped:
            if attempt.lost:
                raise LeaseLost(attempt.job.id) from None
            return Cancelled(by=attempt.cancelled_by or attempt.job.submission.requester.id)
        except CannotBeRendered as failure:
            return Failed(reason=failure.reason)
        except Failure as failure:
            return Failed(reason=failure.note)
        except (RendererDied, LeaseLost):
            raise
        except Exception as error:
            incident = new_incident()
            log.exception("incident %s", incident, exc_info=None if isinstance(error, RenderBroke) else error)
            if isinstance(error, RenderBroke):
                log.error("incident %s in the renderer:\n%s", incident, error)
            return Failed(reason=Note(code="unexpected", facts={"incident": incident}), incident=incident)

    async def _rendered(self, attempt: Attempt) -> Rendered:
        started = time.monotonic()
        clip = await self._clip(attempt)
        self.slot.free(attempt.job.id)
        try:
            await attempt.step(Step(stage="encoding", step=0, total=1))
            files, said = await self.finisher.finish(attempt.job, clip.spool)
        finally:
            clip.spool.close()
        return Rendered(
            files=files,
            seconds=round(time.monotonic() - started, 2),
            facts=dict(clip.facts),
            said=(*clip.said, *said),
        )

    async def _clip(self, attempt: Attempt) -> RenderedClip:
        await attempt.step(Step(stage="loading", step=0, total=1))
        recipe = attempt.job.submission.recipe
        sources = await self._sources(attempt.job)
        ahead = asyncio.create_task(self._fetch_ahead(attempt.job.id))
        try:
            async with asyncio.timeout(self.limits.render_seconds):
                return await self.renderer.render(attempt.job.id, recipe, sources, attempt.step, attempt.stop)
        except TimeoutError:
            raise RenderTooLong(minutes=round(self.limits.render_seconds / 60)) from None
        finally:
            ahead.cancel()

    async def _sources(self, job: Job) -> dict[str, Path]:
        """The job's inputs as local files."""
        sources = job.submission.recipe.sources
        return {name: await self.store.fetch_to(source.digest, self.cache) for name, source in sources.items()}

    async def _fetch_ahead(self, rendering: str) -> None:
        """Bring the next job's inputs here while the device works. Claims nothing: a free worker may still take it."""
        for job_id in await self.queue.head_of_line(4):
            if job_id != rendering:
                with contextlib.suppress(Exception):
                    await self._sources(await self.queue.job(job_id))


class RenderTooLong(Failure):
    """Past the owner's limit for one render."""

    code = "render_too_long"


async def _every(seconds: float, act: Any) -> None:
    """Call `act` again and again, whatever becomes of it."""
    while True:
        try:
            await act()
        except REDIS_AWAY as error:
            log.warning("%s: %s", getattr(act, "__name__", act), error)
        await asyncio.sleep(seconds)


def installed(models: Path, systems: SystemSettings) -> dict[str, tuple[str, ...]]:
    """Systems that can run from this folder, with their checkpoints."""
    found = {name: room.installed(models, getattr(systems, name).model_dump()) for name, room in ROOMS.items()}
    return {name: checkpoints for name, checkpoints in found.items() if checkpoints is not None}


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


async def main() -> None:
    """Read the settings, start the renderer, and serve until SIGTERM."""
    config = read_config()
    models, systems = ModelSettings.read(config), SystemSettings.read(config)
    redis_settings, limits = RedisSettings.read(config), LimitSettings.read(config)
    models.cache.mkdir(parents=True, exist_ok=True)
    redis = await connect(redis_settings.url.get_secret_value() or DEFAULT_URL)
    queue = JobQueue(redis, lease_seconds=redis_settings.lease_seconds, attempts=limits.attempts)
    store = MediaStore(StoreSettings.read(config).url)
    name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(2)}"
    renderer = Renderer(_setup(models, systems), models.cache)
    worker = RenderWorker(name, queue, store, renderer, Finisher(store, models.cache), limits, models.cache)
    await serve(worker, redis, models, systems)


async def serve(worker: RenderWorker, redis: ArqRedis, models: ModelSettings, systems: SystemSettings) -> None:
    """Advertise, reconcile and consume until arq is told to stop; then say goodbye."""
    workers = Workers(redis)

    async def advertise() -> None:
        facts = worker.renderer.facts
        await workers.advertise(
            Advert(
                worker=worker.name,
                host=socket.gethostname(),
                device=facts.device if facts else models.device,
                device_name=facts.device_name if facts else "",
                vram_bytes=facts.vram_bytes if facts else 0,
                systems=installed(models.dir, systems),
            )
        )

    async def reconcile() -> None:
        for repair, job_ids in (await worker.queue.reconcile()).items():
            log.warning("reconciled: %s %s", repair, " ".join(job_ids))

    consumer = GpuWorker(
        [
            func(
                cast(Any, worker.render),
                name="render",
                timeout=worker.limits.render_seconds * 2,
                max_tries=10**6,
                keep_result=0,
            )
        ],
        slot=worker.slot,
        redis_pool=redis,
        queue_name=RENDERS,
        max_jobs=2,
        poll_delay=POLL_SECONDS,
        job_serializer=serialize,
        job_deserializer=deserialize,
    )
    await worker.renderer.start()
    chores = [
        asyncio.create_task(_every(ADVERTISE_SECONDS, advertise)),
        asyncio.create_task(_every(RECONCILE_SECONDS, reconcile)),
    ]
    try:
        await consumer.async_run()
    except asyncio.CancelledError:
        log.info("stopping")
    finally:
        for chore in chores:
            chore.cancel()
        await worker.renderer.kill()
        with contextlib.suppress(*REDIS_AWAY):
            await workers.leave(worker.name)
        await consumer.close()


if __name__ == "__main__":
    logs.log_to_stderr("worker")
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main())
