"""A clip is encoded while its frames come: by itself, and all the way through a worker."""

import asyncio
import logging
import re
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from prometheus_client import CollectorRegistry

from console.redis_server import embedded_redis
from inference.finish import Finisher
from inference.messages import Setup
from inference.meters import Meters
from inference.renderer import Renderer
from inference.settings import ModelSettings
from inference.worker import RenderWorker
from jobs.queue import connect
from jobs.recipe import Format, Output, Recipe, Source
from jobs.record import Cancelled, Rendered
from jobs.requests.parallax import ParallaxRequest
from jobs.retention import Retention
from jobs.settings import LimitSettings
from media.formats import encode
from media.frames import Frame
from media.growing import GaveUp, GrowingSpool
from media.store import MediaStore
from tests.queued import empty_queue, submission

WIDTH, HEIGHT = 96, 64
PLENTY = 50_000_000


def drifting(count: int) -> list[Frame]:
    still = np.random.default_rng(2).integers(0, 255, (HEIGHT, WIDTH, 3)).astype(np.uint8)
    return [np.roll(still, number, 1) for number in range(count)]


def test_encoding_begins_before_the_last_frame_is_there(tmp_path: Path) -> None:
    frames, taken = drifting(90), threading.Event()

    def seen(done: int, _: int) -> None:
        if done == 20:
            taken.set()

    with GrowingSpool(WIDTH, HEIGHT, 12, len(frames), tmp_path) as growing, ThreadPoolExecutor(1) as thread:
        encoding = thread.submit(encode, "mp4", growing, tmp_path / "beside.mp4", PLENTY, on_frame=seen)
        for frame in frames[:30]:
            growing.append(frame)
        assert taken.wait(20), "no frame was encoded while the clip grew"
        assert not encoding.done()
        for frame in frames[30:]:
            growing.append(frame)
        encoding.result(timeout=30)
        encode("mp4", growing, tmp_path / "after.mp4", PLENTY)

    assert (tmp_path / "beside.mp4").read_bytes() == (tmp_path / "after.mp4").read_bytes()


@pytest.mark.parametrize("kind", ["mp4", "gif"])
def test_a_render_that_gives_up_ends_its_encode_too(tmp_path: Path, kind: str) -> None:
    growing = GrowingSpool(WIDTH, HEIGHT, 12, 50, tmp_path)
    with ThreadPoolExecutor(1) as thread:
        encoding = thread.submit(encode, kind, growing, tmp_path / "a", PLENTY)
        growing.append(drifting(1)[0])
        growing.close()
        with pytest.raises(GaveUp):
            encoding.result(timeout=20)
    assert list(tmp_path.iterdir()) == []


def test_no_more_frames_are_taken_than_promised(tmp_path: Path) -> None:
    with GrowingSpool(WIDTH, HEIGHT, 12, 1, tmp_path) as growing:
        growing.append(drifting(1)[0])
        with pytest.raises(ValueError, match="promised"):
            growing.append(drifting(1)[0])


@pytest.fixture
async def worker(tmp_path: Path) -> AsyncIterator[RenderWorker]:
    """A whole worker but for arq: real Redis, real store with a picture in it, real child."""
    setup = Setup(models=tmp_path, device="cpu", dtype="auto", vram_bytes=None, ram_bytes=None, threads=1, options={})
    async with embedded_redis(tmp_path / "redis") as url, empty_queue(url) as queue:
        redis, store = await connect(url), MediaStore(str(tmp_path / "store"))
        models = ModelSettings(dir=tmp_path / "models", cache=tmp_path / "cache")
        models.cache.mkdir()
        finisher = Finisher(store, Retention(redis), models, encode_seconds=60, keep_seconds=60)
        renderer, meters = Renderer(setup, tmp_path), Meters(CollectorRegistry())
        yield RenderWorker("w1", queue, store, renderer, finisher, LimitSettings(), models.cache, meters)
        await renderer.kill()
        await redis.aclose()


async def ask(worker: RenderWorker, tmp_path: Path, request: ParallaxRequest, form: Format = "mp4") -> None:
    """Job 1001: a camera move over a picture."""
    noise = np.random.default_rng(3).integers(0, 255, (640, 960, 3)).astype(np.uint8)
    Image.fromarray(noise).save(tmp_path / "picture.png")
    digest = await worker.store.put_file(tmp_path / "picture.png")
    source = Source(digest=digest, width=960, height=640)
    recipe = Recipe(sources={"image": source}, steps=(request,), output=Output(format=form))
    await worker.queue.enqueue(submission().model_copy(update={"recipe": recipe}))


async def test_a_worker_encodes_beside_its_render(
    worker: RenderWorker, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    await ask(worker, tmp_path, ParallaxRequest(seconds=2, size=480, fps=24))
    await worker.render({}, "1001")

    outcome = (await worker.queue.job("1001")).outcome
    assert isinstance(outcome, Rendered)
    assert await worker.store.get(outcome.files[0].digest)
    told = re.search(r"encoded in ([\d.]+) s, ([\d.]+) s of them beside the render", caplog.text)
    assert told, "it says how long it took"
    assert float(told[2]) > 0, "it began with the first frames"


async def test_a_job_that_is_cancelled_leaves_no_half_of_a_file(worker: RenderWorker, tmp_path: Path) -> None:
    await ask(worker, tmp_path, ParallaxRequest(seconds=10, size=720, fps=30))
    rendering = asyncio.create_task(worker.render({}, "1001"))
    while not list(worker.finisher.models.cache.glob("finish-*")):
        assert not rendering.done()
        await asyncio.sleep(0.02)
    await worker.queue.cancel("1001", "7")
    await rendering

    assert isinstance((await worker.queue.job("1001")).outcome, Cancelled)
    assert list(worker.finisher.models.cache.glob("finish-*")) == []


@pytest.mark.slow
async def test_a_job_that_is_cancelled_while_it_is_encoded_ends_at_once(worker: RenderWorker, tmp_path: Path) -> None:
    """A thread cannot be cancelled: it once went on for as long as it took, and kept the worker's place."""
    await ask(worker, tmp_path, ParallaxRequest(seconds=3, size=480, fps=30), "apng")
    rendering = asyncio.create_task(worker.render({}, "1001"))
    while (progress := (await worker.queue.job("1001")).progress) is None or progress.stage != "encoding":
        assert not rendering.done()
        await asyncio.sleep(0.02)
    await worker.queue.cancel("1001", "7")
    async with asyncio.timeout(5):
        await rendering

    assert isinstance((await worker.queue.job("1001")).outcome, Cancelled)
