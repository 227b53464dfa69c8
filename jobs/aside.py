"""Jobs that were set aside: each took its renderer down until no try was left. Kept for the owner, with their logs."""

import contextlib
import time
from collections.abc import Iterable
from typing import Any, cast

from arq.connections import ArqRedis
from pydantic import Field, ValidationError

from jobs.logs import without_secrets
from jobs.recipe import Value

ASIDE = "zoetrope:aside"
"""A hash: job id → what is known of it, as JSON."""
MOST = 50
KEEP_SECONDS = 30 * 86_400


class SetAside(Value):
    """One such job."""

    job_id: str
    system: str
    incident: str
    """What the person was told, so that both can speak of the same event."""
    log: str
    """The last lines that the renderer wrote before it died."""
    at_ms: int = Field(default_factory=lambda: round(time.time() * 1000))


class Aside:
    """The newest ones, in Redis."""

    def __init__(self, redis: ArqRedis) -> None:
        self._redis = cast(Any, redis)

    async def put(self, job: SetAside) -> None:
        """Remember one more; the oldest make room."""
        job = job.model_copy(update={"log": without_secrets(job.log)})
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.hset(ASIDE, job.job_id, job.model_dump_json())
            pipe.expire(ASIDE, KEEP_SECONDS)
            await pipe.execute()
        if too_old := [old.job_id for old in (await self.all())[MOST:]]:
            await self._redis.hdel(ASIDE, *too_old)

    async def all(self) -> list[SetAside]:
        """The newest first."""
        found = _read(await self._redis.hvals(ASIDE))
        return sorted(found, key=lambda job: job.at_ms, reverse=True)

    async def forget(self, job_id: str) -> None:
        """The owner has seen to it."""
        await self._redis.hdel(ASIDE, job_id)


def _read(documents: Iterable[bytes]) -> Iterable[SetAside]:
    """What can be read of them."""
    for document in documents:
        with contextlib.suppress(ValidationError):
            yield SetAside.model_validate_json(document)
