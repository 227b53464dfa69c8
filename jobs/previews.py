"""What a running job looks like so far: one small picture for each job, gone when nobody renews it."""

from typing import Any, cast

from arq.connections import ArqRedis

PREVIEW_SECONDS = 60


def preview_key(job_id: str) -> str:
    """Where a job's preview lies, as a WebP file of at most 64 KB."""
    return f"zoetrope:preview:{job_id}"


class Previews:
    """The newest preview of each running job, in Redis."""

    def __init__(self, redis: ArqRedis) -> None:
        self._redis = cast(Any, redis)

    async def put(self, job_id: str, picture: bytes) -> None:
        """Replace what was shown before."""
        await self._redis.set(preview_key(job_id), picture, ex=PREVIEW_SECONDS)

    async def get(self, job_id: str) -> bytes | None:
        """The newest one, if there is one."""
        return await self._redis.get(preview_key(job_id))

    async def forget(self, job_id: str) -> None:
        """The job ended; there is better to see."""
        await self._redis.delete(preview_key(job_id))
