"""How long pictures and clips are kept: which job uses which file of the store, written by the queue's own scripts.

A file is used by every job that takes it in or gives it out, from acceptance until the job is closed; some days after
the last use it may be swept (`media/sweep.py`). Bytes have one name whoever brings them, so one file may belong to jobs
of several people, and somebody may store the same bytes at the instant in which they are swept. Hence the order:
whoever will store something **holds** its digest first, and waits there while a sweep of it is under way; the hold
lapses by itself, or becomes the job's own use when the job is accepted or settled (`jobs/lua/_media.lua`). Who brought
what for a job that is not accepted yet is written down, so that it is found when they want to be forgotten.
"""

import asyncio
import secrets
from dataclasses import dataclass
from typing import Any, cast

from arq.connections import ArqRedis

from jobs.queue import script, today_ms

MEDIA = "zoetrope:media"
"""Every file that is known: digest → until when it is, or was, used, in ms."""
HOLD_SECONDS = 3600
"""From the hold to acceptance, or to settling, it takes seconds; the time a file is kept runs from here."""
SWEEP_SECONDS = 30
"""So long may one file's deletion take, from the permission to the last word."""
AGAIN_SECONDS = 3600
WAIT_SECONDS = 0.05


@dataclass(frozen=True)
class Forgotten:
    """What went at a person's wish."""

    jobs: int
    later: int
    """Jobs that are still open; they are forgotten as soon as they are closed."""
    orphans: tuple[str, ...]
    """Files that nobody else uses."""


class Retention:
    """Who uses which file."""

    def __init__(self, redis: ArqRedis) -> None:
        self.redis = redis
        self._plain = cast(Any, redis)  # redis-py types its asynchronous calls as if they were both kinds
        self._sweeper = secrets.token_hex(8)
        self._scripts: dict[str, Any] = {}

    async def _run(self, name: str, *arguments: str | int) -> Any:
        if name not in self._scripts:
            self._scripts[name] = self.redis.register_script(script(name))
        return await self._scripts[name](args=list(arguments))

    async def hold(self, job_id: str, *digests: str, person: str = "") -> None:
        """Announce that this job will use these files. Only then look whether they are there, or store them.

        `person` brings them, for a job that is not accepted yet.
        """
        while not await self.try_hold(job_id, *digests, person=person):  # noqa: ASYNC110 (it happens in Redis)
            await asyncio.sleep(WAIT_SECONDS)

    async def try_hold(self, job_id: str, *digests: str, person: str = "") -> bool:
        """The same, without waiting; False while one of them is being deleted."""
        return not digests or bool(await self._run("media_hold", job_id, HOLD_SECONDS * 1000, person, *digests))

    async def let_go(self, person_id: str, *job_ids: str) -> None:
        """They will not ask for these jobs after all: the next sweep takes what they brought and nobody else uses."""
        if job_ids:
            await self._run("media_let_go", person_id, *job_ids)

    async def due(self, keep_seconds: float, most: int = 100) -> list[str]:
        """Files whose last use was so long ago, or whose last user was forgotten; the longest unused first."""
        cut_ms = await self._now_ms() - round(keep_seconds * 1000)
        found = await self._plain.zrangebyscore(MEDIA, "-inf", cut_ms, start=0, num=most)
        return [digest.decode() for digest in found]

    async def may_sweep(self, digest: str, keep_seconds: float) -> bool:
        """Whether this file may be deleted now, by us, within `SWEEP_SECONDS`. Say `swept` or `kept` afterwards."""
        keep_ms = round(keep_seconds * 1000)
        return bool(await self._run("media_sweep", digest, keep_ms, self._sweeper, SWEEP_SECONDS * 1000))

    async def swept(self, digest: str) -> bool:
        """The file is deleted. True where nothing knows it any more."""
        return bool(await self._run("media_swept", digest, self._sweeper, 1, 0))

    async def kept(self, digest: str, keep_seconds: float) -> None:
        """The store did not delete it: it is due again in an hour, so that it stands in no other's way."""
        again_ms = await self._now_ms() + AGAIN_SECONDS * 1000 - round(keep_seconds * 1000)
        await self._run("media_swept", digest, self._sweeper, 0, max(1, again_ms))

    async def _now_ms(self) -> int:
        """By Redis' own clock, as in the scripts."""
        seconds, microseconds = await self._plain.time()
        return seconds * 1000 + microseconds // 1000

    async def found(self, digest: str, written_ms: int) -> bool:
        """This file lies in the store. True where nobody knew it, or knew it wrongly: it is due some day now."""
        return bool(await self._run("media_found", digest, written_ms))

    async def known(self, *digests: str) -> list[bool]:
        """Which of these files anybody uses, or used lately."""
        if not digests:
            return []
        return [score is not None for score in await self._plain.zmscore(MEDIA, list(digests))]

    async def files(self) -> int:
        """How many files are known."""
        return int(await self._plain.zcard(MEDIA))

    async def history(self, person_id: str) -> list[str]:
        """Ids of a person's jobs whose records are still kept, the newest first, open ones before all."""
        found = await self._plain.zrevrange(f"zoetrope:history:{person_id}", 0, -1)
        return [job_id.decode() for job_id in found]

    async def forget(self, person_id: str) -> Forgotten:
        """Delete the records of a person's jobs, and what they used before today, which no limit counts.

        What they brought and never queued goes as well, and so do questions that wait for their answer, and motions
        that they taught, those included which they shared.
        Cancel the open ones first: they go once they are closed.
        `media.sweep.Sweeper.forget` does this and deletes the files, too.
        """
        jobs, later, orphans = 0, 0, set[str]()
        for job_id in await self.history(person_id):
            answer = [word.decode() for word in await self._run("media_forget", job_id, person_id)]
            jobs += answer[0] == "forgotten"
            later += answer[0] == "later"
            orphans.update(answer[1:])
        orphans.update(digest.decode() for digest in await self._run("media_let_go", person_id))
        # Motions after the jobs, none of which gives this person another one from now on.
        orphans.update(digest.decode() for digest in await self._run("motion_forget", person_id))
        await self._plain.zremrangebyscore(f"zoetrope:spent:person:{person_id}", "-inf", f"({today_ms()}")
        return Forgotten(jobs, later, tuple(sorted(orphans)))

    async def appointed(self, seconds: int) -> bool:
        """Whether we are the one who sweeps, for the next `seconds` at least; one does for all.

        Two at once would do no harm, only the same work.
        """
        if await self.redis.set("zoetrope:sweeper", self._sweeper, nx=True, ex=seconds):
            return True
        if await self.redis.get("zoetrope:sweeper") != self._sweeper.encode():
            return False
        return bool(await self.redis.expire("zoetrope:sweeper", seconds))
