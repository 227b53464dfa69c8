"""The worker: without torch it claims jobs, has its renderer child render them, encodes and stores what comes out."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from arq.worker import Retry

from inference.finish import Finisher
from inference.messages import Step
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
from jobs import logs
from jobs.errors import Failure, Note, UserError, new_incident
from jobs.queue import REDIS_AWAY, JobQueue, LeaseLost
from jobs.record import Cancelled, Failed, Job, Lease, Outcome, Progress, Rendered
from jobs.settings import LimitSettings
from media.store import MediaStore

log = logging.getLogger(__name__)

RENEW_SECONDS = 1.0
"""How often a lease is renewed; a cancel is heard as often."""
STARTS = 3
"""So many renderers in a row that do not start mean that this machine cannot render now."""
REPORT_SECONDS = 0.5
"""At most as often is a step written to Redis."""
FETCH_SECONDS = 3.0


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
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            try:
                self.cancelled_by = await self.queue.renew(self.lease)
            except LeaseLost:
                self.lost = True
            except (
                REDIS_AWAY
            ) as error:  # nobody else can take the job while Redis is away; its fence decides afterwards
                log.warning("lease not renewed: %s", error)
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
        self.failed_starts = 0
        self.broken = asyncio.Event()
        """Set when no renderer comes to life: this process had better end, and be started again by its supervisor."""

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
            await self._settle(lease, outcome)
            log.info("%s", outcome.kind)
        except LeaseLost:
            log.warning("the lease was lost; another attempt has the job")
            raise Retry from None
        except RendererDidNotStart as error:
            log.error("%s; the job goes back into the line, untried", error)
            await self.queue.release(lease, free=True)
            self.failed_starts += 1
            if self.failed_starts >= STARTS:
                self.broken.set()
            raise Retry from None
        except RendererDied as error:
            await self._try_again(attempt, error)
        except asyncio.CancelledError:
            await self.queue.release(lease, free=True)
            raise
        finally:
            keeper.cancel()

    async def _settle(self, lease: Lease, outcome: Outcome) -> None:
        """End the job, however long Redis is away: what was rendered is in the store.

        Raises:
            LeaseLost: another attempt has the job.
        """
        if isinstance(outcome, Failed):
            log.warning("failed: %s %s; incident %s", outcome.reason.code, dict(outcome.reason.facts), outcome.incident)
        while True:
            try:
                return await self.queue.settle(lease, outcome)
            except REDIS_AWAY as error:
                log.warning("not settled yet: %s", error)
                await asyncio.sleep(RENEW_SECONDS)

    async def _try_again(self, attempt: Attempt, error: RendererDied) -> None:
        if attempt.job.attempts < self.queue.attempts:
            log.warning("%s; the job goes back into the line", error)
            await self.queue.release(attempt.lease, free=False)
            raise Retry from None
        log.error("%s for the last time", error)
        await self._settle(attempt.lease, _failed(Note("renderer_died", {"attempts": attempt.job.attempts})))

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
        clip = await self._clip(attempt)
        self.slot.free(ticket.get())
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
                clip = await self.renderer.render(attempt.job.id, recipe, sources, attempt.step, attempt.stop)
            self.failed_starts = 0
            return clip
        except TimeoutError:
            raise RenderTooLong(minutes=round(self.limits.render_seconds / 60)) from None
        finally:
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
