"""Who can render what: each worker says so in Redis every few seconds, and the bot reads it."""

import contextlib
import time
from collections.abc import Collection, Iterable, Mapping
from typing import Any, cast

from arq.connections import ArqRedis
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from jobs.errors import Refusal
from jobs.requests import BY_SYSTEM, GENERATIONS, Brief, Generation

ADVERT_SECONDS = 20
"""A worker that has not spoken for so long is not online."""
KNOWN_DAYS = 7
"""For so long a system counts as installed though its worker is away: jobs for it may wait for the worker's return."""
USUAL = Brief()
"""A picture, and nothing said of it."""


class Advert(BaseModel):
    """What one worker can do. Fields that a newer worker adds are passed over."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    worker: str
    host: str
    device: str
    device_name: str = ""
    vram_bytes: int = 0
    systems: dict[str, tuple[str, ...]] = Field(default_factory=dict[str, tuple[str, ...]])
    """Systems that can run, each with the checkpoints that are installed for it."""
    vram_free_bytes: int = 0
    """As the driver saw it at the last step; 0 where there is no GPU."""
    warm: tuple[str, ...] = ()
    """Of `kinds`, what it could start now without loading anything."""
    job: str = ""
    """The job that has the device now."""
    leaving: bool = False
    """It finishes what it has in hand and takes nothing more."""
    at: float = Field(default_factory=time.time)
    """Seconds since the epoch."""

    @property
    def kinds(self) -> frozenset[str]:
        """What it can render."""
        return kinds_of(self.systems)


class Workers:
    """The adverts of all workers."""

    def __init__(self, redis: ArqRedis) -> None:
        self.redis = cast(Any, redis)

    async def advertise(self, advert: Advert) -> None:
        """Say it again; call it every few seconds. A device's newest advert replaces what was known of it."""
        document = advert.model_dump_json()
        async with self.redis.pipeline(transaction=True) as pipe:
            pipe.set(f"zoetrope:worker:{advert.worker}", document, ex=ADVERT_SECONDS)
            pipe.sadd("zoetrope:workers", advert.worker)
            pipe.hset("zoetrope:known", f"{advert.host}:{advert.device}", document)
            pipe.expire("zoetrope:known", KNOWN_DAYS * 86_400)
            await pipe.execute()

    async def leave(self, worker: str) -> None:
        """Say goodbye, so that nobody waits for the advert to run out."""
        await self.redis.delete(f"zoetrope:worker:{worker}")
        await self.redis.srem("zoetrope:workers", worker)

    async def online(self) -> list[Advert]:
        """Workers that spoke lately."""
        names = sorted(name.decode() for name in await self.redis.smembers("zoetrope:workers"))
        if not names:
            return []
        documents = await self.redis.mget([f"zoetrope:worker:{name}" for name in names])
        if gone := [name for name, document in zip(names, documents, strict=True) if document is None]:
            await self.redis.srem("zoetrope:workers", *gone)
        return _read(documents)

    async def known(self) -> list[Advert]:
        """Workers that spoke in the last days: what is installed, if not running now."""
        adverts = {
            f"{advert.host}:{advert.device}": advert for advert in _read(await self.redis.hvals("zoetrope:known"))
        }
        old = [place for place, advert in adverts.items() if time.time() - advert.at > KNOWN_DAYS * 86_400]
        if old:
            await self.redis.hdel("zoetrope:known", *old)
        return [advert for place, advert in adverts.items() if place not in old]

    async def installed(self) -> dict[str, tuple[str, ...]]:
        """Systems that some known worker can run, with their checkpoints."""
        return together(await self.known())


def together(adverts: Iterable[Advert]) -> dict[str, tuple[str, ...]]:
    """Systems that some of these can run, with the checkpoints of all."""
    systems: dict[str, tuple[str, ...]] = {}
    for advert in adverts:
        for system, checkpoints in advert.systems.items():
            systems[system] = tuple(dict.fromkeys((*systems.get(system, ()), *checkpoints)))
    return systems


def kinds_of(systems: Mapping[str, Iterable[str]]) -> frozenset[str]:
    """What can be asked of these systems: each by its name, or with checkpoints as `system/checkpoint`.

    A system that only a newer worker knows cannot be asked for here.
    """
    known = (BY_SYSTEM[system].kinds(names) for system, names in systems.items() if system in BY_SYSTEM)
    return frozenset[str]().union(*known)


def _read(documents: Iterable[bytes | None]) -> list[Advert]:
    """What can be read of them: another version's advert must not stop everybody's commands."""
    adverts: list[Advert] = []
    for document in documents:
        with contextlib.suppress(ValidationError):
            adverts.append(Advert.model_validate_json(document or b""))
    return adverts


def best_system(installed: Mapping[str, Collection[str]], brief: Brief = USUAL) -> type[Generation] | None:
    """What `/animate` takes by itself: of the installed systems that can do it, the one with the highest rank.

    Where the brief has words, those that read them come first.
    """
    able = [kind for name, kind in GENERATIONS.items() if name in installed and _able(kind, installed[name], brief)]
    return max(able, key=lambda kind: (kind.reads_prompt and bool(brief.prompt), kind.front_door_rank), default=None)


def _able(kind: type[Generation], installed: Collection[str], brief: Brief) -> bool:
    """Whether these checkpoints are enough for it. What else is wrong with the brief is said once it is chosen."""
    try:
        return kind.from_brief(brief).settled(installed).wanted <= set(installed)
    except Refusal:
        return brief != USUAL and _able(kind, installed, USUAL)
