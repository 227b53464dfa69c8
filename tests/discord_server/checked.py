"""What both test files of the local Discord share: a server that is watched, and real bots on it."""

from __future__ import annotations

import asyncio
import io
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import discord
import pytest
from discord.gateway import DiscordWebSocket
from PIL import Image

from tests.discord_server import LocalDiscord
from tests.discord_server.example_bot import Bot, point_at

Start = Callable[..., Awaitable[Bot]]


def png(width: int = 40, height: int = 30) -> bytes:
    """A teal picture."""
    out = io.BytesIO()
    Image.new("RGB", (width, height), "teal").save(out, "PNG")
    return out.getvalue()


@asynccontextmanager
async def checked(caplog: pytest.LogCaptureFixture) -> AsyncIterator[LocalDiscord]:
    """Every request of discord.py, and every answer of ours, fits Discord's document; nothing is logged as an error."""
    async with LocalDiscord() as server:
        server.rest.check_answers = True
        yield server
        assert server.violations == []
        assert [each.getMessage() for each in caplog.get_records("call") if each.levelno >= logging.ERROR] == []


@asynccontextmanager
async def bots(server: LocalDiscord) -> AsyncIterator[Start]:
    """Gives a function that logs a bot in; ends them all."""
    before = discord.http.Route.BASE, DiscordWebSocket.DEFAULT_GATEWAY
    point_at(server.api, server.gateway_url)
    running: list[tuple[Bot, asyncio.Task[None]]] = []

    async def start(**options: bool) -> Bot:
        bot = Bot(**options)
        life = asyncio.create_task(bot.start(server.token))
        running.append((bot, life))
        there = asyncio.create_task(server.connected(5))
        done, _ = await asyncio.wait([life, there], return_when=asyncio.FIRST_COMPLETED)
        there.cancel()
        for task in done:
            task.result()
        await asyncio.wait_for(bot.wait_until_ready(), 5)
        return bot

    try:
        yield start
    finally:
        discord.http.Route.BASE, DiscordWebSocket.DEFAULT_GATEWAY = before
        for bot, life in running:
            await bot.close()
            await asyncio.gather(life, return_exceptions=True)
