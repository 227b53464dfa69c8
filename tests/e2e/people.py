"""People at a bot that asks before much is queued, and whose line nobody serves."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from pathlib import Path

from jobs.record import Job, State
from tests.discord_server.interactions import Asked
from tests.discord_server.model import Channel, Message, User
from tests.e2e.advertised import believing
from tests.e2e.conftest import Room
from tests.stack import Stack

SYSTEMS = {"parallax": (), "svd": ("svd-xt",)}
ASKED_ABOVE = 60
"""GPU seconds: svd's 25 steps are believed to take about 90, parallax a few."""


def asking(folder: Path) -> AbstractAsyncContextManager[Stack]:
    """Such a bot, and a worker that is online and takes nothing by itself."""
    return believing(folder, SYSTEMS, settings={"ZOETROPE_LIMITS__CONFIRM_GPU_SECONDS": str(ASKED_ABOVE)})


async def ask(room: Room, user: User | None = None, channel: Channel | None = None, **options: object) -> Job:
    """Somebody asks for something cheap; the job."""
    asked = await room.server.slash(
        "parallax", user or room.person, channel=channel or room.channel, image=room.picture(), **options
    )
    await asked.answered(20)
    return await room.stack.queue.job(asked.id)


async def state(room: Room, job: Job) -> State:
    return (await room.stack.queue.job(job.id)).state


async def press(room: Room, message: Message, label: str, user: User | None = None) -> Asked:
    """Press and wait for what comes of it."""
    return await (await room.server.press(message, user or room.person, label)).answered(20)


def named(message: Message) -> list[str]:
    """The buttons' labels, or their emoji."""
    return [button.get("label") or button["emoji"]["name"] for button in message.buttons]
