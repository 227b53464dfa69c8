"""A call to Redis that is cancelled is cancelled, at whatever instant."""

import asyncio
import random
from pathlib import Path

import pytest

from console.redis_server import embedded_redis
from jobs.queue import client_of, connect

TRIES = 150
"""One cancel in eight was swallowed without care: that none is, is no luck."""


async def test_no_cancel_is_swallowed(tmp_path: Path) -> None:
    chance = random.Random(1)
    async with embedded_redis(tmp_path) as url:
        redis = await connect(url)

        async def ask() -> None:
            while True:
                async with redis.pipeline(transaction=True) as pipe:
                    await pipe.get("a").get("b").execute()
                await redis.get("a")

        for _ in range(TRIES):
            asking = asyncio.create_task(ask())
            await asyncio.sleep(chance.uniform(0.0005, 0.004))
            asking.cancel()
            done, _ = await asyncio.wait({asking}, timeout=2)
            assert done, "it went on"
            assert asking.cancelled()
        await redis.aclose()


@pytest.mark.parametrize("url", ["redis://localhost:6379/0", "rediss://localhost:6380/0", "unix:///tmp/redis.sock"])
async def test_every_kind_of_connection_heeds_them(url: str) -> None:
    redis = client_of(url)

    assert redis.connection_pool.connection_class.__module__ == "jobs.sockets"
    await redis.aclose()
