"""Healthchecks of the containers: a worker is well while its advert is fresh, the bot while its heartbeat is."""

import socket

from bot.client import ALIVE_KEY
from console.settings import Settings
from jobs.queue import DEFAULT_URL, REDIS_AWAY, connect
from jobs.workers import Workers


async def healthy(what: str, settings: Settings) -> bool:
    """Whether this host's bot or worker spoke lately."""
    try:
        redis = await connect(settings.redis.address or DEFAULT_URL, retries=1)
    except REDIS_AWAY:
        return False
    try:
        if what == "bot":
            return bool(await redis.exists(ALIVE_KEY))
        return any(advert.host == socket.gethostname() for advert in await Workers(redis).online())
    finally:
        await redis.aclose()
