"""The status messages: one for each open job, kept true to its record with as few edits as will do."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable
from typing import Any

import aiohttp
import discord

from bot import wording
from bot.buttons import while_open
from bot.posting import answering_if_possible, reference
from jobs import logs
from jobs.queue import REDIS_AWAY, JobQueue, NoSuchJob
from jobs.record import Job, JobPlace, State

log = logging.getLogger(__name__)

EDIT_SECONDS = 2.5
"""At least this long between two edits of one message. Discord allows about five a channel in five seconds."""
WAITING_EDIT_SECONDS = 10.0
"""A long line moves with every job that ends; its messages need not all follow at once."""
LOOKED_AT = 5000
"""Places in the line that are compared; who waits further back is looked at with all the others."""
SWEEP_SECONDS = 1.0
RESYNC_SECONDS = 15.0
"""Pub/sub may lose a word; every open job is looked at this often."""
NOBODY = discord.AllowedMentions.none()
UNREACHED = (discord.HTTPException, aiohttp.ClientError, OSError)
"""Discord said no, or did not say anything (which is no HTTPException)."""


def _final(error: BaseException) -> bool:
    """Whether Discord will say the same next time: AutoMod, a missing permission, a channel that is gone."""
    return isinstance(error, discord.HTTPException) and error.status < 500 and error.status != 429


class Shown:
    """What one job's status message says, and since when."""

    def __init__(self) -> None:
        self.text = ""
        self.at = 0.0
        self.place: int | None = None
        """Jobs ahead, as the message says; None once it no longer waits."""
        self.channel = ""
        self.lost = False
        """The message or its channel is out of reach: no use in trying again."""
        self.lock = asyncio.Lock()

    @property
    def waits(self) -> bool:
        """Whether the message shows a place in the line."""
        return self.place is not None

    def says(self, text: str, place: JobPlace | None, job: Job) -> None:
        """Remember what the message says now."""
        self.text, self.at, self.place = text, time.monotonic(), place.ahead if place else None
        self.channel = job.submission.channel.id


