"""Delivery: a second arq queue, consumed by the bot. Each ended job becomes exactly one final message.

Posting is at-least-once made idempotent: the file is stored before it is posted, the job's id is the message's nonce
(for some minutes Discord then returns the first message instead of a second), a later try looks at the channel, and
the record is closed by whoever gets there first.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import logging
import random
import tempfile
import time
from collections.abc import Awaitable, Mapping
from pathlib import Path
from typing import Any, NoReturn, cast

import aiohttp
import discord
from arq.connections import ArqRedis
from arq.worker import Retry, Worker, func

from bot import wording
from bot.board import Board
from bot.buttons import under_result
from bot.meters import Meters
from bot.posting import answering_if_possible, at_home, destination, final_channel_of, find_final, reference
from bot.uploads import Uploads
from jobs import logs
from jobs.errors import Failure, Note, new_incident
from jobs.motions import Motion, Motions
from jobs.owned import MOST
from jobs.queue import DELIVERIES, REDIS_AWAY, JobQueue, deserialize, serialize
from jobs.record import REQUEST_BYTES, Failed, Job, Rendered, ResultFile
from jobs.texts import say
from media.probe import reencode
from media.store import MediaStore

log = logging.getLogger(__name__)

BUG_TRIES = 5
"""So often may a bug get in the way before the person is told of it instead."""
SETTLE_SECONDS = 10.0
NONCE_SECONDS = 120
"""Discord keeps nonces for "the past few minutes"; after this long we look for ourselves."""
POLL_SECONDS = 0.2
TOO_LARGE = 40005
UNKNOWN_CHANNEL, MISSING_ACCESS, MISSING_PERMISSIONS, LOCKED_THREAD = 10003, 50001, 50013, 50083
AUTOMOD = (200000, 200001)
SHRINKS = 5
"""How often a file is made smaller before it is given up; each time by half at least."""


class TakesNoFile(Failure):
    """The channel refuses the file however small."""

    code = "takes_no_file"


class Delivery:
    """Posts what ended."""

    def __init__(
        self,
        client: discord.Client,
        queue: JobQueue,
        store: MediaStore,
        board: Board,
        uploads: Uploads,
        meters: Meters,
    ) -> None:
        self.client = client
        self.queue = queue
        self.motions = Motions(queue.redis)
        self.store = store
        self.board = board
        self.uploads = uploads
        self.meters = meters
        self._posting: set[str] = set()

    def consumer(self, redis: ArqRedis) -> Worker:
        """arq's consumer of deliveries, to run inside the bot's loop."""
        return Worker(
            [func(cast(Any, self.deliver), name="deliver", timeout=900, max_tries=10**6)],
            queue_name=DELIVERIES,
            redis_pool=redis,
            keep_result=0,
            handle_signals=False,
            max_jobs=8,
            poll_delay=POLL_SECONDS,
            job_serializer=serialize,
            job_deserializer=deserialize,
        )

    async def deliver(self, _: Mapping[str, Any], job_id: str) -> None:
        """arq's function: see that the channel hears once how the job ended."""
        logs.job_id.set(job_id)
        if job_id in self._posting:
            return
        self._posting.add(job_id)
        keeper = asyncio.create_task(self._keep(job_id))
        try:
            if tries := await self.queue.delivering(job_id, begins=True):
                await self._deliver(job_id, tries)
        finally:
            keeper.cancel()
            self._posting.discard(job_id)

    async def _keep(self, job_id: str) -> None:
        """Hold the delivery while it is posted; a bot that dies lets go of it, and `reconcile` hands it on."""
        while True:
            await asyncio.sleep(self.queue.lease_seconds / 4)
            with contextlib.suppress(*REDIS_AWAY):
                await self.queue.delivering(job_id)

    async def _deliver(self, job_id: str, tries: int) -> None:
        """One try: posted and closed, or put off.

        Raises:
            Retry: it is to be tried again later.
        """
        try:
            job = await self._with_motion(await self.queue.job(job_id))
            message = await self._post(job, tries)
        except (discord.HTTPException, discord.RateLimited, aiohttp.ClientError, OSError, TimeoutError) as error:
            self._later(tries, error)  # 5xx, 429, silence; what is final was dealt with in `_post`
        except REDIS_AWAY as error:
            self._later(tries, error)
        except Exception as error:
            incident = new_incident()
            log.exception("incident %s while posting, try %d", incident, tries)
            if tries < BUG_TRIES:
                self._later(tries, error)
            await self._give_up(job_id, incident)
        else:
            await self._close(job, message)

    async def _with_motion(self, job: Job) -> Job:
        """Give the requester the motion that it learned, if any, and say so beside the clip.

        First, so that a bot which dies after posting owes nothing more; a second try says what the first one did.
        A bug here does not keep the clip back: `/motion keep` makes good for it.
        """
        try:
            answer = await self.motions.keep(job)
        except REDIS_AWAY:
            raise
        except Exception:
            incident = new_incident()
            log.exception("incident %s: a motion was not kept", incident)
            return _saying(job, Note("motion_not_kept", {"incident": incident, "job": job.id}))
        motion = Motion.of(job) if answer else None
        if motion is None:
            return job
        match answer:
            case "kept":
                return _saying(job, Note("motion_kept", {"name": motion.name}))
            case "replaced":
                return _saying(job, Note("motion_replaced", {"name": motion.name}))
            case "full":
                return _saying(job, Note("motion_full", {"name": motion.name, "most": MOST, "job": job.id}))
            case _:
                return job

    def _later(self, tries: int, error: Exception) -> NoReturn:
        seconds = min(2.0 ** min(tries, 8), 300.0) * random.uniform(0.7, 1.3)
        log.warning("try %d failed (%s: %s); again in %.0f s", tries, type(error).__name__, error, seconds)
        self.meters.delivery_retries.inc()
        raise Retry(defer=seconds) from error

    async def _give_up(self, job_id: str, incident: str) -> None:
        """A bug is in the way every time: say so in plain text, if even that works, and close the job."""
        log.error("incident %s: given up", incident)
        try:
            job = await self.queue.job(job_id)
            text = f"⚠️ <@{job.submission.requester.id}> {say('unexpected', {'incident': incident})}"
            await self._close(job, await self._send(job, text, []))
        except Exception:
            log.exception("incident %s: nobody could be told", incident)
            if await self.queue.close(job_id, None):
                self.meters.delivered(await self.queue.job(job_id), told=False)

    async def _close(self, job: Job, message: discord.Message | None) -> None:
        """The status message first: once the job is closed nobody looks at it again."""
        settled = False
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SETTLE_SECONDS):
                settled = await self.board.settle(job.id, message.jump_url if message else None)
        if not settled:  # the board makes good for it, after a restart too
            await self.queue.owe_last_edit(job.id)
        if await self.queue.close(job.id, str(message.id) if message else None):
            log.info("delivered as message %s", message.id if message else None)
            self.meters.delivered(job, told=message is not None)

    async def _post(self, job: Job, tries: int) -> discord.Message | None:
        """The final message: posted now, or found from an earlier try; None where nobody can be reached."""
        try:
            return await self._earlier(job, tries) or await self._post_in_channel(job)
        except discord.HTTPException as error:
            if error.status >= 500 or error.status == 429:
                raise
            if destination(job) != job.submission.channel:
                log.warning("the channel for results refuses the clip, so it goes where it was asked for: %s", error)
                return await self._post(at_home(job), tries)
            return await self._otherwise(job, error, tries)
        except Failure as failure:
            return await self._post_sentence(job, failure, tries)

    async def _earlier(
        self, job: Job, tries: int, room: discord.abc.Messageable | None = None
    ) -> discord.Message | None:
        """What an earlier try, if there may have been one, posted in a room; by default in the job's channel."""
        late = job.ended_ms is not None and time.time() - job.ended_ms / 1000 > NONCE_SECONDS
        if tries < 2 and not late:
            return None
        try:
            assert self.client.user is not None
            return await find_final(room or final_channel_of(self.client, job), job, self.client.user.id)
        except discord.Forbidden:  # no Read Message History: the nonce must do
            return None

    async def _post_in_channel(self, job: Job) -> discord.Message:
        """Post with the files; as long as Discord finds one too large, smaller.

        Raises:
            Failure: it cannot be made small enough.
        """
        originals = await self._load(job)
        files, note = originals, ""
        for _ in range(SHRINKS):
            try:
                return await self._send(job, wording.final(job) + note, files)
            except discord.HTTPException as error:
                if not files or (error.status != 413 and error.code != TOO_LARGE):
                    raise
            largest = max(len(data) for _, data in files)
            if len(files) > 1 and sum(len(data) for _, data in files) > REQUEST_BYTES:
                limit = largest // 2  # the request was too large, which says nothing of one file
            else:
                limit = await self.uploads.refused(job.submission.channel.guild_id, largest)
            log.warning("a file of %d bytes was too large; now at most %d", largest, limit)
            files = [(file, await _fitted(file, data, limit)) for file, data in originals]
            note = f"\n-# {say('smaller_for_channel')}"
        raise TakesNoFile()

    async def _load(self, job: Job) -> list[tuple[ResultFile, bytes]]:
        if not isinstance(job.outcome, Rendered):
            return []
        return [(file, await self.store.get(file.digest)) for file in job.outcome.files]

    async def _send(self, job: Job, text: str, files: list[tuple[ResultFile, bytes]]) -> discord.Message:
        spoiler = job.submission.spoiler

        def send(answering: Any) -> Awaitable[discord.Message]:
            return final_channel_of(self.client, job).send(
                text,
                files=[discord.File(io.BytesIO(data), filename=file.name, spoiler=spoiler) for file, data in files],
                view=under_result(job),
                nonce=job.id,
                allowed_mentions=_requester_alone(job),
                reference=answering,
            )

        fresh = await self.queue.job(job.id)  # its status message may have been posted meanwhile
        asked = job.submission.reply_to  # a clip may be there before its status message
        answers = (fresh.status_message or asked) if destination(job) == job.submission.channel else None
        return await answering_if_possible(send, reference(job, answers) if answers else None)

    async def _otherwise(self, job: Job, error: discord.HTTPException, tries: int) -> discord.Message | None:
        """The channel does not take it: tell the requester alone, with the clip where that may be."""
        if error.code in AUTOMOD:
            return await self._tell(job, say("automod"), [], tries)
        reasons = {
            UNKNOWN_CHANNEL: "it is gone",
            MISSING_ACCESS: "I cannot see it",
            MISSING_PERMISSIONS: "I may not post there",
            LOCKED_THREAD: "the thread is locked",
        }
        if error.code in reasons or isinstance(error, discord.Forbidden):
            reason = reasons.get(error.code, "Discord forbids it")
            if isinstance(job.outcome, Rendered):
                return await self._tell(job, say("delivery_gone", {"reason": reason}), await self._load(job), tries)
            told = wording.sentence(job.outcome) if isinstance(job.outcome, Failed) else "it was cancelled."
            return await self._tell(job, say("delivery_gone_failed", {"reason": reason, "sentence": told}), [], tries)
        incident = new_incident()
        log.error("incident %s: Discord refuses the final message: %s", incident, error)
        files = await self._load(job)
        return await self._tell(job, say("delivery_refused", {"incident": incident}), files, tries)

    async def _tell(
        self, job: Job, text: str, files: list[tuple[ResultFile, bytes]], tries: int
    ) -> discord.Message | None:
        """The final message by DM, guarded against a second one as in a channel; its buttons know whom it mentions."""
        try:
            person = await self.client.fetch_user(int(job.submission.requester.id))
            room = await person.create_dm()
            return await self._earlier(job, tries, room) or await room.send(
                f"{person.mention} {text}",
                files=[discord.File(io.BytesIO(data), filename=file.name) for file, data in files],
                view=under_result(job),
                nonce=job.id,
                allowed_mentions=_requester_alone(job),
            )
        except discord.HTTPException as error:
            if error.status >= 500 or error.status == 429:
                raise
            log.error("nobody can be told how it ended: %s", error)
            return None

    async def _post_sentence(self, job: Job, failure: Failure, tries: int) -> discord.Message | None:
        text = f"⚠️ <@{job.submission.requester.id}> {say(failure.code, failure.facts)}"
        job = at_home(job)
        try:
            return await self._send(job, text, [])
        except discord.HTTPException as error:
            if error.status >= 500 or error.status == 429:
                raise
            return await self._otherwise(job, error, tries)


def _saying(job: Job, note: Note) -> Job:
    """The same job with one more thing to say of its clip."""
    assert isinstance(job.outcome, Rendered)
    return job.model_copy(update={"outcome": job.outcome.model_copy(update={"said": (*job.outcome.said, note)})})


def _requester_alone(job: Job) -> discord.AllowedMentions:
    """Whom a final message pings, and who may delete it."""
    requester = discord.Object(int(job.submission.requester.id))
    return discord.AllowedMentions(everyone=False, roles=False, users=[requester], replied_user=False)


async def _fitted(file: ResultFile, data: bytes, limit: int) -> bytes:
    """The same clip in fewer bytes.

    Raises:
        Failure: it cannot be made small enough.
    """
    if len(data) <= limit:
        return data

    def work() -> bytes:
        with tempfile.TemporaryDirectory(prefix="zoetrope-") as folder:
            before, after = Path(folder) / f"before-{file.name}", Path(folder) / file.name
            before.write_bytes(data)
            reencode(before, after, limit)
            return after.read_bytes()

    return await asyncio.to_thread(work)
