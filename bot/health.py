"""Whether the bot does its work, as `/healthz` tells it; `python -m console health bot` asks Redis instead."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from bot.meters import LineMeters
from jobs.watch import Watch, redis_answers

if TYPE_CHECKING:
    from bot.client import Zoetrope


def watch_of(bot: Zoetrope) -> Watch:
    """The bot's pages."""
    checks = {
        "discord": functools.partial(gateway, bot),
        "redis": redis_answers(bot.redis),
        "chores": bot.chores.complaint,
    }
    line = LineMeters(bot.meters.registry, bot.redis, bot.workers)
    return Watch(bot.meters.registry, checks, [line.look])


async def gateway(bot: Zoetrope) -> str | None:
    """Whether every shard hears Discord. It asks for a new connection now and then: one moment's no is no alarm."""
    if bot.is_closed() or not bot.is_ready():
        return "not connected to Discord yet"
    closed = sum(shard.is_closed() for shard in bot.shards.values())
    return f"{closed} of {len(bot.shards)} connections to Discord are closed" if closed else None
