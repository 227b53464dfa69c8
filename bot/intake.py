"""From what somebody asked to an accepted job: check, fetch, normalise, store, and only then enqueue."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import discord

from bot.download import Downloads
from bot.gate import Asked, Gate, Leave
from jobs.costs import Costs
from jobs.errors import Note, Refusal
from jobs.queue import JobQueue, TooManyJobs
from jobs.recipe import Output, Recipe, Source
from jobs.record import Job, Submission
from jobs.requests import GENERATIONS, Brief, Request
from jobs.retention import Retention
from jobs.settings import LimitSettings
from media.limits import PictureLimits, declared_refusal
from media.pictures import Picture, read_picture
from media.store import MediaStore, digest_of

DOWNLOADS = 12
"""Pictures that are on their way or waiting to be decoded at once; each may weigh as much as the limit."""
DECODERS = 2
"""Pictures decoded at once: a large one takes some hundred megabytes."""


class SourcesGone(Refusal):
    """The pictures of an old job are no longer kept."""

    code = "sources_gone"


@dataclass(frozen=True)
class Choice:
    """The system that the front door chose, and what to say about it."""

    request: Request
    said: tuple[Note, ...] = ()


class Intake:
    """The bot's door: every way of asking ends here."""

    def __init__(
        self, queue: JobQueue, store: MediaStore, gate: Gate, costs: Costs, downloads: Downloads, limits: LimitSettings
    ) -> None:
        self.queue = queue
        self.store = store
        self.retention = Retention(queue.redis)
        self.gate = gate
        self.costs = costs
        self.downloads = downloads
        self.picture_limits = PictureLimits(
            max_bytes=limits.picture_bytes,
            max_pixels=limits.picture_pixels,
            max_side=limits.picture_side,
            working_side=limits.working_side,
        )
        self._in_memory = asyncio.Semaphore(DOWNLOADS)
        self._decoders = asyncio.Semaphore(DECODERS)

    async def choose(self, brief: Brief, system: str | None, asked: Asked) -> Choice:
        """The system's request for a brief: the one that was named, or the best that is installed and allowed there.

        Raises:
            Refusal: there is none, or the brief does not fit.
        """
        kind = GENERATIONS[system] if system else await self.gate.best_system(asked)
        said = () if system else (Note(code="chosen_for_you", facts={"system": kind.name()}),)
        if brief.prompt and not kind.reads_prompt:
            said = (*said, Note(code="prompt_unread", facts={"system": kind.name()}))
        return Choice(kind.from_brief(brief), said)

    async def accept(
        self,
        asked: Asked,
        request: Request,
        attachments: Mapping[str, discord.Attachment],
        output: Output,
        said: Sequence[Note] = (),
    ) -> Job:
        """Check everything, fetch and store the pictures, and put the job into the line.

        Raises:
            Refusal: something is in the way; nothing was queued.
        """
        return await self.enqueue(await self.prepare(asked, request, attachments, output, said))

    async def prepare(
        self,
        asked: Asked,
        request: Request,
        attachments: Mapping[str, discord.Attachment],
        output: Output,
        said: Sequence[Note] = (),
    ) -> Submission:
        """Everything but the line: checked, fetched and stored, so that it can be enqueued now or after a question.

        Raises:
            Refusal: something is in the way.
        """
        leave = await self._admit(asked, request)
        for attachment in attachments.values():
            declared_refusal(attachment.filename, attachment.content_type, attachment.size, self.picture_limits)
        pictures = {name: await self._picture(attachment.url) for name, attachment in attachments.items()}
        sources = {name: await self._stored(asked.id, picture) for name, picture in pictures.items()}
        if any(picture.animated for picture in pictures.values()):
            said = (*said, Note("first_frame"))
        recipe = Recipe(sources=sources, steps=(request,), output=leave.output(output))  # type: ignore[arg-type]
        return await self._submission(asked, recipe, said, leave)

    async def prepare_again(self, asked: Asked, job: Job) -> Submission:
        """The same recipe with new seeds, for whoever asks now.

        Raises:
            Refusal: its pictures are gone, or its system is.
        """
        recipe = job.submission.recipe.again()
        leave = await self._admit(asked, recipe.steps[0])
        await self._check_sources(asked.id, recipe)
        return await self._submission(asked, recipe, (), leave)

    async def enqueue(self, submission: Submission) -> Job:
        """Put what was prepared into the line. Doing it twice is doing it once.

        Raises:
            Refusal: meanwhile a limit was reached, its pictures are gone, or no new requests are taken.
        """
        await self.gate.check_open(submission)
        await self._check_sources(submission.id, submission.recipe)
        submission = submission.model_copy(update={"accepted_ms": round(time.time() * 1000)})
        return await self.queue.enqueue(submission)

    async def _stored(self, job_id: str, picture: Picture) -> Source:
        await self.retention.hold(job_id, digest_of(picture.png))  # first: it may be swept at this very moment
        return Source(digest=await self.store.put(picture.png), width=picture.width, height=picture.height)

    async def _check_sources(self, job_id: str, recipe: Recipe) -> None:
        await self.retention.hold(job_id, *(source.digest for source in recipe.sources.values()))
        for source in recipe.sources.values():
            if not await self.store.exists(source.digest):
                raise SourcesGone()

    async def _admit(self, asked: Asked, request: Request) -> Leave:
        """Whether the job could be accepted, before anything is fetched."""
        leave = await self.gate.admit(asked, request)
        most = leave.terms.waiting
        if most and await self.queue.open_jobs_of(asked.requester.id) >= most:
            raise TooManyJobs(most=most)
        return leave

    async def _picture(self, url: str) -> Picture:
        async with self._in_memory:
            data = await self.downloads.fetch(url)
            async with self._decoders:
                return await asyncio.to_thread(read_picture, data, self.picture_limits)

    async def _submission(self, asked: Asked, recipe: Recipe, said: Sequence[Note], leave: Leave) -> Submission:
        [step] = recipe.steps
        leave.check_clip(step, recipe.sources)
        estimate = await self.costs.estimate(step, recipe.sources)
        return Submission(
            id=asked.id,
            recipe=recipe,
            requester=asked.requester,
            channel=asked.channel,
            reply_to=asked.reply_to,
            said=(*said, *leave.said),
            accepted_ms=round(time.time() * 1000),
            estimate_ms=max(1, estimate.gpu_ms),
            terms=leave.terms,
            results=leave.results,
            spoiler=leave.spoiler,
        )