class Board:
    """Opens, refreshes and settles status messages."""

    def __init__(self, client: discord.Client, queue: JobQueue) -> None:
        self.client = client
        self.queue = queue
        self._shown: dict[str, Shown] = {}
        self._dirty: set[str] = set()
        self._edits: dict[str, asyncio.Task[None]] = {}

    def channel(self, job: Job) -> discord.PartialMessageable:
        """The job's channel, without asking Discord for it."""
        channel = job.submission.channel
        return self.client.get_partial_messageable(
            int(channel.id), guild_id=int(channel.guild_id) if channel.guild_id else None
        )

    def message(self, job: Job) -> discord.PartialMessage | None:
        """The job's status message, if it was posted."""
        return self.channel(job).get_partial_message(int(job.status_message)) if job.status_message else None

    async def open(self, job: Job) -> str | None:
        """Post the status message, once: the nonce catches a second try, the record keeps the first.

        Returns its id, or None where it cannot be posted; the job goes on without.
        """
        shown = self._shown.setdefault(job.id, Shown())
        async with shown.lock:
            job = await self.queue.job(job.id)
            if job.status_message or job.state.ended or shown.lost:
                return job.status_message
            place = await self._place(job)
            text = wording.status(job, place) + wording.notes(job.submission.said)
            shown.says("", place, job)  # an attempt counts as an edit: what is refused is not tried every second
            try:
                message = await self._post(job, text)
            except UNREACHED as error:
                log.warning("no status message: %s", error)
                shown.lost = _final(error)
                return None
            shown.says(text, place, job)
            kept = await self.queue.keep_status(job.id, str(message.id))
        if (await self.queue.job(job.id)).state is State.CLOSED:  # it ended while Discord was slow to answer
            await self.settle(job.id, None)
        return kept

    async def _post(self, job: Job, text: str) -> discord.Message:
        def send(answering: Any) -> Awaitable[discord.Message]:
            return self.channel(job).send(
                text,
                view=while_open(job),
                nonce=f"s{job.id}",
                allowed_mentions=NOBODY,
                reference=answering,
                silent=True,
                suppress_embeds=True,
            )

        return await answering_if_possible(send, _reference(job))

    async def settle(self, job_id: str, link: str | None) -> None:
        """The last edit: one line, no buttons."""
        shown = self._shown.setdefault(job_id, Shown())
        async with shown.lock:
            self._shown.pop(job_id, None)
            job = await self.queue.job(job_id)
            message = self.message(job)
            if message is None:
                return
            try:
                await message.edit(content=wording.settled(job, link), view=None, allowed_mentions=NOBODY)
            except UNREACHED as error:
                log.info("status message not settled: %s", error)

    async def listen(self) -> None:
        """Hear of changes for ever; the client starts it again when Redis was away."""
        while True:
            self._dirty.update(await self.queue.open_jobs())
            async for job_id in self.queue.changes():
                self._dirty.add(job_id)

    async def sweep(self) -> None:
        """Edit what changed, for ever; one edit of a message at a time, and what changes meanwhile is coalesced."""
        synced = time.monotonic()
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            if time.monotonic() - synced > RESYNC_SECONDS:
                synced = time.monotonic()
                self._dirty.update(await self.queue.open_jobs())
            if self._dirty:
                await self._find_moved()
            self._start_edits()

    async def _find_moved(self) -> None:
        """A change anywhere may have moved those who wait; only whose place is another by now is looked at again."""
        places = {job_id: place for place, job_id in enumerate(await self.queue.head_of_line(LOOKED_AT))}
        self._dirty.update(
            job_id for job_id, shown in self._shown.items() if shown.waits and places.get(job_id) != shown.place
        )

    def _start_edits(self) -> None:
        now = time.monotonic()
        busy = {shown.channel for job_id in self._edits if (shown := self._shown.get(job_id)) and shown.waits}
        for job_id in sorted(self._dirty):
            shown = self._shown.get(job_id) or Shown()
            if job_id in self._edits or now - shown.at < EDIT_SECONDS:
                continue
            if shown.waits and shown.channel in busy:
                continue  # a long line's messages take turns, so that a render's progress is not stuck behind them
            if shown.waits:
                busy.add(shown.channel)
            self._dirty.discard(job_id)
            self._edits[job_id] = task = asyncio.create_task(self._refresh(job_id))
            task.add_done_callback(lambda _, job_id=job_id: self._edits.pop(job_id, None))

    async def _refresh(self, job_id: str) -> None:
        logs.job_id.set(job_id)
        try:
            job = await self.queue.job(job_id)
            if job.state is State.CLOSED:
                self._shown.pop(job_id, None)
            elif job.status_message is None:
                await self.open(job)
            elif not job.state.ended:
                await self._edit(job)
        except NoSuchJob:
            self._shown.pop(job_id, None)
        except REDIS_AWAY:
            self._dirty.add(job_id)
        except Exception:
            log.exception("status message not refreshed")

    async def _edit(self, job: Job) -> None:
        shown = self._shown.setdefault(job.id, Shown())
        async with shown.lock:
            if job.id not in self._shown:  # settled meanwhile
                return
            job = await self.queue.job(job.id)
            place = await self._place(job)
            if place and shown.waits and time.monotonic() - shown.at < WAITING_EDIT_SECONDS:
                return  # the next look at all open jobs comes soon enough
            text = wording.status(job, place) + wording.notes(job.submission.said)
            message = self.message(job)
            if text == shown.text or message is None or shown.lost or job.state.ended:
                return
            try:
                await message.edit(content=text, allowed_mentions=NOBODY)
            except UNREACHED as error:
                log.info("status message not edited: %s", error)
                shown.lost = _final(error)
            shown.says(text, place, job)

    async def _place(self, job: Job) -> JobPlace | None:
        return await self.queue.place(job.id) if job.state is State.WAITING else None


def _reference(job: Job) -> discord.MessageReference | None:
    """The message that asked, so that the answer hangs under it."""
    return reference(job, job.submission.reply_to) if job.submission.reply_to else None
