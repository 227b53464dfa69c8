"""From what somebody asked to an accepted job: check, fetch, normalise, store, and only then enqueue."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import discord

from bot.download import Downloads
from jobs.errors import Note, Refusal
from jobs.queue import JobQueue, TooManyJobs
from jobs.recipe import Output, Recipe, Source
from jobs.record import Channel, Job, Person, Submission
from jobs.requests import BY_SYSTEM, REQUESTS, Brief, Request
from jobs.settings import LimitSettings
from jobs.workers import Workers, best_system
from media.limits import PictureLimits, declared_refusal
from media.pictures import Picture, read_picture
from media.store import MediaStore

DOWNLOADS = 12
"""Pictures that are on their way or waiting to be decoded at once; each may weigh as much as the limit."""
DECODERS = 2
"""Pictures decoded at once: a large one takes some hundred megabytes."""


class NoSystem(Refusal):
    """No worker was ever seen."""

    code = "no_system"


class SystemNotInstalled(Refusal):
    """The chosen system, or its checkpoint, is on no known worker."""

    code = "system_not_installed"


class CannotPostHere(Refusal):
    """The bot may not post files in this channel."""

    code = "cannot_post_here"


class SourcesGone(Refusal):
    """The pictures of an old job are no longer kept."""

    code = "sources_gone"


@dataclass(frozen=True)
class Asked:
    """Who asked, where, and under which id; the same for an interaction and for a message."""

    id: str
    requester: Person
    channel: Channel
    may_post: bool
    reply_to: str | None = None


@dataclass(frozen=True)
class Choice:
    """The system that the front door chose, and what to say about it."""

    request: Request
    said: tuple[Note, ...] = ()


class Intake:
    """The bot's door: every way of asking ends here."""

    def __init__(
        self, queue: JobQueue, store: MediaStore, workers: Workers, downloads: Downloads, limits: LimitSettings
    ) -> None:
        self.queue = queue
        self.store = store
        self.workers = workers
        self.downloads = downloads
        self.limits = limits
        self.picture_limits = PictureLimits(
            max_bytes=limits.picture_bytes,
            max_pixels=limits.picture_pixels,
            max_side=limits.picture_side,
            working_side=limits.working_side,
        )
        self._in_memory = asyncio.Semaphore(DOWNLOADS)
        self._decoders = asyncio.Semaphore(DECODERS)

    async def choose(self, brief: Brief, system: str | None) -> Choice:
        """The system's request for a brief: the one that was named, or the best that is installed.

        Raises:
            Refusal: none is installed, or the brief does not fit.
        """
        kind = BY_SYSTEM[system] if system else best_system(await self.workers.installed())
        if kind is None:
            raise NoSystem()
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
        waits = await self._check(asked, request)
        for attachment in attachments.values():
            declared_refusal(attachment.filename, attachment.content_type, attachment.size, self.picture_limits)
        pictures = {name: await self._picture(attachment.url) for name, attachment in attachments.items()}
        sources = {
            name: Source(digest=await self.store.put(picture.png), width=picture.width, height=picture.height)
            for name, picture in pictures.items()
        }
        if any(picture.animated for picture in pictures.values()):
            said = (*said, Note("first_frame"))
        said = (*said, *waits)
        return await self._enqueue(asked, Recipe(sources=sources, steps=(request,), output=output), said)  # type: ignore[arg-type]

    async def again(self, asked: Asked, job: Job) -> Job:
        """The same recipe with new seeds, for whoever asks now.

        Raises:
            Refusal: its pictures are gone, or its system is.
        """
        recipe = job.submission.recipe.again()
        waits = await self._check(asked, recipe.steps[0])
        for source in recipe.sources.values():
            if not await self.store.exists(source.digest):
                raise SourcesGone()
        return await self._enqueue(asked, recipe, waits)

    async def _check(self, asked: Asked, request: Request) -> tuple[Note, ...]:
        """Whether the job could be accepted, before anything is fetched; what should be said of it."""
        if not asked.may_post:
            raise CannotPostHere()
        installed = await self.workers.installed()
        if not installed:
            raise NoSystem()
        checkpoint = getattr(request, "model", None)
        if request.system not in installed or (checkpoint and checkpoint not in installed[request.system]):
            there = [kind.name() for kind in REQUESTS if kind.name() in installed]
            raise SystemNotInstalled(wanted=checkpoint or request.system, installed=", ".join(there))
        if await self.queue.open_jobs_of(asked.requester.id) >= self.limits.waiting_per_person:
            raise TooManyJobs(most=self.limits.waiting_per_person)
        online = {system for advert in await self.workers.online() for system in advert.systems}
        return () if request.system in online else (Note("no_worker_online", {"system": request.system}),)

    async def _picture(self, url: str) -> Picture:
        async with self._in_memory:
            data = await self.downloads.fetch(url)
            async with self._decoders:
                return await asyncio.to_thread(read_picture, data, self.picture_limits)

    async def _enqueue(self, asked: Asked, recipe: Recipe, said: Sequence[Note]) -> Job:
        submission = Submission(
            id=asked.id,
            recipe=recipe,
            requester=asked.requester,
            channel=asked.channel,
            reply_to=asked.reply_to,
            said=tuple(said),
            accepted_ms=round(time.time() * 1000),
        )
        return await self.queue.enqueue(submission, most=self.limits.waiting_per_person)
