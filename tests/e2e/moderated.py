"""A bot whose line nobody serves, and what moderators and members say to it, for tests of `/zoetrope`."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from jobs.queue import NoSuchJob
from jobs.record import Job, Lease, Rendered
from jobs.workers import Advert, Workers
from tests.discord_server import LocalDiscord
from tests.discord_server.model import Channel, User
from tests.e2e.conftest import Room
from tests.queued import CLIP
from tests.stack import Stack, running

SYSTEMS = {"parallax": (), "svd": ("svd-xt",)}


@contextlib.asynccontextmanager
async def unserved(folder: Path) -> AsyncIterator[Stack]:
    """A bot, and a worker that is online and takes nothing by itself."""
    async with LocalDiscord(message_content=True) as server, running(server, folder, worker=False) as stack:
        online = asyncio.create_task(_stay_online(stack))
        yield stack
        online.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await online


async def _stay_online(stack: Stack) -> None:
    """Say again and again what there is."""
    advert = {"worker": "w1", "host": "attic", "device": "cuda:0", "device_name": "RTX 3060", "vram_bytes": 12 * 2**30}
    while True:
        await Workers(stack.redis).advertise(Advert.model_validate({**advert, "systems": SYSTEMS}))
        await asyncio.sleep(2)


async def emptied(stack: Stack) -> None:
    """As new: nothing in line, nothing set and nothing written down."""
    while not await stack.redis.exists("zoetrope:worker:w1"):
        await asyncio.sleep(0.02)
    for job_id in await stack.queue.open_jobs():
        with contextlib.suppress(NoSuchJob):
            if await stack.queue.cancel(job_id, "test", moderator=True) == "stopping":
                fence = (await stack.queue.job(job_id)).fence
                await stack.queue.settle(Lease(job_id=job_id, worker="w1", fence=fence), CLIP, gpu_ms=0)
    while await stack.queue.open_jobs():
        await asyncio.sleep(0.02)
    for pattern in ("rules", "audit", "spent", "aside", "paused"):
        for key in await stack.redis.keys(f"zoetrope:{pattern}*"):
            await stack.redis.delete(key)


def manager(room: Room, name: str = "moira") -> User:
    """Somebody who manages the server."""
    found = [role for role in room.server.guild.roles if role.name == "managers"]
    return room.server.user(name, found[0] if found else room.server.add_role("managers", "MANAGE_GUILD"))


async def told(room: Room, who: User, act: str, channel: Channel | None = None, **options: object) -> str:
    """What `/zoetrope …` answers, in private and to nobody else."""
    asked = await room.server.slash(f"zoetrope {act}", who, channel=channel or room.channel, **options)
    await asked.answered(20)
    [answer] = asked.responses
    assert answer.ephemeral
    assert answer.pinged == []
    return answer.text


async def asks(room: Room, who: User | None = None, channel: Channel | None = None, **options: object) -> str:
    """Somebody asks for a cheap clip; what they are told."""
    asked = await room.server.slash(
        "parallax", who or room.person, channel=channel or room.channel, image=room.picture((640, 360)), **options
    )
    return (await asked.answered(20)).text


async def queued(room: Room, who: User | None = None, channel: Channel | None = None, **options: object) -> Job:
    """The same, where it is accepted."""
    before = set(await room.stack.queue.open_jobs())
    said = await asks(room, who, channel, **options)
    assert said.startswith("Queued with **parallax**"), said
    [new] = set(await room.stack.queue.open_jobs()) - before
    return await room.stack.queue.job(new)


async def ends(room: Room, job: Job, gpu_ms: int = 1_000) -> None:
    """A worker renders it."""
    lease = await room.stack.queue.claim(job.id, "w1")
    assert lease is not None
    digest = await room.stack.store.put(b"nobody looks into this clip")
    file = CLIP.files[0].model_copy(update={"digest": digest})
    await room.stack.queue.settle(lease, Rendered(files=(file,), seconds=1.0, gpu_ms=gpu_ms), gpu_ms=gpu_ms)
