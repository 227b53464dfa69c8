"""The line as values: who waits, who runs, and the tags that order them. `JobQueue.line` reads it in one go."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from arq.connections import ArqRedis

from jobs.terms import LEAST_WEIGHT, MOST_WEIGHT

DIRECT = "dm"
"""The flow of everybody who asks in a direct message stands beside the servers'."""


@dataclass(frozen=True)
class Waiting:
    """A job in the line. `seq` grows with each job that is accepted: first come, first served within a person."""

    id: str
    guild: str
    person: str
    channel: str
    kind: str
    """What a worker must have: a system's name, or `system/checkpoint` where the person chose one."""
    cost_ms: int
    """Estimated GPU milliseconds."""
    seq: int
    held: bool = False
    """Its channel, its server or everything is paused."""
    parent: str | None = None
    """The channel in which its thread hangs: a pause there holds it too."""


@dataclass(frozen=True)
class Running:
    """A job in a worker's hands."""

    id: str
    guild: str
    person: str
    channel: str
    kind: str
    cost_ms: int
    worker: str
    started_ms: int


@dataclass
class Flow:
    """One person's place within their server, or one server's among the servers: a weight and a start tag.

    `tag` is in weighted GPU milliseconds of virtual time: the start tag of the flow's next job.
    """

    tag: float = 0.0
    weight: float = 1.0
    running: int = 0
    most_running: int = 0
    """0: no limit."""


@dataclass
class Guild:
    """A server: a flow among the others, and a scheduler of its own people."""

    flow: Flow = field(default_factory=Flow)
    virtual_time: float = 0.0
    people: dict[str, Flow] = field(default_factory=dict[str, Flow])


@dataclass(frozen=True)
class Line:
    """Everything that decides who is next, at one instant."""

    at_ms: int
    virtual_time: float
    guilds: Mapping[str, Guild]
    waiting: tuple[Waiting, ...]
    """In the order in which they were accepted."""
    running: tuple[Running, ...]


@dataclass(frozen=True)
class Depth:
    """How many jobs are open, by where they stand."""

    waiting: int
    held: int
    """Waiting, and held by a pause."""
    running: int
    ended: int
    """Their channel has not heard of it yet."""


async def read_depth(redis: ArqRedis) -> Depth:
    """How deep the line is: four counts, however long it is."""
    async with cast(Any, redis).pipeline(transaction=True) as pipe:
        pipe.hlen("zoetrope:waiting")  # those that are held stand in it too
        pipe.scard("zoetrope:held")
        pipe.zcard("zoetrope:running")
        pipe.scard("zoetrope:ended")
        waiting, held, running, ended = await pipe.execute()
    return Depth(waiting - held, held, running, ended)


async def read_line(redis: ArqRedis) -> Line:
    """The line as it is in Redis. Its parts are read a moment apart: enough to look at, not to decide by."""
    plain = cast(Any, redis)
    async with plain.pipeline(transaction=True) as pipe:
        pipe.time()
        pipe.hgetall("zoetrope:tags")
        pipe.hgetall("zoetrope:waiting")
        pipe.zrange("zoetrope:running", 0, -1)
        (seconds, microseconds), tags, waiting, running = await pipe.execute()
    found = [_waiting(job_id.decode(), document) for job_id, document in waiting.items()]
    names = sorted({name.decode()[2:] for name in tags if name.startswith(b"t:")})
    async with plain.pipeline(transaction=False) as pipe:
        for name in names:
            pipe.hgetall(f"zoetrope:tags:{name}")
        for job_id in running:
            pipe.hmget(f"zoetrope:job:{job_id.decode()}", *_RUNNING_FIELDS)
        details = await pipe.execute()
    return Line(
        at_ms=seconds * 1000 + microseconds // 1000,
        virtual_time=_number(tags.get(b"V")),
        guilds={name: _guild(name, tags, fields) for name, fields in zip(names, details, strict=False)},
        waiting=tuple(sorted(found, key=lambda job: job.seq)),
        running=tuple(
            _running(job_id.decode(), fields)
            for job_id, fields in zip(running, details[len(names) :], strict=True)
            if None not in fields
        ),
    )


_RUNNING_FIELDS = ("guild", "person", "channel", "kind", "cost", "worker", "started_ms")


def _waiting(job_id: str, document: bytes) -> Waiting:
    guild, person, channel, kind, cost_ms, seq, held, *parent = json.loads(document)  # older versions: no parent
    return Waiting(job_id, guild, person, channel, kind, int(cost_ms), int(seq), bool(held), "".join(parent) or None)


def _running(job_id: str, fields: list[bytes]) -> Running:
    guild, person, channel, kind, cost_ms, worker, started_ms = (field.decode() for field in fields)
    return Running(job_id, guild, person, channel, kind, int(cost_ms), worker, int(started_ms))


def _guild(name: str, tags: Mapping[bytes, bytes], fields: Mapping[bytes, bytes]) -> Guild:
    """A server's hash, whose fields are `<letter>:<person>`: see `jobs/lua/_fair.lua`."""
    own = name.encode()
    flow = Flow(_number(tags[b"t:" + own]), _weight(tags.get(b"w:" + own)))
    guild = Guild(flow, _number(fields.get(b"V")))
    for key, value in fields.items():
        letter, _, person = key.decode().partition(":")
        if letter in ("t", "w", "r", "m") and person:
            flow = guild.people.setdefault(person, Flow())
            match letter:
                case "t":
                    flow.tag = _number(value)
                case "w":
                    flow.weight = _weight(value)
                case "r":
                    flow.running = int(value)
                case _:
                    flow.most_running = int(value)
    return guild


def _number(text: bytes | None) -> float:
    """As the scripts read it: what is no finite number counts as none."""
    number = float(text or 0)
    return number if math.isfinite(number) else 0.0


def _weight(text: bytes | None) -> float:
    return min(max(_number(text or b"1"), LEAST_WEIGHT), MOST_WEIGHT)
