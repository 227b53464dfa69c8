"""Everything on one machine: Redis unless one is configured, the bot, and one worker for each GPU or one on the CPU."""

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import AsyncGenerator, Coroutine
from typing import Any, TypeVar

import aiohttp
import discord

from bot.client import Zoetrope, wants_message_content
from bot.health import watch_of
from bot.meters import Meters
from commands import COGS
from console.exits import CANNOT_START
from console.processes import END_SECONDS, SIGNING_KEY, TOKEN, gpu_count, keep_running, without
from console.redis_server import embedded_redis
from console.settings import Settings
from jobs.queue import DEFAULT_URL, JobQueue, connect
from jobs.retention import Retention
from jobs.watch import HIGHEST_PORT, new_registry, served
from media.identity import read_trusted
from media.store import MediaStore
from media.sweep import Sweeper

log = logging.getLogger(__name__)
T = TypeVar("T")


class CannotStart(Exception):
    """One sentence for the owner; starting again is no use."""


class Unreachable(Exception):
    """One sentence for the owner; starting again may help."""


@contextlib.asynccontextmanager
async def some_redis(settings: Settings) -> AsyncGenerator[str]:
    """The configured server's URL, or that of one of our own for as long as the block runs."""
    configured = settings.redis.url.get_secret_value()
    if configured:
        yield configured
        return
    async with embedded_redis(settings.redis.data) as url:
        log.info("started Redis in %s", settings.redis.data)
        yield url


async def run_bot(settings: Settings) -> None:
    """The bot alone, until it is told to stop.

    Raises:
        CannotStart: there is no token, or Discord does not take it or what the settings ask of it.
        Unreachable: the server does not answer.
    """
    token = settings.discord.token.get_secret_value()
    if not token:
        raise CannotStart("There is no token. Set DISCORD_TOKEN; README says where to get one.")
    url = settings.redis.address or DEFAULT_URL
    try:
        redis = await connect(url)
    except Exception as error:
        raise Unreachable(f"Redis does not answer ({type(error).__name__}); see [redis] url in config.toml.") from error
    queue = JobQueue(
        redis,
        lease_seconds=settings.redis.lease_seconds,
        attempts=settings.limits.attempts,
        keep_days=settings.redis.keep_days,
    )
    try:
        message_content = await wants_message_content(settings.discord)
        store = MediaStore(settings.store.url)
        sweeper = Sweeper(Retention(redis), store, settings.store.keep_days * 86_400)
        bot = Zoetrope(
            settings.discord, settings.limits, settings.terms, redis, queue, store, sweeper, COGS,
            Meters(new_registry()), read_trusted(settings.provenance), message_content=message_content,
        )  # fmt: skip
        async with bot, served(watch_of(bot), settings.metrics.host, settings.metrics.bot_port, key="bot_port"):
            await _until_told(bot.start(token))
    except discord.LoginFailure:
        raise CannotStart("Discord does not take the token. Copy it again from the developer portal.") from None
    except discord.PrivilegedIntentsRequired:
        raise CannotStart(
            "The message-content intent is not switched on in the developer portal. Switch it on there, "
            'or set message_content = "off" under [discord] in config.toml.'
        ) from None
    except aiohttp.ClientError as error:
        raise Unreachable(f"Discord cannot be reached at {settings.discord.api}: {error}.") from None
    except discord.Forbidden as error:
        raise CannotStart(
            f"Discord forbids it: {error.text}. Is the bot in every server of [discord] guilds?"
        ) from None
    finally:
        await redis.aclose()


async def _until_told(work: Coroutine[Any, Any, T]) -> T | None:
    """Run until the work ends, or until SIGTERM or SIGINT comes: then None."""
    task = asyncio.create_task(work)
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, task.cancel)
    try:
        return await task
    except asyncio.CancelledError:
        return None


async def run_everything(settings: Settings) -> int:
    """Redis, bot and workers, each started again if it dies, until SIGINT or SIGTERM; the exit code.

    Raises:
        CannotStart: the bot cannot start at all.
    """
    if not settings.discord.token.get_secret_value():
        raise CannotStart("There is no token. Set DISCORD_TOKEN; README says where to get one.")
    async with some_redis(settings) as url:
        environment = {**os.environ, "ZOETROPE_REDIS__URL": url}
        bot = keep_running("console", ["bot"], without(SIGNING_KEY, environment), give_up=(CANNOT_START,))
        finish = settings.worker.stop_seconds + END_SECONDS
        workers = [
            keep_running("console", ["worker"], one, end_seconds=finish)
            for one in worker_environments(without(TOKEN, environment), settings.metrics.worker_port)
        ]
        return await _until_told(_first_to_give_up(bot, *workers)) or 0


async def _first_to_give_up(*processes: Coroutine[Any, Any, int]) -> int:
    """The exit code of the first process that is not worth starting again; the others are ended."""
    tasks = [asyncio.create_task(process) for process in processes]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return done.pop().result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def worker_environments(environment: dict[str, str], port: int) -> list[dict[str, str]]:
    """One environment for each worker: its own GPU alone is seen, as device 0, and its own port, from `port` on."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = visible.split(",") if visible else [str(index) for index in range(gpu_count())]
    if gpu_count() < 2:
        return [environment]
    return [
        {
            **environment,
            "CUDA_VISIBLE_DEVICES": name.strip(),
            "ZOETROPE_METRICS__WORKER_PORT": str(_port(port, index)),
        }
        for index, name in enumerate(names)
    ]


def _port(first: int, index: int) -> int:
    """The pages of the worker at `index`; 0, none, where there are to be none or no port is left."""
    return first + index if first and first + index <= HIGHEST_PORT else 0
