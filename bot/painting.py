"""One status message at Discord: posted, edited, settled. What it says, and when, others decide."""

from __future__ import annotations

import io
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Collection
from datetime import UTC, datetime
from typing import Any

import aiohttp
import discord

from bot import wording
from bot.buttons import while_open
from bot.cards import Card
from bot.claims import Claim, Phase
from bot.posting import LOOK_BACK, answering_if_possible, channel_of, custom_ids, reference
from bot.previews import Preview, newest
from jobs.previews import Previews
from jobs.queue import JobQueue
from jobs.record import Job

log = logging.getLogger(__name__)

PREVIEW_SECONDS = 5.0
PREVIEW_NAME = "preview.webp"
NOBODY = discord.AllowedMentions.none()
UNREACHED = (discord.HTTPException, aiohttp.ClientError, OSError)
"""Discord said no, or did not say anything (which is no HTTPException)."""
PAGES = 10
"""So many hundreds of a channel's messages are looked through for status messages."""


def final(error: BaseException) -> bool:
    """Whether Discord will say the same next time: AutoMod, a missing permission, a channel that is gone."""
    return isinstance(error, discord.HTTPException) and error.status < 500 and error.status != 429


class Painter:
    """Writes cards' messages."""

    def __init__(self, client: discord.Client, queue: JobQueue, previews: Previews | None) -> None:
        self.client = client
        self.queue = queue
        self.previews = previews

    async def post(self, card: Card, said: Claim) -> None:
        """Post the message: the nonce catches a second try, the record keeps the first."""
        job = await self.queue.job(card.job.id)
        if job.status_message or job.state.ended:
            card.reads(job)
            return
        card.unheard = True  # until it is written down: Discord may take it and Redis be gone by then
        try:
            message = await self._send(job, wording.status(job, said) + wording.notes(job.submission.said))
        except UNREACHED as error:
            log.warning("no status message: %s", error)
            card.unheard = not final(error)
            card.fails(for_ever=final(error))
            return
        kept = await self.queue.keep_status(job.id, str(message.id))
        card.pictured = card.unheard = False
        card.says(said)
        card.reads(card.job.model_copy(update={"status_message": kept}))

    async def _send(self, job: Job, text: str) -> discord.Message:
        def send(answering: Any) -> Awaitable[discord.Message]:
            return channel_of(self.client, job).send(
                text,
                view=while_open(job),
                nonce=f"s{job.id}",
                allowed_mentions=NOBODY,
                reference=answering,
                silent=True,
                suppress_embeds=True,
            )

        asked = job.submission.reply_to  # so that the answer hangs under the message that asked
        return await answering_if_possible(send, reference(job, asked) if asked else None)

    async def edit(self, card: Card, said: Claim) -> None:
        """Bring the message up to date, with a newer preview where there is one."""
        preview = await self._preview(card, said)
        files = _files(card, said, preview)
        text = wording.status(card.job, said) + wording.notes(card.job.submission.said)
        try:
            await self._message(card).edit(content=text, allowed_mentions=NOBODY, **files)
        except UNREACHED as error:
            log.info("status message not edited: %s", error)
            if preview:
                card.takes_files = False  # perhaps that was it
            card.fails(for_ever=final(error) and not preview)
            return
        card.says(said)
        if files:
            card.pictured, card.preview = preview is not None, preview.mark if preview else ""

    async def settle(self, card: Card, _: Claim) -> None:
        """The last edit: one line, no buttons, no preview. A message of which nobody heard is looked for first."""
        if card.job.status_message is None and not await self._look_for(card):
            return
        try:
            await self._message(card).edit(content=card.end, view=None, attachments=[], allowed_mentions=NOBODY)
            card.done = True
        except UNREACHED as error:
            log.info("status message not settled: %s", error)
            card.fails()
            card.done = final(error)
        if card.done:
            await self.queue.paid_last_edit(card.job.id)

    async def _look_for(self, card: Card) -> bool:
        await self.remember([card])
        if card.unheard:
            card.fails()
        elif card.job.status_message is None:
            await self.queue.paid_last_edit(card.job.id)
        return card.job.status_message is not None

    async def remember(self, cards: Collection[Card]) -> None:
        """What the messages of one channel say, as Discord has them: after a restart nobody else knows.

        A message of which Discord's answer never came is found by its button, however long ago that was.
        """
        known = {card.job.status_message: card for card in cards if card.job.status_message}
        lost = {f"zt:cancel:{card.job.id}": card for card in cards if card.job.status_message is None}
        try:
            async for message in self._since(cards):
                mark = next(iter(custom_ids(message) & lost.keys()), "")
                if card := known.get(str(message.id)) or lost.pop(mark, None):
                    await self._found(card, message)
            for card in cards:
                card.unheard = False
        except UNREACHED as error:
            log.info("what status messages say is not remembered: %s", error)

    async def _since(self, cards: Collection[Card]) -> AsyncIterator[discord.Message]:
        """Our messages in the cards' channel, newest first, back to the first that may be one of theirs."""
        assert self.client.user is not None
        oldest = min(_not_older(card.job) for card in cards)
        channel = channel_of(self.client, next(iter(cards)).job)
        async for message in channel.history(limit=PAGES * 100):
            if message.id < oldest:
                return
            if message.author.id == self.client.user.id:
                yield message

    async def _found(self, card: Card, message: discord.Message) -> None:
        kept = card.job.status_message or await self.queue.keep_status(card.job.id, str(message.id))
        card.said, card.pictured = wording.claimed(message.content), bool(message.attachments)
        card.reads(card.job.model_copy(update={"status_message": kept}))

    async def _preview(self, card: Card, said: Claim) -> Preview | None:
        """A newer one than hangs there, every few seconds."""
        now = time.monotonic()
        if self.previews is None or said.phase is not Phase.RUNNING or not card.takes_files:
            return None
        if now - card.previewed_at < PREVIEW_SECONDS:
            return None
        preview = await newest(self.previews, card.job, but_not=card.preview)
        if preview:
            card.previewed_at = now
        return preview

    def _message(self, card: Card) -> discord.PartialMessage:
        assert card.job.status_message is not None
        return channel_of(self.client, card.job).get_partial_message(int(card.job.status_message))


def _not_older(job: Job) -> int:
    """An id that no message about the job is below."""
    if job.status_message:
        return int(job.status_message)
    accepted = datetime.fromtimestamp(job.submission.accepted_ms / 1000, UTC)
    return discord.utils.time_snowflake(accepted - LOOK_BACK)


def _files(card: Card, said: Claim, preview: Preview | None) -> dict[str, Any]:
    """What the edit says about attachments: nothing where they stay as they are."""
    if preview:
        hidden = card.job.submission.spoiler
        file = discord.File(io.BytesIO(preview.webp), PREVIEW_NAME, spoiler=hidden, description=preview.described)
        return {"attachments": [file]}
    return {"attachments": []} if card.pictured and said.phase is not Phase.RUNNING else {}
