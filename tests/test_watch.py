"""`/metrics` and `/healthz` on a real port, beside a real Redis that is killed and held."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics

from bot.meters import LineMeters
from console.redis_server import binary
from console.up import worker_environments
from jobs.queue import JobQueue, connect
from jobs.settings import BadSettings
from jobs.watch import HIGHEST_PORT, MetricsSettings, Watch, new_registry, redis_answers, served
from jobs.workers import Advert, Workers
from tests.hosts.servers import composed, login, write_users
from tests.ports import free_port
from tests.queued import CLIP, submission
from tests.redis_alone import RedisAlone, redis_alone
from tests.scrape import fetch, health, read, scrape

STATES = ("waiting", "held", "running", "ended")


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[RedisAlone]:
    async with redis_alone(tmp_path) as server:
        yield server


@pytest.fixture
async def queue(server: RedisAlone) -> AsyncIterator[JobQueue]:
    redis = await connect(server.url)
    yield JobQueue(redis)
    await redis.aclose()


@pytest.fixture
async def port(queue: JobQueue) -> AsyncIterator[int]:
    """The pages of a process that looks at the line."""
    port, registry = free_port(), CollectorRegistry()
    line = LineMeters(registry, queue.redis, Workers(queue.redis))
    watch = Watch(registry, {"redis": redis_answers(queue.redis)}, [line.look])
    async with served(watch, "127.0.0.1", port, key="bot_port"):
        yield port


async def test_prometheus_can_read_the_page_in_both_formats(port: int) -> None:
    text, plain = await fetch(port, "/metrics")
    assert plain.startswith("text/plain; version=0.0.4")
    assert text.startswith("# HELP")

    asked = [("Accept", "application/openmetrics-text; version=1.0.0")]
    text, open_metrics = await fetch(port, "/metrics", asked)
    assert open_metrics.startswith("application/openmetrics-text")
    assert "zoetrope_jobs" in {family.name for family in read_openmetrics(text)}


async def test_jobs_are_counted_by_where_they_stand(queue: JobQueue, port: int) -> None:
    await queue.pause("channel:66", "7")
    for number, channel in enumerate(("55", "55", "55", "55", "66", "66")):
        await queue.enqueue(submission(f"100{number}", channel=channel))
    for job_id in ("1000", "1001"):
        assert await queue.claim(job_id, "w1")
    ending = await queue.claim("1002", "w1")
    assert ending is not None
    await queue.settle(ending, CLIP)

    assert (await scrape(port)).all("zoetrope_jobs", "state") == {"waiting": 1, "held": 2, "running": 2, "ended": 1}

    await queue.close("1002", "9")
    await queue.resume("channel:66")
    assert (await scrape(port)).all("zoetrope_jobs", "state") == {"waiting": 3, "held": 0, "running": 2, "ended": 0}


def able(page: Any) -> dict[str, float]:
    """How many workers can run each system, of those that any can."""
    return {system: count for system, count in page.all("zoetrope_system_workers", "system").items() if count}


async def test_workers_are_counted_by_what_they_do_and_can(queue: JobQueue, port: int) -> None:
    workers = Workers(queue.redis)

    async def comes(name: str, *systems: str, job: str = "", leaving: bool = False) -> None:
        can = dict.fromkeys(systems, ())
        await workers.advertise(Advert(worker=name, host="h", device=name, systems=can, job=job, leaving=leaving))

    await comes("w1", "svd", "parallax")
    await comes("w2", "parallax", job="1000")
    await comes("w3", "svd", job="1001", leaving=True)
    page = await scrape(port)
    assert page.all("zoetrope_workers", "state") == {"idle": 1, "busy": 1, "leaving": 1}
    assert able(page) == {"svd": 1, "parallax": 2}

    await workers.leave("w1")
    page = await scrape(port)
    assert page.all("zoetrope_workers", "state") == {"idle": 0, "busy": 1, "leaving": 1}
    assert able(page) == {"parallax": 1}


async def test_without_redis_the_pages_say_so_and_old_figures_are_gone(server: RedisAlone, port: int) -> None:
    assert await health(port) == (200, {"redis": "ok"})
    assert (await scrape(port)).value("zoetrope_healthy", check="redis") == 1

    server.kill()
    assert await health(port) == (503, {"redis": "Redis does not answer"})
    page = await scrape(port)
    assert page.value("zoetrope_healthy", check="redis") == 0
    assert [page.value("zoetrope_jobs", state=state) for state in STATES] == [None] * 4
    assert page.all("zoetrope_workers", "state") == {}

    await server.start()
    assert await health(port) == (200, {"redis": "ok"})
    assert [(await scrape(port)).value("zoetrope_jobs", state=state) for state in STATES] == [0] * 4


async def test_both_pages_answer_soon_while_redis_hangs(server: RedisAlone, port: int) -> None:
    server.signal(signal.SIGSTOP)
    begun = time.monotonic()
    said, page = await asyncio.gather(health(port), scrape(port))
    seconds = time.monotonic() - begun
    server.signal(signal.SIGCONT)

    assert seconds < 3
    assert said == (503, {"redis": "Redis does not answer"})
    assert page.value("zoetrope_healthy", check="redis") == 0
    assert await health(port) == (200, {"redis": "ok"})


async def test_neither_page_says_where_redis_is(server: RedisAlone, port: int) -> None:
    server.kill()
    async with asyncio.timeout(5):
        text, _ = await fetch(port, "/metrics")
        said = await health(port)

    assert str(server.socket) not in text + str(said)
    assert "redis.sock" not in text + str(said)


async def test_the_bots_own_redis_user_may_look(tmp_path: Path) -> None:
    """`docker/redis/users.conf` gives it no more than it needs; what a look is refused would just not be shown."""
    write_users(tmp_path / "redis.d")
    with composed(binary(), tmp_path) as port:
        redis = await connect(f"redis://{login('zoetrope-bot')}@127.0.0.1:{port}/0", retries=0)
        registry = CollectorRegistry()
        await LineMeters(registry, redis, Workers(redis)).look()
        assert await redis_answers(redis)() is None
        await redis.aclose()

    assert read(registry).all("zoetrope_jobs", "state") == dict.fromkeys(STATES, 0)


async def test_what_redis_refuses_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_users(tmp_path / "redis.d")
    with composed(binary(), tmp_path) as port:
        redis = await connect(f"redis://{login('zoetrope-worker')}@127.0.0.1:{port}/0", retries=0)
        registry = CollectorRegistry()
        await LineMeters(registry, redis, Workers(redis)).look()
        await redis.aclose()

    assert read(registry).all("zoetrope_jobs", "state") == {}
    assert "the line cannot be shown" in caplog.text
    assert "permission" in caplog.text


async def test_a_check_that_hangs_holds_nobody_up() -> None:
    async def hangs() -> str | None:
        await asyncio.sleep(60)
        return None

    async def fine() -> str | None:
        return None

    watch = Watch(new_registry(), {"one": hangs, "two": hangs, "three": fine}, [])
    begun = time.monotonic()

    assert set(await watch.complaints()) == {"one", "two"}
    assert time.monotonic() - begun < 2


async def test_a_port_that_is_taken_is_named_and_work_goes_on(port: int, caplog: pytest.LogCaptureFixture) -> None:
    begun = False
    async with served(Watch(new_registry(), {}, []), "127.0.0.1", port, key="worker_port"):
        begun = True

    assert begun
    [record] = [each for each in caplog.records if each.name == "jobs.watch" and each.levelname == "WARNING"]
    assert f"127.0.0.1:{port} cannot be listened on" in record.getMessage()
    assert "[metrics] worker_port" in record.getMessage()
    assert (await health(port)).status == 200, "the other one's page is still there"


async def test_an_address_that_is_not_ours_is_named_too(caplog: pytest.LogCaptureFixture) -> None:
    async with served(Watch(new_registry(), {}, []), "192.0.2.1", free_port(), key="bot_port"):
        pass

    assert "192.0.2.1" in caplog.text


async def test_a_port_is_free_again_after_the_block() -> None:
    port = free_port()
    for _ in range(2):
        async with served(Watch(new_registry(), {}, []), "127.0.0.1", port, key="bot_port"):
            assert (await health(port)).status == 200


async def test_port_0_means_no_pages(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        async with served(Watch(new_registry(), {}, []), "127.0.0.1", 0, key="bot_port"):
            pass

    assert caplog.records == []


def test_two_registries_know_nothing_of_each_other() -> None:
    Watch(new_registry(), {}, [])
    other = new_registry()

    assert "zoetrope_healthy" not in read(other).families
    assert read(other).value("process_resident_memory_bytes")


def test_each_gpus_worker_has_a_port_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0, 2,GPU-5f")
    found = worker_environments({"A": "b"}, 9465)

    assert [one["CUDA_VISIBLE_DEVICES"] for one in found] == ["0", "2", "GPU-5f"]
    assert [one["ZOETROPE_METRICS__WORKER_PORT"] for one in found] == ["9465", "9466", "9467"]
    assert all(one["A"] == "b" for one in found)
    assert {one["ZOETROPE_METRICS__WORKER_PORT"] for one in worker_environments({}, 0)} == {"0"}


def test_one_gpus_worker_has_the_port_that_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")

    assert worker_environments({"A": "b"}, 9465) == [{"A": "b"}]


def test_a_gpu_for_which_no_port_is_left_has_no_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or its worker would not start, for a setting that nobody made."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2")
    found = [one["ZOETROPE_METRICS__WORKER_PORT"] for one in worker_environments({}, HIGHEST_PORT - 1)]

    assert found == [str(HIGHEST_PORT - 1), str(HIGHEST_PORT), "0"]
    for port in found:
        monkeypatch.setenv("ZOETROPE_METRICS__WORKER_PORT", port)
        assert MetricsSettings.read({}).worker_port == int(port)


def test_a_port_that_is_none_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZOETROPE_METRICS__BOT_PORT", "70000")

    with pytest.raises(BadSettings, match=r"metrics\.bot_port"):
        MetricsSettings.read({})
