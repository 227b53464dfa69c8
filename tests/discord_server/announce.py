"""Message events: who hears of them and what they may read."""

from __future__ import annotations

from tests.discord_server import payloads
from tests.discord_server.gateway import (
    DIRECT_MESSAGES,
    DIRECT_REACTIONS,
    DIRECT_TYPING,
    GUILD_MESSAGES,
    GUILD_REACTIONS,
    GUILD_TYPING,
    MESSAGE_CONTENT,
)
from tests.discord_server.model import Channel, Json, Message, User
from tests.discord_server.permissions import Permission, in_channel
from tests.discord_server.world import Event, World


def message_event(world: World, name: str, message: Message) -> None:
    """MESSAGE_CREATE or MESSAGE_UPDATE. Ephemeral messages reach no gateway; nor do channels the bot cannot see."""
    if message.ephemeral or not _seen(world, message.channel):
        return world.touch()

    def data(intents: int) -> Json:
        return payloads.message_event(world, message, intent=bool(intents & MESSAGE_CONTENT))

    intent = GUILD_MESSAGES if message.channel.guild else DIRECT_MESSAGES
    return world.publish(Event(name, data, message.channel.guild, intent))


def message_deleted(world: World, message: Message) -> None:
    """MESSAGE_DELETE."""
    if message.ephemeral or not _seen(world, message.channel):
        return world.touch()
    intent = GUILD_MESSAGES if message.channel.guild else DIRECT_MESSAGES
    data = _place(message.channel) | {"id": str(message.id)}
    return world.publish(Event("MESSAGE_DELETE", data, message.channel.guild, intent))


def reaction(world: World, name: str, message: Message, user: User, emoji: str) -> None:
    """MESSAGE_REACTION_ADD or _REMOVE."""
    intent = GUILD_REACTIONS if message.channel.guild else DIRECT_REACTIONS
    data = _place(message.channel) | {
        "user_id": str(user.id),
        "message_id": str(message.id),
        "message_author_id": str(message.author.id),
        "emoji": {"id": None, "name": emoji},
        "burst": False,
        "type": 0,
    }
    guild = message.channel.guild
    if guild and name.endswith("ADD") and user.id in guild.members:
        data["member"] = payloads.member(guild.members[user.id])
    world.publish(Event(name, data, guild, intent))


def typing(world: World, channel: Channel, user: User) -> None:
    """TYPING_START."""
    intent = GUILD_TYPING if channel.guild else DIRECT_TYPING
    data = _place(channel) | {"user_id": str(user.id), "timestamp": int(world.clock.now())}
    world.publish(Event("TYPING_START", data, channel.guild, intent))


def _place(channel: Channel) -> Json:
    guild = {"guild_id": str(channel.guild.id)} if channel.guild else {}
    return {"channel_id": str(channel.id), **guild}


def _seen(world: World, channel: Channel) -> bool:
    return bool(in_channel(channel, world.bot) & Permission.VIEW_CHANNEL)
