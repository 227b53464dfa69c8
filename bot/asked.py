"""Who asks, and where: from an interaction or a message, the same value."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import TYPE_CHECKING

import discord

from bot.gate import Asked, Room
from jobs.policy import Place
from jobs.queue import NoSuchJob
from jobs.record import Channel, Job, Person

if TYPE_CHECKING:
    from bot.client import Zoetrope

TURNS = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""Characters that nobody sees and that turn the direction of all text behind them."""


def may_post(permissions: discord.Permissions, channel: object) -> bool:
    """Whether a clip can be posted in this channel by somebody with these permissions there."""
    speak = permissions.send_messages_in_threads if isinstance(channel, discord.Thread) else permissions.send_messages
    return permissions.view_channel and speak and permissions.attach_files


def _parent(channel: object) -> str | None:
    """The channel in which a thread hangs."""
    return str(channel.parent_id) if isinstance(channel, discord.Thread) else None


def _age_restricted(channel: object) -> bool:
    """Whether Discord asked everybody in it for their age; a thread is as its channel. Unknown channels are open."""
    restricted = getattr(channel, "is_nsfw", None)
    return bool(restricted and restricted())


def _roles(person: discord.User | discord.Member) -> tuple[str, ...]:
    return tuple(str(role.id) for role in person.roles) if isinstance(person, discord.Member) else ()


def find_room(client: discord.Client, guild_id: str, channel_id: str) -> Room | None:
    """Another channel of a server, as far as the gateway told of it."""
    guild = client.get_guild(int(guild_id))
    channel = guild.get_channel_or_thread(int(channel_id)) if guild else None
    if guild is None or channel is None:
        return None
    return Room(channel_id, may_post(channel.permissions_for(guild.me), channel), _age_restricted(channel))


def place_of_interaction(interaction: discord.Interaction) -> Place:
    """Where somebody uses a command or presses a button."""
    guild = str(interaction.guild_id) if interaction.guild_id else None
    return Place(str(interaction.channel_id), guild, _parent(interaction.channel))


def person_of(interaction: discord.Interaction) -> Person:
    """Who uses a command or presses a button."""
    return Person(id=str(interaction.user.id), name=name_of(interaction.user), locale=str(interaction.locale))


async def asked_by(bot: Zoetrope, interaction: discord.Interaction) -> Asked:
    """Who asked by a command, a modal or a button."""
    guild = interaction.guild
    assert interaction.channel_id is not None
    in_dm = interaction.guild_id is None
    return Asked(
        id=str(interaction.id),
        requester=person_of(interaction),
        channel=Channel(
            id=str(interaction.channel_id),
            guild_id=str(interaction.guild_id) if interaction.guild_id else None,
            parent_id=_parent(interaction.channel),
            upload_bytes=await bot.uploads.limit(
                str(interaction.guild_id) if interaction.guild_id else None, guild.premium_tier if guild else 0
            ),
        ),
        may_post=in_dm or may_post(interaction.app_permissions, interaction.channel),
        roles=_roles(interaction.user),
        age_restricted=_age_restricted(interaction.channel),
    )


async def asked_in(bot: Zoetrope, message: discord.Message, index: int) -> Asked:
    """Who asked by a message; each of its pictures is a job of its own."""
    guild = message.guild
    permissions = message.channel.permissions_for(guild.me) if guild else None  # type: ignore[union-attr]
    return Asked(
        id=f"{message.id}-{index}",
        requester=Person(id=str(message.author.id), name=name_of(message.author)),
        channel=Channel(
            id=str(message.channel.id),
            guild_id=str(guild.id) if guild else None,
            parent_id=_parent(message.channel),
            upload_bytes=await bot.uploads.limit(str(guild.id) if guild else None, guild.premium_tier if guild else 0),
        ),
        may_post=permissions is None or may_post(permissions, message.channel),
        reply_to=str(message.id),
        roles=_roles(message.author),
        age_restricted=_age_restricted(message.channel),
    )


async def visible_job(bot: Zoetrope, interaction: discord.Interaction, job_id: str) -> Job:
    """A job, for its requester and for whoever sees the channel in which it was asked for or posted.

    Raises:
        NoSuchJob: there is none, or it is none of this person's business.
    """
    job = await bot.queue.job(job_id.strip()[:24])
    places = {job.submission.channel.id, (job.submission.results or job.submission.channel).id}
    here = str(interaction.channel_id) in places
    if job.submission.requester.id == str(interaction.user.id) or here or _sees(interaction, places):
        return job
    raise NoSuchJob()


def _sees(interaction: discord.Interaction, channel_ids: Collection[str]) -> bool:
    guild, person = interaction.guild, interaction.user
    if guild is None or not isinstance(person, discord.Member):
        return False
    channels = (guild.get_channel_or_thread(int(channel_id)) for channel_id in channel_ids)
    return any(channel is not None and channel.permissions_for(person).view_channel for channel in channels)


def name_of(user: discord.User | discord.Member) -> str:
    """A display name that can neither format nor ping, nor turn the text around it."""
    name = TURNS.sub("", user.display_name).strip() or user.name
    return discord.utils.escape_markdown(discord.utils.escape_mentions(name))[:80]
