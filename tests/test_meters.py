"""What is counted, and when: each figure changes by what happened and by nothing else."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from prometheus_client import CollectorRegistry
from redis.exceptions import ConnectionError as RedisConnectionError

from bot import chores as chores_module
from bot.chores import Chores
from bot.meters import Meters as BotMeters
from console.redis_server import embedded_redis
from inference.finish import Finisher
from inference.leaving import Leaving
from inference.messages import Ready, Setup
from inference.meters import ENDINGS
from inference.meters import Meters as WorkerMeters
from inference.renderer import Renderer
from inference.serve import Service
from inference.settings import ModelSettings, SystemSettings
from inference.worker import RenderWorker
from jobs.errors import Note
from jobs.queue import connect
from jobs.record import Cancelled, Failed, Job, Outcome, State
from jobs.requests.svd import SvdRequest
from jobs.retention import Retention
from jobs.settings import LimitSettings
from media.store import MediaStore
from tests.queued import ANN, CLIP, empty_queue, submission
from tests.scrape import Scrape, read


def job(outcome: Outcome | None = None, **fields: int) -> Job:
    """A job of ann's on SVD."""
    return Job.model_validate(
        {"submission": submission(step=SvdRequest()), "state": State.RUNNING, "outcome": outcome, **fields}
    )


# --- the bot ---


@pytest.fixture
def bot() -> BotMeters:
    return BotMeters(CollectorRegistry())


@pytest.fixture
async def discord() -> AsyncIterator[TestServer]:
    """Answers with the status that the path names; `hangs` never, `closes` by closing."""

    async def answer(request: web.Request) -> web.Response:
        what = request.match_info["what"]
        if what == "hangs":
            await asyncio.sleep(5)
        if what == "closes":
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        return web.Response(status=int(what))

    app = web.Application()
    app.add_routes([web.get("/{what}", answer)])
    async with TestServer(app) as server:
        yield server


async def test_requests_to_discord_are_counted_by_how_they_ended(bot: BotMeters, discord: TestServer) -> None:
    wait = aiohttp.ClientTimeout(total=0.2)
    async with aiohttp.ClientSession(trace_configs=[bot.trace()]) as session:
        for what in ("200", "200", "403", "429", "502", "closes", "hangs"):
            try:
                await session.get(discord.make_url(what), timeout=wait)
            except (aiohttp.ClientError, TimeoutError):
                assert what in ("closes", "hangs")

    found = read(bot.registry).all("zoetrope_discord_requests_total", "status")
    assert found == {"200": 2, "403": 1, "429": 1, "500": 0, "502": 1, "timeout": 1, "unreachable": 1}


async def test_a_request_that_we_gave_up_is_nobodys_fault(bot: BotMeters, discord: TestServer) -> None:
    async with aiohttp.ClientSession(trace_configs=[bot.trace()]) as session:
        asking = asyncio.ensure_future(session.get(discord.make_url("hangs")))
        await asyncio.sleep(0.2)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)

    assert set(read(bot.registry).all("zoetrope_discord_requests_total", "status").values()) == {0}


def test_a_delivery_is_counted_by_outcome_and_a_failure_by_its_reason(bot: BotMeters) -> None:
    ended_ms = round(time.time() * 1000) - 4000
    failed = Failed(reason=Note("out_of_memory"), incident="abc234")
    bot.delivered(job(CLIP, ended_ms=ended_ms), told=True)
    bot.delivered(job(Cancelled(by=ANN), ended_ms=ended_ms), told=True)
    bot.delivered(job(failed, ended_ms=ended_ms), told=True)
    bot.delivered(job(failed, ended_ms=ended_ms), told=False)
    page = read(bot.registry)

    def delivered(outcome: str) -> tuple[float | None, ...]:
        return tuple(page.value("zoetrope_deliveries_total", outcome=outcome, told=told) for told in ("yes", "no"))

    assert [delivered(outcome) for outcome in ("rendered", "failed", "cancelled")] == [(1, 0), (1, 1), (1, 0)]
    assert page.value("zoetrope_failures_total", system="svd", reason="out_of_memory") == 2
    assert page.value("zoetrope_delivery_seconds_bucket", le="2.0") == 0
    assert page.value("zoetrope_delivery_seconds_bucket", le="5.0") == 4


def test_no_label_comes_from_outside(bot: BotMeters) -> None:
    """A code that nobody declared might be anything; there must not be a series for each."""
    for number in range(20):
        bot.delivered(job(Failed(reason=Note(f"code-{number}"))), told=True)
    page = read(bot.registry)

    assert page.value("zoetrope_failures_total", system="svd", reason="other") == 20
    assert page.labels.isdisjoint({"1001", "5", "55", ANN, "ann"})
    assert not any(label.startswith("code-") for label in page.labels)


async def test_a_chore_that_fails_is_named_and_counted_and_begins_again(
    bot: BotMeters, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chores_module, "PAUSE_SECONDS", 0.01)
    begun = 0

    async def broken() -> None:
        nonlocal begun
        begun += 1
        raise ValueError("a bug")

    async def away() -> None:
        raise RedisConnectionError("nobody there")

    chores = Chores(bot)
    assert await chores.complaint() == "they have not begun"
    chores.begin({"broken": broken, "away": away})
    while begun < 3:
        await asyncio.sleep(0.01)

    assert await chores.complaint() == "failing, see the log: broken"
    failures = read(bot.registry).all("zoetrope_chore_failures_total", "chore")
    assert set(failures) == {"broken"}, "that Redis is away is no bug"
    assert failures["broken"] >= 2

    monkeypatch.setattr(chores_module, "LATELY_SECONDS", 0.0)
    assert await chores.complaint() is None
    await chores.end()
    assert await chores.complaint() == "stopped: broken, away"


