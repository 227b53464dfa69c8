"""Which job made which file: what is left to go by where Discord, or whoever passed a clip on, took its metadata away.

Three traces of a finished file, each leading to a job's id and to nothing about a person: its SHA-256, the hash of its
essence (`media/essence.py`), and its fingerprint (`media/fingerprint.py`). They expire by
themselves, and `forget` takes a job's away at once.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, cast

from arq.connections import ArqRedis

PRINTS = "zoetrope:prints"
"""zset: "job id, space, fingerprint" → until when it counts, in ms."""
MOST_PRINTS = 20_000
"""The newest so many are kept and compared; they take 2 MB."""


@dataclass(frozen=True)
class Traces:
    """What one file leaves behind: 64 hexadecimal digits twice, and 80."""

    digest: str
    essence: str | None = None
    looks: str | None = None


def _made(digest: str) -> str:
    """string: the job."""
    return f"zoetrope:made:{digest}"


def _left(job_id: str) -> str:
    """set: the traces that lead to this job."""
    return f"zoetrope:left:{job_id}"


async def remember(redis: ArqRedis, job_id: str, traces: Traces, seconds: int) -> None:
    """Note who made this file, for so long; call before the job is settled. Saying it twice is saying it once.

    The same file or essence made by a later job, too, stays the first one's.
    """
    plain = cast(Any, redis)  # redis-py types its asynchronous calls as if they were both kinds
    for digest in filter(None, (traces.digest, traces.essence)):
        if await redis.set(_made(digest), job_id, ex=seconds, nx=True):
            await plain.sadd(_left(job_id), digest)
    if traces.looks:
        now_ms = await _now_ms(redis)
        await plain.zadd(PRINTS, {f"{job_id} {traces.looks}": now_ms + seconds * 1000})
        await plain.sadd(_left(job_id), traces.looks)
        await plain.zremrangebyscore(PRINTS, "-inf", now_ms)
        await plain.zremrangebyrank(PRINTS, 0, -MOST_PRINTS - 1)
        await plain.expire(PRINTS, seconds)
    await plain.expire(_left(job_id), seconds)


async def find(redis: ArqRedis, digest: str) -> str | None:
    """The job that made the file, or the essence, with this SHA-256; None where nothing is known of it."""
    found = await redis.get(_made(digest))
    return found.decode() if found else None


async def left_by(redis: ArqRedis, job_id: str) -> bool:
    """Whether this job's files are still known, so that a file which is none of them was not made by it."""
    return bool(await redis.exists(_left(job_id)))


async def prints(redis: ArqRedis) -> list[tuple[str, str]]:
    """Job id and fingerprint of everything that was made lately."""
    found = await cast(Any, redis).zrangebyscore(PRINTS, await _now_ms(redis), "+inf")
    pairs = [member.decode().partition(" ") for member in found]
    return [(job_id, looks) for job_id, _, looks in pairs]


async def forget(redis: ArqRedis, job_ids: Iterable[str]) -> None:
    """Nobody shall find these jobs by any file any more."""
    plain = cast(Any, redis)
    for job_id in job_ids:
        for left in await plain.smembers(_left(job_id)):
            trace = left.decode()
            await plain.zrem(PRINTS, f"{job_id} {trace}")
            await redis.delete(_made(trace))
        await redis.delete(_left(job_id))


async def _now_ms(redis: ArqRedis) -> int:
    """By Redis' own clock, which is one for all."""
    seconds, microseconds = await cast(Any, redis).time()
    return seconds * 1000 + microseconds // 1000
