"""Who can render what: each worker says so in Redis every few seconds, and the bot reads it."""

from typing import Any, cast

from arq.connections import ArqRedis
from pydantic import Field

from jobs.recipe import Value
from jobs.requests import REQUESTS, Request

ADVERT_SECONDS = 20
"""A worker that has not spoken for so long is not online."""
KNOWN_DAYS = 7
"""For so long a system counts as installed though its worker is away: jobs for it may wait for the worker's return."""


class Advert(Value):
    """What one worker can do."""

    worker: str
    host: str
    device: str
    device_name: str = ""
    vram_bytes: int = 0
    systems: dict[str, tuple[str, ...]] = Field(default_factory=dict[str, tuple[str, ...]])
    """Systems that can run, each with the checkpoints that are installed for it."""


class Workers:
    """The adverts of all workers."""

    def __init__(self, redis: ArqRedis) -> None:
        self.redis = redis

    async def advertise(self, advert: Advert) -> None:
        """Say it again; call it every few seconds."""
        document = advert.model_dump_json()
        async with self.redis.pipeline(transaction=True) as pipe:
            pipe.set(f"zoetrope:worker:{advert.worker}", document, ex=ADVERT_SECONDS)
            pipe.set(f"zoetrope:known:{advert.worker}", document, ex=KNOWN_DAYS * 86_400)
            await pipe.execute()

    async def leave(self, worker: str) -> None:
        """Say goodbye, so that nobody waits for the advert to run out."""
        await self.redis.delete(f"zoetrope:worker:{worker}")

    async def online(self) -> list[Advert]:
        """Workers that spoke lately."""
        return await self._read("zoetrope:worker:*")

    async def known(self) -> list[Advert]:
        """Workers that spoke in the last days: what is installed, if not running now."""
        return await self._read("zoetrope:known:*")

    async def _read(self, pattern: str) -> list[Advert]:
        redis = cast(Any, self.redis)
        names: list[bytes] = [name async for name in redis.scan_iter(match=pattern, count=500)]
        documents: list[bytes | None] = await redis.mget(names) if names else []
        return [Advert.model_validate_json(document) for document in documents if document]

    async def installed(self) -> dict[str, tuple[str, ...]]:
        """Systems that some known worker can run, with their checkpoints."""
        systems: dict[str, tuple[str, ...]] = {}
        for advert in await self.known():
            for system, checkpoints in advert.systems.items():
                systems[system] = tuple(dict.fromkeys((*systems.get(system, ()), *checkpoints)))
        return systems


def best_system(installed: dict[str, tuple[str, ...]]) -> type[Request] | None:
    """What `/animate` takes by itself: the installed system with the highest rank."""
    candidates = [request for request in REQUESTS if request.name() in installed]
    return max(candidates, key=lambda request: request.front_door_rank, default=None)