async def test_chores_that_hang_are_not_well(bot: BotMeters, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chores_module, "SILENT_SECONDS", 0.3)
    chores = Chores(bot)
    chores.begin({"hangs": asyncio.Event().wait})  # type: ignore[dict-item]
    assert await chores.complaint() is None
    await asyncio.sleep(0.4)
    assert await chores.complaint() == "nothing was reconciled for 0 s"
    chores.beat()
    assert await chores.complaint() is None
    await chores.end()


# --- the worker ---


@pytest.fixture
def worker() -> WorkerMeters:
    return WorkerMeters(CollectorRegistry())


def test_the_first_start_alone_ends_a_wait(worker: WorkerMeters) -> None:
    """A job that was given back, or whose worker died, starts again; its person waits for the first start."""
    started = job(started_ms=45_001)
    worker.begins(started, fence=1)
    worker.begins(started, fence=3)
    page = read(worker.registry)

    assert page.value("zoetrope_wait_seconds_count", system="svd") == 1
    assert page.value("zoetrope_wait_seconds_sum", system="svd") == 45
    assert page.value("zoetrope_wait_seconds_count", system="parallax") == 0


def test_what_a_render_took_is_counted_by_system(worker: WorkerMeters) -> None:
    worker.settled(job(), CLIP.model_copy(update={"gpu_ms": 7_000, "loading_ms": 1_500}))
    worker.settled(job(), Failed(reason=Note("out_of_memory")))
    worker.ends(job(), "lease_lost")
    page = read(worker.registry)

    assert page.value("zoetrope_render_seconds_sum", system="svd") == 7
    assert page.value("zoetrope_render_seconds_bucket", system="svd", le="5.0") == 0
    assert page.value("zoetrope_render_seconds_bucket", system="svd", le="10.0") == 1
    assert page.value("zoetrope_loading_seconds_sum", system="svd") == 1.5
    happened = {"rendered", "failed", "lease_lost"}
    for ending in ENDINGS:
        assert page.value("zoetrope_attempts_total", system="svd", ending=ending) == (ending in happened)


def renderer(tmp_path: Path) -> Renderer:
    """One that is not started."""
    setup = Setup(models=tmp_path, device="cpu", dtype="auto", vram_bytes=None, ram_bytes=None, threads=1, options={})
    return Renderer(setup, tmp_path)


def test_memory_is_shown_for_a_gpu_and_not_for_a_cpu(worker: WorkerMeters, tmp_path: Path) -> None:
    child = renderer(tmp_path)

    def look(*, busy: bool = False) -> Scrape:
        worker.device(child, busy=busy)
        return read(worker.registry)

    child.facts = Ready(device="cuda:0", device_name="NVIDIA H200", vram_bytes=150_000_000_000)
    child.vram_free_bytes = 90_000_000_000
    page = look(busy=True)
    assert page.value("zoetrope_device_memory_bytes", device="NVIDIA H200") == 150e9
    assert page.value("zoetrope_device_memory_free_bytes", device="NVIDIA H200") == 90e9
    assert page.value("zoetrope_device_busy") == 1

    child.facts = Ready(device="cpu", device_name="", vram_bytes=0)
    page = look()
    assert page.all("zoetrope_device_memory_bytes", "device") == {}
    assert page.all("zoetrope_device_memory_free_bytes", "device") == {}
    assert page.value("zoetrope_device_busy") == 0


@pytest.fixture
async def service(tmp_path: Path, worker: WorkerMeters) -> AsyncIterator[Service]:
    """A worker that was put together and not started, on a real Redis."""
    async with embedded_redis(tmp_path / "redis") as url, empty_queue(url) as queue:
        redis, store = await connect(url), MediaStore(str(tmp_path / "store"))
        models = ModelSettings(dir=tmp_path / "models", cache=tmp_path)
        finisher = Finisher(store, Retention(redis), models, encode_seconds=60, keep_seconds=60)
        render = RenderWorker("w1", queue, store, renderer(tmp_path), finisher, LimitSettings(), tmp_path, worker)
        yield Service(render, redis, models, SystemSettings(), Leaving(1.0))
        await redis.aclose()


async def test_a_worker_is_well_once_the_others_have_heard_of_it_and_while_its_renderer_starts(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = service.watch()
    assert await watch.complaints() == {"advert": "nobody was told yet that this worker is here"}

    await service.advertise()
    assert await watch.complaints() == {}

    service.worker.failed_starts = 2
    assert await watch.complaints() == {"renderer": "it did not start, 2 times in a row"}
    service.worker.failed_starts = 0

    monkeypatch.setattr("inference.serve.ADVERT_SECONDS", 0.05)
    await asyncio.sleep(0.1)
    assert await watch.complaints() == {"advert": "the others last heard of this worker 0 s ago"}
    await service.advertise()
    assert await watch.complaints() == {}
