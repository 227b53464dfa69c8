"""From an attachment to a source in the store: fetched, looked at as what a request takes it for, and held."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import NamedTuple, get_args
from weakref import WeakValueDictionary

import discord

from bot.download import Downloads
from jobs.errors import Note, Refusal
from jobs.motions import Motion
from jobs.recipe import Recipe, Source
from jobs.requests.base import SourceKind
from jobs.retention import Retention
from jobs.settings import LimitSettings
from media.clip_limits import clip_limits_of, declared_clip_refusal, declared_sound_refusal
from media.clips import probe_clip
from media.limits import PictureLimits, declared_refusal
from media.pictures import Picture, read_picture
from media.sounds import probe_sound
from media.store import MediaStore, digest_of, digest_of_file

DOWNLOADS = 12
"""Files that are on their way or waiting to be looked at, at once; each may weigh as much as the limit."""
DECODERS = 2
"""Of each kind, looked at at once: a large picture takes some hundred megabytes, a video a process of its own."""

Fetched = tuple[Source, tuple[Note, ...]]
"""A source in the store, and what should be said of it."""


class Bringer(NamedTuple):
    """For which job a source is held, and who wants it: "forget me" finds what was brought and never queued."""

    job_id: str
    person_id: str


class SourcesGone(Refusal):
    """The pictures of an old job are no longer kept."""

    code = "sources_gone"


class MotionGone(Refusal):
    """The motion is known, and its file is not there: the store was emptied by other hands."""

    code = "motion_gone"


class Sources:
    """Brings attachments into the store."""

    def __init__(self, store: MediaStore, retention: Retention, downloads: Downloads, limits: LimitSettings) -> None:
        self.store = store
        self.retention = retention
        self.downloads = downloads
        self.picture_limits = PictureLimits(
            max_bytes=limits.picture_bytes,
            max_pixels=limits.picture_pixels,
            max_side=limits.picture_side,
            working_side=limits.working_side,
        )
        self.clip_limits = clip_limits_of(limits)
        self._on_the_way = asyncio.Semaphore(DOWNLOADS)
        self._decoders = {kind: asyncio.Semaphore(DECODERS) for kind in get_args(SourceKind)}
        self._people: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._takers: Mapping[SourceKind, Callable[[Bringer, discord.Attachment], Awaitable[Fetched]]] = {
            "image": self._image,
            "clip": self._clip,
            "sound": self._sound,
        }

    def check_declared(self, kind: SourceKind, attachment: discord.Attachment) -> None:
        """Refuse what its own declaration rules out, before a byte of it is fetched.

        Raises:
            Refusal: no need to fetch it.
        """
        declared = (attachment.filename, attachment.content_type, attachment.size)
        match kind:
            case "image":
                declared_refusal(*declared, self.picture_limits)
            case "clip":
                declared_clip_refusal(*declared, self.clip_limits)
            case "sound":
                declared_sound_refusal(*declared, self.clip_limits)
            case "motion":
                raise TypeError("a motion is named, not attached")

    async def fetch(self, bringer: Bringer, kind: SourceKind, attachment: discord.Attachment) -> Fetched:
        """The attachment as a source of this job. A person's attachments are looked at one after another.

        Raises:
            Refusal: it cannot be fetched, or is not what it is taken for.
        """
        async with self._people.setdefault(bringer.person_id, asyncio.Lock()), self._on_the_way:
            return await self._takers[kind](bringer, attachment)

    async def check(self, bringer: Bringer, recipe: Recipe) -> None:
        """Hold a recipe's sources for this job.

        Raises:
            SourcesGone: one is no longer kept.
        """
        await self._hold(bringer, *(source.digest for source in recipe.sources.values()))
        for source in recipe.sources.values():
            if not await self.store.exists(source.digest):
                raise SourcesGone()

    async def motion(self, bringer: Bringer, motion: Motion) -> Source:
        """A motion as a source of this job.

        Raises:
            MotionGone: its file is.
        """
        await self._hold(bringer, motion.digest)
        if not await self.store.exists(motion.digest):
            raise MotionGone(name=motion.name)
        return Source(digest=motion.digest, kind="motion", width=0, height=0, num_frames=0)

    async def _image(self, bringer: Bringer, attachment: discord.Attachment) -> Fetched:
        data = await self.downloads.fetch(attachment.url)
        async with self._decoders["image"]:
            picture: Picture = await asyncio.to_thread(read_picture, data, self.picture_limits)
        await self._hold(bringer, digest_of(picture.png))  # first: it may be swept at this very moment
        digest = await self.store.put(picture.png)
        said = (Note("first_frame"),) if picture.animated else ()
        return Source(digest=digest, width=picture.width, height=picture.height), said

    async def _clip(self, bringer: Bringer, attachment: discord.Attachment) -> Fetched:
        with tempfile.TemporaryDirectory(prefix="zoetrope-") as folder:
            path = await self._file(attachment, folder)
            async with self._decoders["clip"]:
                facts = await probe_clip(path, self.clip_limits)
            source = Source(
                digest=await self._put(bringer, path),
                kind="clip",
                width=facts.width,
                height=facts.height,
                num_frames=facts.num_frames,
                fps=facts.fps,
                has_alpha=facts.has_alpha,
                has_sound=facts.has_sound,
            )
        return source, facts.notes

    async def _sound(self, bringer: Bringer, attachment: discord.Attachment) -> Fetched:
        with tempfile.TemporaryDirectory(prefix="zoetrope-") as folder:
            path = await self._file(attachment, folder)
            async with self._decoders["sound"]:
                facts = await probe_sound(path, self.clip_limits)
            digest = await self._put(bringer, path)
        return Source(digest=digest, kind="sound", width=0, height=0, num_frames=0, seconds=facts.seconds), ()

    async def _file(self, attachment: discord.Attachment, folder: str) -> Path:
        path = Path(folder) / "file"
        with path.open("wb") as file:
            await self.downloads.fetch_to(attachment.url, file, self.clip_limits.max_bytes)
        return path

    async def _put(self, bringer: Bringer, path: Path) -> str:
        await self._hold(bringer, await asyncio.to_thread(digest_of_file, path))
        return await self.store.put_file(path)

    async def _hold(self, bringer: Bringer, *digests: str) -> None:
        await self.retention.hold(bringer.job_id, *digests, person=bringer.person_id)
