"""A line that is cut says nothing at all. Nobody may wait for ever at its end."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

from console.redis_server import embedded_redis
from inference.attempt import Attempt
from jobs.queue import REDIS_AWAY, JobQueue, connect
from tests.queued import running

ANSWER_SECONDS = 1.0


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everybody gives up sooner, so that the tests need not wait."""
    monkeypatch.setattr("jobs.queue.ANSWER_SECONDS", ANSWER_SECONDS)


@contextlib.asynccontextmanager
async def silenced(folder: Path) -> AsyncIterator[tuple[JobQueue, psutil.Process]]:
    """A queue, and its server, which can be made to hold still."""
    async with embedded_redis(folder / "redis") as url:
        redis = await connect(url)
        [server] = [
            each for each in psutil.Process().children() if url.removeprefix("unix://") in " ".join(each.cmdline())
        ]
        try:
            yield JobQueue(redis, lease_seconds=1), server
        finally:
            server.resume()
            await redis.aclose()


async def test_a_call_gives_up(tmp_path: Path) -> None:
    async with silenced(tmp_path) as (queue, server):
        server.suspend()
        began = time.monotonic()
        with pytest.raises(REDIS_AWAY):
            await queue.open_jobs()

        assert time.monotonic() - began < ANSWER_SECONDS + 2
        server.resume()
        assert await queue.open_jobs() == []


async def test_a_listener_is_patient_where_nothing_happens_and_leaves_where_nobody_is(tmp_path: Path) -> None:
    async with silenced(tmp_path) as (queue, server):
        changes = queue.changes()
        heard = asyncio.ensure_future(changes.__anext__())
        await asyncio.sleep(ANSWER_SECONDS * 2.5)
        assert not heard.done(), "quiet is no reason to leave"
        await running(queue, "1001")
        assert await asyncio.wait_for(heard, 1) == "1001"
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.2):
                while True:
                    await changes.__anext__()

    async with silenced(tmp_path / "again") as (queue, server):
        heard = asyncio.ensure_future(queue.changes().__anext__())
        await asyncio.sleep(0.2)
        server.suspend()
        with pytest.raises(REDIS_AWAY):
            await asyncio.wait_for(heard, ANSWER_SECONDS * 3)


@pytest.mark.parametrize(("patience_seconds", "stops"), [(0.5, True), pytest.param(300, False, marks=pytest.mark.slow)])
async def test_a_render_goes_on_for_a_while_without_redis(tmp_path: Path, patience_seconds: float, stops: bool) -> None:
    """A restart of Redis costs nobody a render; a worker that was given up by all the others stops in the end."""
    async with silenced(tmp_path) as (queue, server):
        lease = await running(queue)
        attempt = Attempt(queue, await queue.job(lease.job_id), lease, patience_seconds=patience_seconds)
        keeper = asyncio.create_task(attempt.keep())
        await asyncio.sleep(1.5)
        server.suspend()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(attempt.stop.wait(), ANSWER_SECONDS + 3)
        assert (attempt.stop.is_set(), attempt.lost) == (stops, stops)
        assert attempt.away
        server.resume()
        if not stops:
            await asyncio.sleep(2.5)
            assert not attempt.away
            assert not attempt.stop.is_set(), "nobody else took it"
        keeper.cancel()
