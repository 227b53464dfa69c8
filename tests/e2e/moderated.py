"""A bot whose line nobody serves, and what moderators and members say to it, for tests of `/zoetrope`."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from pathlib import Path

from jobs.record import Job, Rendered
from tests.discord_server.model import Channel, User
from tests.e2e.advertised import believing, started
from tests.e2e.conftest import Room
from tests.queued import CLIP
from tests.stack import Stack

SYSTEMS = {"parallax": (), "svd": ("svd-xt",)}


def unserved(folder: Path) -> AbstractAsyncContextManager[Stack]:
    """A bot, and a worker with a card that is online and takes nothing by itself."""
    return believing(folder, SYSTEMS, device="cuda:0", device_name="RTX 3060", vram_bytes=12 * 2**30)


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
    lease = await started(room.stack, job)
    digest = await room.stack.store.put(b"nobody looks into this clip")
    file = CLIP.files[0].model_copy(update={"digest": digest})
    await room.stack.queue.settle(lease, Rendered(files=(file,), seconds=1.0, gpu_ms=gpu_ms), gpu_ms=gpu_ms)
