"""A bot that believes in a worker with everything AnimateDiff needs: for what is asked and queued, not for clips."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

from jobs.queue import NoSuchJob
from jobs.record import Job
from jobs.workers import Advert, Workers
from tests.discord_server import LocalDiscord
from tests.e2e.conftest import Room
from tests.stack import Stack, running

ANIMATEDIFF = (
    "dreamshaper-8", "stable-diffusion-v1-5", "animatediff-v3", "animatediff-v15-v2", "animatediff-v3-adapter",
    "sparsectrl-rgb", "sparsectrl-scribble", "motion-lora-zoom-in", "motion-lora-pan-left",
)  # fmt: skip
RESTYLE = ("stable-diffusion-v1-5", "animatediff-v3", "controlnet-depth", "depth-anything-v2-small", "controlnet-tile")
SYSTEMS: Mapping[str, tuple[str, ...]] = {"animatediff": ANIMATEDIFF, "restyle": RESTYLE, "parallax": ()}


@contextlib.asynccontextmanager
async def believing(
    folder: Path, systems: Mapping[str, tuple[str, ...]] = SYSTEMS, *, message_content: bool = True
) -> AsyncIterator[Stack]:
    """Such a bot, and a worker that is online and takes nothing."""
    async with (
        LocalDiscord(message_content=message_content) as server,
        running(server, folder, worker=False) as stack,
    ):
        online = asyncio.create_task(_stay_online(stack, systems))
        await _there(stack)
        yield stack
        online.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await online
        assert server.violations == []


async def _there(stack: Stack) -> None:
    while not await stack.redis.exists("zoetrope:worker:w1"):
        await asyncio.sleep(0.02)


async def _stay_online(stack: Stack, systems: Mapping[str, tuple[str, ...]]) -> None:
    while True:
        await Workers(stack.redis).advertise(Advert(worker="w1", host="h", device="cpu", systems=dict(systems)))
        await asyncio.sleep(2)


async def queued(room: Room) -> list[Job]:
    """This channel's open jobs, the oldest first, each taken out of the line."""
    found: list[Job] = []
    for job_id in sorted(await room.stack.queue.open_jobs()):
        with contextlib.suppress(NoSuchJob):
            job = await room.stack.queue.job(job_id)
            if job.submission.channel.id == str(room.channel.id):
                found.append(job)
                await room.stack.queue.cancel(job_id, "test", moderator=True)
    return found
