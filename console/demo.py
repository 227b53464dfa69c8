"""The main job without Discord: own Redis, a real worker process, the same queue, a progress bar, an MP4 and a GIF."""

import asyncio
import os
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import skimage
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from console import processes
from console.redis_server import embedded_redis
from jobs.errors import UserError
from jobs.queue import JobQueue, connect
from jobs.recipe import Output, Recipe, Source
from jobs.record import Channel, Failed, Job, Person, Rendered, Submission
from jobs.requests import GENERATIONS, Brief
from jobs.texts import say
from jobs.workers import Workers, best_system
from media.limits import PictureLimits
from media.pictures import read_picture
from media.store import MediaStore

UPLOAD_BYTES = 20 * 2**20
"""What Discord takes in a server without boosts."""
WORKER_SECONDS = 240.0
SLOW_STEPS = 1800.0
"""Seconds over which the time left is told: on a CPU one step of a large model takes minutes."""


class DemoFailed(Exception):
    """One sentence for who typed it."""


@dataclass(frozen=True)
class Made:
    """One file of the demo."""

    path: Path
    text: str


def sample_picture() -> Path:
    """NASA's portrait of Eileen Collins, in the public domain, as scikit-image ships it."""
    return Path(skimage.__file__).parent / "data" / "astronaut.png"


async def run_demo(picture: Path | None, system: str | None, out: Path, console: Console) -> None:
    """Submit one picture, show how it goes, write what came back.

    Raises:
        DemoFailed: with the sentence that somebody in Discord would read.
    """
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="zoetrope-demo-") as scratch:
        folder = Path(scratch)
        async with embedded_redis(folder / "redis") as url:
            environment = {
                **processes.without(processes.TOKEN, os.environ),
                "ZOETROPE_REDIS__URL": url,
                "ZOETROPE_STORE__URL": str(folder / "store"),
                "ZOETROPE_MODELS__CACHE": str(folder / "cache"),
                "ZOETROPE_LOG_LEVEL": "WARNING",
                "ZOETROPE_METRICS__WORKER_PORT": "0",
            }
            worker = await processes.start("console", "worker", environment=environment)
            try:
                made = await _submit(picture or sample_picture(), system, url, folder, worker, out, console)
            finally:
                await processes.end(worker)
    for one in made:
        console.print(f"[bold]{one.path}[/bold]  {one.text}")
    console.print(
        f"Made in {time.monotonic() - begun:.1f} s. Next: README says how to put this into your Discord server."
    )


async def _submit(
    picture: Path,
    system: str | None,
    url: str,
    folder: Path,
    worker: asyncio.subprocess.Process,
    out: Path,
    console: Console,
) -> list[Made]:
    redis = await connect(url)
    try:
        queue, store = JobQueue(redis), MediaStore(str(folder / "store"))
        submission = await _submission(picture, system, store, Workers(redis), worker)
        job = await queue.enqueue(submission)
        job = await _watch(queue, job, worker, console)
        return await _written(job, store, out)
    finally:
        await redis.aclose()


async def _submission(
    picture: Path, system: str | None, store: MediaStore, workers: Workers, worker: asyncio.subprocess.Process
) -> Submission:
    try:
        data = await asyncio.to_thread(picture.read_bytes)
    except OSError as error:
        raise DemoFailed(f"{picture} cannot be read: {error.strerror}.") from None
    try:
        read = await asyncio.to_thread(read_picture, data, PictureLimits())
        source = Source(digest=await store.put(read.png), width=read.width, height=read.height)
        installed = await _first_advert(workers, worker)
        kind = GENERATIONS.get(system) if system else best_system(installed)
        if kind is None or kind.name() not in installed:
            raise DemoFailed(f"{system} is not installed here. There is: {', '.join(installed)}.")
        request = kind.from_brief(Brief())
    except UserError as error:
        raise DemoFailed(say(error.code, error.facts)) from None
    return Submission(
        id="demo",
        recipe=Recipe(sources={"image": source}, steps=(request,), output=Output(format="both")),  # type: ignore[arg-type]
        requester=Person(id="0", name="you"),
        channel=Channel(id="0", upload_bytes=UPLOAD_BYTES),
        accepted_ms=round(time.time() * 1000),
    )


async def _first_advert(workers: Workers, worker: asyncio.subprocess.Process) -> dict[str, tuple[str, ...]]:
    deadline = time.monotonic() + WORKER_SECONDS
    while time.monotonic() < deadline and worker.returncode is None:
        if await workers.online():
            return await workers.installed()
        await asyncio.sleep(0.05)
    raise DemoFailed("The worker did not start; what it printed above says why.")


async def _watch(queue: JobQueue, job: Job, worker: asyncio.subprocess.Process, console: Console) -> Job:
    bar = (TextColumn("{task.description:12}"), BarColumn(), TaskProgressColumn())
    times = (TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())
    with Progress(*bar, *times, console=console, speed_estimate_period=SLOW_STEPS) as progress:
        task = progress.add_task("queued", total=1)
        while not (job := await queue.job(job.id)).state.ended:
            if worker.returncode is not None:
                raise DemoFailed("The worker ended in the middle; what it printed above says why.")
            if job.progress:
                total = job.progress.total or 1
                progress.update(task, description=job.progress.stage, total=total, completed=job.progress.step)
            await asyncio.sleep(0.1)
        progress.update(task, description="done", total=1, completed=1)
    return job


async def _written(job: Job, store: MediaStore, out: Path) -> list[Made]:
    if isinstance(job.outcome, Failed):
        raise DemoFailed(say(job.outcome.reason.code, job.outcome.reason.facts))
    assert isinstance(job.outcome, Rendered)
    out.mkdir(parents=True, exist_ok=True)
    made: list[Made] = []
    for file in job.outcome.files:
        path = out / f"demo{Path(file.name).suffix}"
        shutil.copyfile(await store.fetch_to(file.digest, out), path)
        seconds = file.num_frames / file.fps
        made.append(Made(path, f"{file.width}×{file.height}, {seconds:.1f} s, {file.size_bytes / 1e6:.2f} MB"))
    return made
