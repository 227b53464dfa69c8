"""The queue: job records in Redis, and arq's sorted set as an index of them.

The record is the truth. Every change of state is one Lua script (`jobs/lua/`), guarded by the state and, where a worker
writes, by its fencing token; the same script writes arq's keys, so no crash leaves a half state. arq carries only ids.
"""

import asyncio
import json
import logging
import math
import re
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal, cast

from arq.connections import ArqRedis
from redis.exceptions import (
    ClusterDownError,
    InvalidResponse,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as RedisUnreached
from redis.exceptions import TimeoutError as RedisSilent

from jobs.errors import Note, Refusal, new_incident
from jobs.line import Line, read_line
from jobs.record import Failed, Job, Lease, Outcome, Progress, Rendered, State, Submission, Taken
from jobs.sockets import heed_cancels

log = logging.getLogger(__name__)

RENDERS = "zoetrope:renders"
DELIVERIES = "zoetrope:deliveries"
CHANGED = "zoetrope:changed"
"""Pub/sub channel: the id of every job whose record changed."""
OPEN = "zoetrope:open"
UNSETTLED = "zoetrope:unsettled"
DEFAULT_URL = "redis://localhost:6379/0"
"""For a bot or a worker alone, where no URL is set."""
HOUR_MS, DAY_MS = 3_600_000, 86_400_000
LOOKED_AT = 200
"""Jobs that one look of `reconcile` takes in turn."""
ANSWER_SECONDS = 5.0
"""A server that says nothing for so long is away. Where a line is cut, TCP alone would wait a quarter of an hour."""
CONNECT_SECONDS = 2.0
SERVER_AWAY = (
    RedisUnreached, RedisSilent, InvalidResponse, ReadOnlyError, ClusterDownError, TryAgainError, OutOfMemoryError
)  # fmt: skip
"""What redis-py raises while the server cannot be reached, or answers that it can do no work now: it loads its data
(a `ConnectionError`), has lost its master, is full. An error inside a script is none of these: that is a bug of ours,
and would be the same bug for ever."""
REDIS_AWAY = (*SERVER_AWAY, OSError, TimeoutError)
"""The same of whatever calls it."""
NO_WORK_NOW = re.compile(r"(^|: -)(OOM|MISCONF|BUSY|NOREPLICAS|READONLY|MASTERDOWN|CLUSTERDOWN|TRYAGAIN|LOADING) ")
"""Such answers that redis-py does not know: it has no class for some, and Redis 6 wraps what a script met with."""
OURS = frozenset({"unexpected", "worker_lost", "nobody_came", "media_lost", "media_damaged"})
"""Failures that no request brings about, by code: nobody pays for these. Any other is billed as what the device worked
on it, or whoever asks again and again for what cannot be done would have the GPU for nothing."""


class TooManyJobs(Refusal):
    """This person has as many open jobs as one person may have."""

    code = "too_many_jobs"


class TooMuchToday(Refusal):
    """This person's GPU seconds of the day do not suffice for one more such job."""

    code = "too_much_today"


class TooMuchForADay(Refusal):
    """One such job needs more GPU seconds than this person has in a whole day."""

    code = "too_much_for_a_day"


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


def today_ms() -> int:
    """When this day began, UTC, in milliseconds since the epoch."""
    return round(time.time() * 1000) // DAY_MS * DAY_MS


def client_of(url: str) -> ArqRedis:
    """A pool for `redis://`, `rediss://` or `unix://`, not connected yet.

    No call on it waits for ever, and a `rediss://` server must hold a certificate for the host that the URL names.

    Raises:
        ValueError: it is no Redis URL.
    """
    options: dict[str, Any] = {"ssl_check_hostname": True} if url.startswith("rediss:") else {}
    redis = ArqRedis.from_url(  # pyright: ignore[reportUnknownMemberType]
        url, socket_timeout=ANSWER_SECONDS, socket_connect_timeout=CONNECT_SECONDS, max_connections=1000, **options
    )
    heed_cancels(redis.connection_pool)
    redis.job_serializer, redis.job_deserializer, redis.default_queue_name = serialize, deserialize, RENDERS
    return redis


async def connect(url: str, *, retries: int = 20) -> ArqRedis:
    """The same, once the server answers; it is given `retries` seconds."""
    redis = client_of(url)
    for left in range(retries, -1, -1):
        try:
            await cast(Any, redis).ping()
        except REDIS_AWAY as error:
            if not left:
                await redis.aclose()
                raise
            log.warning("Redis does not answer yet: %s", error)
            await asyncio.sleep(1)
        else:
            break
    return redis


@cache
def script(name: str) -> str:
    """A script after those that its first line names: `-- after: _common _fair`."""
    folder = files("jobs").joinpath("lua")
    text = folder.joinpath(f"{name}.lua").read_text("utf-8")
    before = text.partition("\n")[0].removeprefix("-- after: ").split()
    return "".join([*(folder.joinpath(f"{part}.lua").read_text("utf-8") for part in before), text])


@dataclass(frozen=True)
class Usage:
    """GPU milliseconds that one person has used, and what their open jobs are estimated at."""

    last_hour_ms: int
    today_ms: int
    """Since midnight, UTC."""
    open_ms: int


class JobQueue:
    """The only one that changes a job."""

    def __init__(
        self,
        redis: ArqRedis,
        *,
        lease_seconds: float = 20,
        attempts: int = 3,
        lost_leases: int = 10,
        keep_days: float = 7,
    ) -> None:
        """`attempts`: renderers that may die of one job; `lost_leases`: whole machines that may be gone with it."""
        self.redis = redis
        self._plain = cast(Any, redis)  # redis-py types its asynchronous calls as if they were both kinds
        self.lease_seconds = lease_seconds
        self.attempts = attempts
        self.lost_leases = lost_leases
        self.keep_seconds = round(keep_days * 86_400)
        self._scripts: dict[str, Any] = {}
        self._looked_to = 0

    async def _run(self, name: str, *arguments: str | int | float) -> Any:
        if name not in self._scripts:
            self._scripts[name] = self.redis.register_script(script(name))
        try:
            return await self._scripts[name](args=list(arguments))
        except ResponseError as error:
            if NO_WORK_NOW.search(str(error)):
                raise RedisUnreached(str(error)) from error
            raise

    async def enqueue(self, submission: Submission) -> Job:
        """Accept a job into the line, on its terms. Doing it twice is doing it once: the id is the interaction's.

        Raises:
            TooManyJobs, TooMuchToday, TooMuchForADay: the person has reached a limit of their terms.
        """
        terms, began_ms = submission.terms, today_ms()
        answer = await self._run(
            "enqueue", submission.id, submission.model_dump_json(), submission.guild, submission.requester.id,
            submission.channel.id, submission.kind, submission.estimate_ms, terms.weight, terms.guild_weight,
            terms.waiting, terms.running, round(terms.gpu_seconds_per_day * 1000), began_ms,
            submission.channel.parent_id or "",
        )  # fmt: skip
        match [part.decode() for part in answer]:
            case ["many"]:
                raise TooManyJobs(most=terms.waiting)
            case ["much", *_] if submission.estimate_ms > terms.gpu_seconds_per_day * 1000:
                needed, limit = math.ceil(submission.estimate_ms / 1000), round(terms.gpu_seconds_per_day)
                raise TooMuchForADay(needed_seconds=needed, limit_seconds=limit)
            case ["much", used, opened]:
                raise TooMuchToday(
                    limit_seconds=round(terms.gpu_seconds_per_day),
                    left_seconds=max(0, round(terms.gpu_seconds_per_day - (float(used) + float(opened)) / 1000)),
                    needed_seconds=math.ceil(submission.estimate_ms / 1000),
                    resets_ts=(began_ms + DAY_MS) // 1000,
                )
            case ["ok"]:
                return Job(submission=submission, state=State.WAITING)
            case _:
                return await self.job(submission.id)

    async def take(
        self, worker: str, kinds: Iterable[str], warm: Iterable[str] = (), *, slack_ms: int = 0
    ) -> Taken | None:
        """Start the job whose turn it is among those of these kinds; None where none waits.

        One whose model this worker holds (`warm`) may go before it, within `slack_ms` of virtual time: see `jobs.fair`.
        """
        kinds = list(kinds)
        taken = await self._run("take", worker, self._lease_ms, slack_ms, len(kinds), *kinds, *warm)
        if taken is None:
            return None
        job = _job_from(dict(zip(*([part.decode() for part in taken[2][place::2]] for place in (0, 1)), strict=True)))
        return Taken(job_id=taken[0].decode(), worker=worker, fence=int(taken[1]), job=job)

    async def claim(self, job_id: str, worker: str) -> Lease | None:
        """Start this very job, whoever's turn it is; None where it does not wait (cancelled, taken, ended, paused)."""
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

    async def settle(self, lease: Lease, outcome: Outcome, *, gpu_ms: int | None = None) -> None:
        """End the job, count what it took, and hand it to the bot, in one step. Nobody pays for a failure of `OURS`.

        `gpu_ms`: what the device worked on it; None: as a rendered outcome says, else as estimated. Of a failure that
        says nothing the line alone counts the estimate: nobody is billed for what was not measured.

        Raises:
            LeaseLost: the job was given to another attempt.
        """
        pays = not isinstance(outcome, Failed) or (gpu_ms is not None and outcome.reason.code not in OURS)
        if gpu_ms is None:
            gpu_ms = (isinstance(outcome, Rendered) and outcome.gpu_ms) or -1
        document, state = outcome.model_dump_json(), State(outcome.kind).value
        if not await self._run("settle", lease.job_id, lease.fence, state, document, gpu_ms, int(pays)):
            raise LeaseLost(lease.job_id)

    async def release(self, lease: Lease, *, free: bool, gpu_ms: int | None = None) -> None:
        """Give the job back to its own place in the line; `free`: this try does not count against it.

        `gpu_ms`: what the device worked on it in a try that counts; it is billed if the job comes to no clip.
        """
        await self._run("release", lease.job_id, lease.fence, int(free), -1 if gpu_ms is None else gpu_ms)

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

    async def abandon(self, job_id: str, outcome: Failed) -> bool:
        """End a job that waits in vain. True where it still waited."""
        return bool(await self._run("abandon", job_id, outcome.model_dump_json()))

    async def pause(self, scope: str, by: str) -> bool:
        """Start nothing new in `all`, `guild:<id>` or `channel:<id>`; what runs goes on. False: it was paused."""
        return bool(await self._run("pause", scope, by))

    async def resume(self, scope: str) -> int | None:
        """Let the jobs of a scope go on, each from its place. How many were held, or None where it was not paused."""
        freed = int(await self._run("resume", scope))
        return None if freed < 0 else freed

    async def paused(self) -> dict[str, str]:
        """What is paused, and by whom."""
        return _decoded(await self._plain.hgetall("zoetrope:paused"))

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

    async def owe_last_edit(self, job_id: str) -> None:
        """Remember that this job's status message still says what it said while the job was open."""
        await self._plain.sadd(UNSETTLED, job_id)
        await self._plain.expire(UNSETTLED, self.keep_seconds)

    async def owed_last_edits(self) -> list[str]:
        """Jobs whose status messages are to be brought to their end."""
        return sorted(member.decode() for member in await self._plain.smembers(UNSETTLED))

    async def paid_last_edit(self, job_id: str) -> None:
        """That message says how it ended, or can never say it."""
        await self._plain.srem(UNSETTLED, job_id)

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
        return _job_from(_decoded(fields))

    async def open_jobs(self) -> list[str]:
        """Ids of all jobs whose end the channel has not heard of."""
        return sorted(member.decode() for member in cast(set[bytes], await self._plain.smembers(OPEN)))

    async def line(self) -> Line:
        """Everybody who waits or runs, and the tags that order them, at one instant."""
        return await read_line(self.redis)

    async def head_of_line(self, count: int = 1) -> list[str]:
        """Ids of the jobs that may be next: arq's set holds the first of each server and kind, and those that run."""
        return [member.decode() for member in cast(list[bytes], await self._plain.zrange(RENDERS, 0, count - 1))]

    async def usage(self, person_id: str) -> Usage:
        """What this person has used, on all servers."""
        now = round(time.time() * 1000)
        spent = await self._plain.zrange(f"zoetrope:spent:person:{person_id}", 0, -1, withscores=True)
        costs = [(at, int(float(member.decode().rsplit(" ", 1)[1]))) for member, at in spent]
        jobs = [member.decode() for member in await self._plain.smembers(f"zoetrope:person:{person_id}")]
        return Usage(
            last_hour_ms=sum(cost for at, cost in costs if at > now - HOUR_MS),
            today_ms=sum(cost for at, cost in costs if at >= today_ms()),
            open_ms=await self._open_ms(jobs),
        )

    async def _open_ms(self, job_ids: Iterable[str]) -> int:
        async with self._plain.pipeline(transaction=False) as pipe:
            for job_id in job_ids:
                pipe.hmget(f"zoetrope:job:{job_id}", "state", "cost")
            found = await pipe.execute()
        return sum(int(cost) for state, cost in found if state in (b"waiting", b"running"))

    async def usage_of_guild(self, guild: str) -> dict[str, int]:
        """GPU milliseconds of the last hour by person, for those who used any in this server."""
        since = round(time.time() * 1000) - HOUR_MS
        found: dict[str, int] = {}
        for member in await self._plain.zrangebyscore(f"zoetrope:spent:guild:{guild}", since, "+inf"):
            person, _, cost = member.decode().split(" ")
            found[person] = found.get(person, 0) + int(float(cost))
        return found

    async def reconcile(self) -> dict[str, list[str]]:
        """Hold every open job against arq's keys and mend what a crash left: ids by what was mended.

        A running job whose lease ran out goes back into the line, a waiting one that arq forgot is put back, an ended
        one that nobody delivers is handed to the bot again. Those that are due are looked at every time, all others in
        turns, so that a look takes as long in a long line as in a short one.
        """
        incident = new_incident()
        lost = Failed(reason=Note("worker_lost"), incident=incident).model_dump_json()
        mended: dict[str, list[str]] = {}
        for job_id in await self._to_look_at():
            if repair := await self._mended(job_id, lost):
                mended.setdefault(repair, []).append(job_id)
        for repair, job_ids in mended.items():
            log.warning("reconciled: %s %s", repair, " ".join(job_ids))
        if "failed" in mended:
            log.error(
                "incident %s: %d machines were lost with each of %s", incident, self.lost_leases, mended["failed"]
            )
        return mended

    async def _mended(self, job_id: str, lost: str) -> str | None:
        """What was mended of one job. A record that a script cannot read must not keep the others from being mended."""
        try:
            repair = await self._run("mend", job_id, self.lost_leases, lost)
        except ResponseError as error:
            if isinstance(error, REDIS_AWAY):
                raise
            log.exception("job %s cannot be mended", job_id)
            return None
        return None if repair is None else repair.decode()

    async def _to_look_at(self) -> list[str]:
        """Running jobs whose lease ran out, ended ones, what arq's set shows, and some of all the others."""
        seconds, _ = await self._plain.time()  # leases run on Redis' own clock: this host's may be wrong
        due = await self._plain.zrangebyscore("zoetrope:running", "-inf", (seconds + 1) * 1000)
        ended = await self._plain.smembers("zoetrope:ended")
        heads = await self._plain.zrange(RENDERS, 0, LOOKED_AT - 1)
        self._looked_to, others = await self._plain.sscan(OPEN, self._looked_to, count=LOOKED_AT)
        return sorted({member.decode() for member in (*due, *ended, *heads, *others)})

    async def changes(self) -> AsyncIterator[str]:
        """Ids of jobs as their records change. May miss some while Redis is away: look at the records too.

        Raises:
            REDIS_AWAY: the server cannot be reached, or has fallen silent.
        """
        async with self._plain.pubsub() as pubsub:
            await pubsub.subscribe(CHANGED)
            asked = False
            while True:
                heard = await pubsub.get_message(timeout=ANSWER_SECONDS)
                if heard is None and asked:
                    raise RedisSilent("Redis has fallen silent")
                asked = heard is None
                if heard is None:
                    await pubsub.ping()  # a line on which nothing happens and one that is cut sound the same
                elif heard["type"] == "message":
                    yield heard["data"].decode()

    @property
    def _lease_ms(self) -> int:
        return round(self.lease_seconds * 1000)


def _decoded(fields: dict[bytes, bytes]) -> dict[str, str]:
    return {key.decode(): value.decode() for key, value in fields.items()}


def _job_from(fields: dict[str, str]) -> Job:
    """A record's hash as a value: `submission`, `progress` and `outcome` are JSON, the rest is plain."""
    plain: dict[str, Any] = {key: fields[key] for key in Job.model_fields if key in fields}
    for key in ("submission", "progress", "outcome"):
        if key in plain:
            plain[key] = json.loads(plain[key])
    plain["final_message"] = plain.get("final_message") or None
    return Job.model_validate(plain)
