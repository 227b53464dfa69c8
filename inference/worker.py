"""The worker: without torch it claims jobs, has its renderer child render them, encodes and stores what comes out."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from arq.worker import Retry

from inference.attempt import RENEW_SECONDS, Attempt
from inference.finish import Beside, Finisher
from inference.messages import Order, Step
from inference.meters import Meters
from inference.renderer import (
    CannotBeRendered,
    RenderBroke,
    RenderedClip,
    Renderer,
    RendererDidNotStart,
    RendererDied,
    RenderStopped,
)
from inference.slot import Slot, ticket
from inference.systems import ROOMS
from inference.used import in_words
from jobs import logs
from jobs.aside import Aside, SetAside
from jobs.costs import Costs
from jobs.errors import Failure, Note, UserError, new_incident
from jobs.previews import Previews
from jobs.queue import REDIS_AWAY, JobQueue, LeaseLost
from jobs.record import Cancelled, Failed, Job, Lease, Outcome, Rendered, Taken
from jobs.settings import LimitSettings
from media.store import MediaStore

log = logging.getLogger(__name__)

STARTS = 3
"""So many renderers in a row that do not start mean that this machine cannot render now."""
FETCH_SECONDS = 3.0
WARM_ANYWAY = frozenset(room.name for room in ROOMS.values() if room.runs_without)
"""Systems that need no network, or one that is read in a moment."""
SLACK_MS = 20_000
"""About what loading a model takes, until it was measured: so far may a job whose model is there go before its turn."""


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
        meters: Meters,
    ) -> None:
        self.name = name
        self.queue = queue
        self.store = store
        self.renderer = renderer
        self.finisher = finisher
        self.limits = limits
        self.cache = cache
        self.meters = meters
        self.slot = Slot()
        self.kinds: frozenset[str] = frozenset()
        """What this worker can render: systems, and `system/checkpoint` for each checkpoint that is installed."""
        self.slack_ms = SLACK_MS
        self.leases: dict[str, Lease] = {}
        """Of jobs that were taken and that arq is about to start."""
        self.taking = False
        """Whether the queue was just asked for a job, and may have given one."""
        self.rendering: str = ""
        """The job that has the device now, or none."""
        self.costs = Costs(queue.redis)
        self.aside = Aside(queue.redis)
        self.previews = Previews(queue.redis)
        self.failed_starts = 0
        self.broken = asyncio.Event()
        """Set when no renderer comes to life: this process had better end, and be started again by its supervisor."""

    @property
    def warm(self) -> frozenset[str]:
        """Of `kinds`, what needs no loading now."""
        return self.kinds & (self.renderer.holding | WARM_ANYWAY)

    async def take(self) -> Lease | None:
        """The job that this worker renders next, if any waits for it."""
        self.taking = True
        try:
            lease = await self.queue.take(self.name, self.kinds, self.warm, slack_ms=self.slack_ms)
            if lease:
                self.leases[lease.job_id] = lease
            return lease
        finally:
            self.taking = False

    async def let_go(self) -> None:
        """Give back what was taken and never started."""
        while self.leases:
            _, lease = self.leases.popitem()
            await self.queue.release(lease, free=True)

    async def render(self, _: Mapping[str, Any], job_id: str) -> None:
        """arq's function: one attempt at one job. Never raises but to be called again."""
        logs.job_id.set(job_id)
        lease = self.leases.pop(job_id, None) or await self.queue.claim(job_id, self.name)
        if lease is None:
            return
        job = lease.job if isinstance(lease, Taken) else await self.queue.job(job_id)
        attempt = Attempt(self.queue, job, lease)
        keeper = asyncio.create_task(attempt.keep())
        log.info("attempt %d on %s", job.attempts, job.submission.recipe.title)
        self.meters.begins(job, lease.fence)
        try:
            outcome = await self._outcome(attempt)
            await self._settle(attempt, outcome)
            log.info("%s", outcome.kind)
            self.meters.settled(job, outcome)
            await self._look_back(attempt, outcome)
        except LeaseLost:
            log.warning("the lease was lost; another attempt has the job")
            self.meters.ends(job, "lease_lost")
            raise Retry from None
        except RendererDidNotStart as error:
            log.error("%s; the job goes back into the line, untried", error)
            self.meters.ends(job, "renderer_did_not_start")
            await self.queue.release(lease, free=True)
            self.failed_starts += 1
            if self.failed_starts >= STARTS:
                self.broken.set()
            raise Retry from None
        except RendererDied as error:
            self.meters.ends(job, "renderer_died")
            await self._try_again(attempt, error)
        except asyncio.CancelledError:
            self.meters.ends(job, "given_back")
            await self.queue.release(lease, free=True)
            raise
        finally:
            keeper.cancel()

    async def _settle(self, attempt: Attempt, outcome: Outcome) -> None:
        """End the job, however long Redis is away: what was rendered is in the store.

        Raises:
            LeaseLost: another attempt has the job.
        """
        if isinstance(outcome, Failed):
            log.warning("failed: %s %s; incident %s", outcome.reason.code, dict(outcome.reason.facts), outcome.incident)
        spent_ms = None if isinstance(outcome, Rendered) else attempt.spent_ms
        if isinstance(outcome, Cancelled):
            spent_ms = spent_ms or 0
        while True:
            try:
                return await self.queue.settle(attempt.lease, outcome, gpu_ms=spent_ms)
            except REDIS_AWAY as error:
                log.warning("not settled yet: %s", error)
                await asyncio.sleep(RENEW_SECONDS)

    async def _try_again(self, attempt: Attempt, error: RendererDied) -> None:
        if attempt.job.attempts < self.queue.attempts:
            log.warning("%s; the job goes back into the line", error)
            await self.queue.release(attempt.lease, free=False, gpu_ms=attempt.spent_ms)
            raise Retry from None
        log.error("%s for the last time; the job is set aside", error)
        failed = _failed(Note("renderer_died", {"attempts": attempt.job.attempts}))
        await self._settle(attempt, failed)
        with contextlib.suppress(*REDIS_AWAY):
            await self.aside.put(
                SetAside(
                    job_id=attempt.job.id,
                    system=attempt.job.submission.recipe.title,
                    incident=failed.incident or "",
                    log=self.renderer.chatter.tail,
                )
            )

    async def _look_back(self, attempt: Attempt, outcome: Outcome) -> None:
        """Learn from what the job took. It is settled, so nothing that fails here matters to anybody."""
        with contextlib.suppress(*REDIS_AWAY):
            await self.previews.forget(attempt.job.id)
            if isinstance(outcome, Rendered) and not any(note.code == "memory_frames" for note in outcome.said):
                facts = self.renderer.facts
                await self.costs.learn(attempt.job, outcome, facts.device_name if facts else "")
                pace = await self.costs.pace()
                self.slack_ms = round(max(map(pace.loading_ms, self.kinds), default=0)) or SLACK_MS

    async def _outcome(self, attempt: Attempt) -> Outcome:
        """How the attempt ends, as far as anybody can read it.

        Raises:
            LeaseLost, RendererDied: it does not end here.
        """
        try:
            return await self._rendered(attempt)
        except RenderStopped:
            if attempt.cancelled_by:
                return Cancelled(by=attempt.cancelled_by)
            raise LeaseLost(attempt.job.id) from None
        except CannotBeRendered as failure:
            return _failed(failure.reason)
        except Failure as failure:
            return _failed(failure.note)
        except (RendererDied, LeaseLost):
            raise
        except Exception as error:
            incident = new_incident()
            log.exception("incident %s", incident, exc_info=None if isinstance(error, RenderBroke) else error)
            if isinstance(error, RenderBroke):
                log.error("incident %s in the renderer:\n%s", incident, error)
            return Failed(reason=Note("unexpected", {"incident": incident}), incident=incident)

    async def _rendered(self, attempt: Attempt) -> Rendered:
        started = time.monotonic()
        beside = Beside(self.finisher, attempt.job)
        try:
            clip = await self._clip(attempt, beside)
            self.slot.free(ticket.get())
            with clip.spool:
                await attempt.step(Step(stage="encoding", step=0, total=1))
                files, said = await beside.files(attempt.stop)
                motion = await self.finisher.keep_learned(attempt.job, clip)
        finally:
            await beside.end()
        return Rendered(
            files=files,
            seconds=round(time.monotonic() - started, 2),
            gpu_ms=clip.gpu_ms,
            step_ms=clip.step_ms,
            loading_ms=clip.loading_ms,
            facts=dict(clip.facts),
            checkpoints=in_words(clip.weights),
            said=(*clip.said, *said),
            motion=motion,
            motion_bytes=len(clip.learned or b""),
        )

    async def _clip(self, attempt: Attempt, beside: Beside) -> RenderedClip:
        await attempt.step(Step(stage="loading", step=0, total=1))
        sources = await self._sources(attempt.job)
        order = Order(job_id=attempt.job.id, recipe=attempt.job.submission.recipe, sources=sources)
        self.rendering = attempt.job.id
        ahead = asyncio.create_task(self._fetch_ahead(attempt.job.id))
        try:
            async with asyncio.timeout(self.limits.render_seconds):
                clip = await self.renderer.render(order, attempt.step, attempt.stop, attempt.preview, beside.begins)
            self.failed_starts = 0
            return clip
        except TimeoutError:
            raise RenderTooLong(minutes=round(self.limits.render_seconds / 60)) from None
        finally:
            attempt.spent_ms = self.renderer.spent_ms  # now: later it is the next job's
            self.rendering = ""
            ahead.cancel()

    async def _sources(self, job: Job) -> dict[str, Path]:
        """The job's inputs as local files."""
        sources = job.submission.recipe.sources
        return {name: await self.store.fetch_to(source.digest, self.cache) for name, source in sources.items()}

    async def _fetch_ahead(self, rendering: str) -> None:
        """Bring the next jobs' inputs here meanwhile. Claims nothing: a free worker may still take them."""
        fetched = {rendering}
        while True:
            with contextlib.suppress(UserError, *REDIS_AWAY):
                for job_id in await self.queue.head_of_line(4):
                    if job_id not in fetched:
                        fetched.add(job_id)
                        await self._sources(await self.queue.job(job_id))
            await asyncio.sleep(FETCH_SECONDS)


def _failed(reason: Note) -> Failed:
    """A failure in words; its id stands in the log beside the reason."""
    return Failed(reason=reason, incident=new_incident())


class RenderTooLong(Failure):
    """Past the owner's limit for one render."""

    code = "render_too_long"
