"""What all tests share."""

import os
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from console.redis_server import embedded_redis
from jobs.queue import JobQueue
from tests.queued import empty_queue
from tests.spools import OPEN

os.environ.setdefault("OMP_NUM_THREADS", "1")
for name in [
    name
    for name in os.environ
    if name.startswith(("ZOETROPE_", "DISCORD_")) and name not in ("ZOETROPE_GOLDENS", "ZOETROPE_OPENAPI")
]:
    del os.environ[name]  # a developer's own settings are not part of a test


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def url(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """A Redis of the module's own."""
    async with embedded_redis(tmp_path_factory.mktemp("redis")) as url:
        yield url


@pytest.fixture
async def queue(url: str) -> AsyncIterator[JobQueue]:
    """A queue on it, from which everything was taken before."""
    async with empty_queue(url) as queue:
        yield queue


@pytest.fixture
def closed_spools() -> Iterator[None]:
    """Whatever `spool_of` made in the test is closed after it."""
    yield
    while OPEN:
        OPEN.pop().close()
