"""A bot that believes in a worker which takes nothing by itself: for what is asked and queued, not for clips."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

from jobs.queue import NoSuchJob
from jobs.record import Job, Lease
from jobs.workers import Advert, Workers
from tests.discord_server import LocalDiscord
from tests.e2e.conftest import Room
from tests.queued import CLIP
from tests.stack import Stack, running

ANIMATEDIFF = (
    "dreamshaper-8", "stable-diffusion-v1-5", "animatediff-v3", "animatediff-v15-v2", "animatediff-v3-adapter",
    "sparsectrl-rgb", "sparsectrl-scribble", "motion-lora-zoom-in", "motion-lora-pan-left",
)  # fmt: skip
RESTYLE = ("stable-diffusion-v1-5", "animatediff-v3", "controlnet-depth", "depth-anything-v2-small", "controlnet-tile")
WORKER = "w1"
SYSTEMS: Mapping[str, tuple[str, ...]] = {"animatediff": ANIMATEDIFF, "restyle": RESTYLE, "parallax": ()}


@contextlib.asynccontextmanager
async def believing(
    folder: Path,
    systems: Mapping[str, Sequence[str]] = SYSTEMS,
    *,
    message_content: bool = True,
    settings: Mapping[str, str] | None = None,
    **machine: object,
) -> AsyncIterator[Stack]:
    """Such a bot. `systems`: what the worker says it has; `machine`: what it says of itself."""
    advert = {"worker": WORKER, "host": "attic", "device": "cpu", "systems": systems, **machine}
    async with (
        LocalDiscord(message_content=message_content) as server,
        running(server, folder, worker=False, settings=dict(settings or {})) as stack,
    ):
        await believe(stack, Advert.model_validate(advert))
        online = asyncio.create_task(_stay_online(stack))
        yield stack
        online.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await online
        assert server.violations == []


async def believe(stack: Stack, advert: Advert) -> None:
    """From now on the worker says this of itself."""
    stack.believed = advert
    await Workers(stack.redis).advertise(advert)


async def _stay_online(stack: Stack) -> None:
    while stack.believed:
        await Workers(stack.redis).advertise(stack.believed)
        await asyncio.sleep(2)


async def emptied(stack: Stack) -> None:
    """As new: nothing in line, nothing set and nothing written down."""
    while job_ids := await stack.queue.open_jobs():
        for job_id in job_ids:
            with contextlib.suppress(NoSuchJob):
                if await stack.queue.cancel(job_id, "test", moderator=True) == "stopping":
                    fence = (await stack.queue.job(job_id)).fence
                    await end(stack, Lease(job_id=job_id, worker=WORKER, fence=fence))
        await asyncio.sleep(0.02)
    for pattern in ("rules", "audit", "spent", "asked", "aside", "paused"):
        for key in await stack.redis.keys(f"zoetrope:{pattern}*"):
            await stack.redis.delete(key)


async def started(stack: Stack, job: Job) -> Lease:
    """The worker takes the job."""
    lease = await stack.queue.claim(job.id, WORKER)
    assert lease is not None
    return lease


async def end(stack: Stack, lease: Lease, gpu_ms: int = 0) -> None:
    """The worker fails it, which costs nobody, or renders it."""
    await stack.queue.settle(lease, CLIP.model_copy(update={"files": (), "gpu_ms": gpu_ms}), gpu_ms=gpu_ms)


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
