"""The queue: job records in Redis, and arq's sorted set as an index of them.

The record is the truth. Every change of state is one Lua script (`jobs/lua/`), guarded by the state and, where a worker
writes, by its fencing token; the same script writes arq's keys, so no crash leaves a half state. arq carries only ids.
"""

import json
import logging
from collections.abc import AsyncIterator, Mapping
from functools import cache
from importlib.resources import files
from typing import Any, Literal, cast

from arq.connections import ArqRedis, create_pool
from arq.connections import RedisSettings as ArqSettings
from redis.exceptions import RedisError

from jobs.errors import Note, Refusal, new_incident
from jobs.record import Failed, Job, JobPlace, Lease, Outcome, Progress, State, Submission

log = logging.getLogger(__name__)

RENDERS = "zoetrope:renders"
DELIVERIES = "zoetrope:deliveries"
CHANGED = "zoetrope:changed"
"""Pub/sub channel: the id of every job whose record changed."""
OPEN = "zoetrope:open"
DEFAULT_URL = "redis://localhost:6379/0"
"""For a bot or a worker alone, where no URL is set."""
REDIS_AWAY = (RedisError, OSError, TimeoutError)
"""What a call raises while the server cannot be reached."""


class TooManyJobs(Refusal):
    """This person has as many open jobs as one person may have."""

    code = "too_many_jobs"


class NotYours(Refusal):
    """Only the requester and moderators may touch a job."""

    code = "not_yours"


class NoSuchJob(Refusal):
    """The record is gone: it was kept for some days."""

    code = "no_such_job"


class LeaseLost(Exception):
    """Another attempt holds the job now; whatever this one made is void."""


def serialize(payload: Mapping[str, Any]) -> bytes:
    """arq's payloads as JSON: nothing that comes out of Redis is ever unpickled."""
    return json.dumps(payload, default=repr).encode()


def deserialize(payload: bytes) -> dict[str, Any]:
    """The other way."""
    return json.loads(payload)


async def connect(url: str, *, retries: int = 20) -> ArqRedis:
    """A pool for `redis://`, `rediss://` or `unix://`, waiting up to `retries` seconds for the server to answer."""
    settings = ArqSettings.from_dsn(url)
    settings.conn_retries, settings.conn_retry_delay = retries, 1
    settings.max_connections = 50
    return await create_pool(
        settings, job_serializer=serialize, job_deserializer=deserialize, default_queue_name=RENDERS
    )


@cache
def _script(name: str) -> str:
    folder = files("jobs").joinpath("lua")
    return folder.joinpath("_common.lua").read_text("utf-8") + folder.joinpath(f"{name}.lua").read_text("utf-8")


