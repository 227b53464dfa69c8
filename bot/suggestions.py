"""Choices that are offered while somebody types: what is installed, and what they taught."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

import discord

from bot.options import Suggest
from jobs.queue import REDIS_AWAY
from jobs.requests import Request
from jobs.requests.base import Attached, Suggested

if TYPE_CHECKING:
    from bot.client import Zoetrope

log = logging.getLogger(__name__)
PATIENCE_SECONDS = 1.5
"""Discord waits three; choices that come late are worth nothing."""


def suggestions(bot: Zoetrope, kind: type[Request]) -> Suggest:
    """For the options of one system's command."""

    async def suggest(interaction: discord.Interaction, option: str, typed: str) -> Sequence[str]:
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                return await _suggest(bot, interaction, kind, option, typed)
        except (TimeoutError, *REDIS_AWAY):
            return ()

    return suggest


async def _suggest(
    bot: Zoetrope, interaction: discord.Interaction, kind: type[Request], option: str, typed: str
) -> Sequence[str]:
    if any(isinstance(mark, Attached) for mark in kind.model_fields[option].metadata):
        return await motions(bot, interaction, typed)
    installed = (await bot.workers.installed()).get(kind.name(), ())
    mark = next((mark for mark in kind.model_fields[option].metadata if isinstance(mark, Suggested)), None)
    return mark.after(typed, installed) if mark else ()


async def motions(bot: Zoetrope, interaction: discord.Interaction, typed: str) -> Sequence[str]:
    """Names of motions that this person may use there."""
    guild = str(interaction.guild_id) if interaction.guild_id else None
    seen = await bot.intake.motions.seen(str(interaction.user.id), guild)
    return [motion.name for motion in seen if typed.strip().casefold() in motion.name.casefold()]
