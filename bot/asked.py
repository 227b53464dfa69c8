"""Who asks, and where: from an interaction or a message, the same value."""

from __future__ import annotations

from typing import TYPE_CHECKING

import discord

from bot.intake import Asked
from jobs.record import Channel, Person

if TYPE_CHECKING:
    from bot.client import Zoetrope


def _may_post(permissions: discord.Permissions, channel: object) -> bool:
    speak = permissions.send_messages_in_threads if isinstance(channel, discord.Thread) else permissions.send_messages
    return permissions.view_channel and speak and permissions.attach_files


async def asked_by(bot: Zoetrope, interaction: discord.Interaction) -> Asked:
    """Who asked by a command, a modal or a button."""
    guild = interaction.guild
    assert interaction.channel_id is not None
    in_dm = interaction.guild_id is None
    return Asked(
        id=str(interaction.id),
        requester=Person(id=str(interaction.user.id), name=_plain(interaction.user), locale=str(interaction.locale)),
        channel=Channel(
            id=str(interaction.channel_id),
            guild_id=str(interaction.guild_id) if interaction.guild_id else None,
            upload_bytes=await bot.uploads.limit(
                str(interaction.guild_id) if interaction.guild_id else None, guild.premium_tier if guild else 0
            ),
        ),
        may_post=in_dm or _may_post(interaction.app_permissions, interaction.channel),
    )


async def asked_in(bot: Zoetrope, message: discord.Message, index: int) -> Asked:
    """Who asked by a message; each of its pictures is a job of its own."""
    guild = message.guild
    permissions = message.channel.permissions_for(guild.me) if guild else None  # type: ignore[union-attr]
    return Asked(
        id=f"{message.id}-{index}",
        requester=Person(id=str(message.author.id), name=_plain(message.author)),
        channel=Channel(
            id=str(message.channel.id),
            guild_id=str(guild.id) if guild else None,
            upload_bytes=await bot.uploads.limit(str(guild.id) if guild else None, guild.premium_tier if guild else 0),
        ),
        may_post=permissions is None or _may_post(permissions, message.channel),
        reply_to=str(message.id),
    )


def _plain(user: discord.User | discord.Member) -> str:
    """A display name that cannot format or ping."""
    return discord.utils.escape_markdown(discord.utils.escape_mentions(user.display_name))[:80]