class JobQueue:
    """The only one that changes a job."""

    def __init__(self, redis: ArqRedis, *, lease_seconds: float = 20, attempts: int = 2, keep_days: float = 7) -> None:
        self.redis = redis
        self._plain = cast(Any, redis)  # redis-py types its asynchronous calls as if they were both kinds
        self.lease_seconds = lease_seconds
        self.attempts = attempts
        self.keep_seconds = round(keep_days * 86_400)
        self._scripts: dict[str, Any] = {}

    async def _run(self, name: str, *arguments: str | int) -> Any:
        if name not in self._scripts:
            self._scripts[name] = self.redis.register_script(_script(name))
        return await self._scripts[name](args=list(arguments))

    async def enqueue(self, submission: Submission, *, most: int = 10) -> Job:
        """Accept a job into the line. Doing it twice is doing it once: the id is the interaction's.

        Raises:
            TooManyJobs: `most` jobs of this person are open.
        """
        document, system = submission.model_dump_json(), submission.recipe.steps[0].system
        if await self._run("enqueue", submission.id, document, submission.requester.id, most, system) == -1:
            raise TooManyJobs(most=most)
        return await self.job(submission.id)

    async def claim(self, job_id: str, worker: str) -> Lease | None:
        """Start an attempt, or None where the job does not wait (cancelled, taken, ended)."""
        fence = await self._run("claim", job_id, worker, self._lease_ms)
        return None if fence is None else Lease(job_id=job_id, worker=worker, fence=int(fence))

    async def renew(self, lease: Lease) -> str | None:
        """Hold on to the job; the id of the person who cancelled it, if somebody did.

        Raises:
            LeaseLost: the job was given to another attempt.
        """
        answer = await self._run("renew", lease.job_id, lease.fence, self._lease_ms)
        if answer is None:
            raise LeaseLost(lease.job_id)
        return answer.decode() or None

    async def report(self, lease: Lease, progress: Progress) -> None:
        """Say how far the job is; a late attempt's word is dropped."""
        await self._run("progress", lease.job_id, lease.fence, progress.model_dump_json())

    async def settle(self, lease: Lease, outcome: Outcome) -> None:
        """End the job and hand it to the bot, in one step.

        Raises:
            LeaseLost: the job was given to another attempt.
        """
        document = outcome.model_dump_json()
        if not await self._run("settle", lease.job_id, lease.fence, State(outcome.kind).value, document):
            raise LeaseLost(lease.job_id)

    async def release(self, lease: Lease, *, free: bool) -> None:
        """Give the job back to its own place in the line; `free`: this try does not count against it."""
        await self._run("release", lease.job_id, lease.fence, int(free))

    async def cancel(
        self, job_id: str, by: str, *, moderator: bool = False
    ) -> Literal["cancelled", "stopping", "ended"]:
        """Take a waiting job out of the line, or tell its worker to stop.

        Raises:
            NotYours: `by` neither asked for it nor moderates.
            NoSuchJob: it is forgotten.
        """
        job = await self.job(job_id)
        if job.submission.requester.id != by and not moderator:
            raise NotYours()
        answer = await self._run("cancel", job_id, by)
        if answer is None:
            raise NoSuchJob()
        return answer.decode()

    async def keep_status(self, job_id: str, message_id: str) -> str | None:
        """Remember the job's status message; the first one stays. The one that is kept, None where the job is gone."""
        kept = await self._run("status", job_id, message_id)
        return None if kept is None else kept.decode()

    async def delivering(self, job_id: str, *, begins: bool = False) -> int | None:
        """Say that this end is being posted, for `lease_seconds` at a time; `begins` counts a try.

        Returns how many tries there were, or None where there is nothing to post.
        """
        tries = int(await self._run("delivering", job_id, self._lease_ms, int(begins)))
        return None if tries < 0 else tries

    async def open_jobs_of(self, person_id: str) -> int:
        """How many jobs of this person wait, run, or have an end that is not posted yet."""
        return int(await self._plain.scard(f"zoetrope:person:{person_id}"))

    async def close(self, job_id: str, final_message: str | None) -> bool:
        """The channel has heard how it ended. True for the one caller that closed it."""
        return bool(await self._run("close", job_id, final_message or "", self.keep_seconds))

    async def job(self, job_id: str) -> Job:
        """The record.

        Raises:
            NoSuchJob: it is forgotten.
        """
        fields = cast(dict[bytes, bytes], await self._plain.hgetall(f"zoetrope:job:{job_id}"))
        if not fields:
            raise NoSuchJob()
        return _job_from({key.decode(): value.decode() for key, value in fields.items()})

    async def open_jobs(self) -> list[str]:
        """Ids of all jobs whose end the channel has not heard of."""
        return sorted(member.decode() for member in cast(set[bytes], await self._plain.smembers(OPEN)))

    async def place(self, job_id: str) -> JobPlace | None:
        """Where a waiting job stands; None where it does not wait."""
        rank = await self.redis.zrank(RENDERS, job_id)
        return None if rank is None else JobPlace(ahead=int(rank))

    async def head_of_line(self, count: int = 1) -> list[str]:
        """Ids of the first jobs in arq's set (running ones among them)."""
        return [member.decode() for member in cast(list[bytes], await self._plain.zrange(RENDERS, 0, count - 1))]

    async def reconcile(self) -> dict[str, list[str]]:
        """Hold every open job against arq's keys and mend what a crash left: ids by what was mended.

        A running job whose lease ran out goes back into the line, a waiting one that arq forgot is put back, an ended
        one that nobody delivers is handed to the bot again.
        """
        incident = new_incident()
        lost = Failed(reason=Note("worker_lost"), incident=incident).model_dump_json()
        mended: dict[str, list[str]] = {}
        for job_id in await self.open_jobs():
            repair = await self._run("mend", job_id, self.attempts, lost)
            if repair is not None:
                mended.setdefault(repair.decode(), []).append(job_id)
        for repair, job_ids in mended.items():
            log.warning("reconciled: %s %s", repair, " ".join(job_ids))
        if "failed" in mended:
            log.error("incident %s: workers died on %s until no try was left", incident, mended["failed"])
        return mended

    async def changes(self) -> AsyncIterator[str]:
        """Ids of jobs as their records change. May miss some while Redis is away: look at the records too."""
        async with self._plain.pubsub() as pubsub:
            await pubsub.subscribe(CHANGED)
            async for message in pubsub.listen():
                if message["type"] == "message":
                    yield message["data"].decode()

    @property
    def _lease_ms(self) -> int:
        return round(self.lease_seconds * 1000)


def _job_from(fields: dict[str, str]) -> Job:
    """A record's hash as a value: `submission`, `progress` and `outcome` are JSON, the rest is plain."""
    plain: dict[str, Any] = {key: fields[key] for key in Job.model_fields if key in fields}
    for key in ("submission", "progress", "outcome"):
        if key in plain:
            plain[key] = json.loads(plain[key])
    plain["final_message"] = plain.get("final_message") or None
    return Job.model_validate(plain)
