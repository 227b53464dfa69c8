"""Permission bits and how Discord adds them up (discord-api-docs, topics/permissions)."""

from __future__ import annotations

from enum import IntFlag
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.discord_server.model import Channel, Guild, User


class Permission(IntFlag):
    """Those bits that a media bot or its users meet; values are Discord's."""

    ADMINISTRATOR = 1 << 3
    MANAGE_CHANNELS = 1 << 4
    MANAGE_GUILD = 1 << 5
    ADD_REACTIONS = 1 << 6
    VIEW_CHANNEL = 1 << 10
    SEND_MESSAGES = 1 << 11
    MANAGE_MESSAGES = 1 << 13
    EMBED_LINKS = 1 << 14
    ATTACH_FILES = 1 << 15
    READ_MESSAGE_HISTORY = 1 << 16
    MENTION_EVERYONE = 1 << 17
    USE_EXTERNAL_EMOJIS = 1 << 18
    MANAGE_ROLES = 1 << 28
    USE_APPLICATION_COMMANDS = 1 << 31
    MANAGE_THREADS = 1 << 34
    CREATE_PUBLIC_THREADS = 1 << 35
    SEND_MESSAGES_IN_THREADS = 1 << 38
    MODERATE_MEMBERS = 1 << 40
    USE_EXTERNAL_APPS = 1 << 50


P = Permission
EVERYTHING = (1 << 53) - 1
EVERYONE = (
    P.VIEW_CHANNEL
    | P.SEND_MESSAGES
    | P.SEND_MESSAGES_IN_THREADS
    | P.EMBED_LINKS
    | P.ATTACH_FILES
    | P.READ_MESSAGE_HISTORY
    | P.ADD_REACTIONS
    | P.USE_EXTERNAL_EMOJIS
    | P.USE_APPLICATION_COMMANDS
    | P.CREATE_PUBLIC_THREADS
    | P.USE_EXTERNAL_APPS
)
"""What @everyone of a new guild has, and what both sides have in a DM."""


def bits(names: tuple[Permission | str, ...]) -> int:
    """Permissions by member or by name (`"SEND_MESSAGES"`) as one number."""
    total = 0
    for name in names:
        total |= int(Permission[name] if isinstance(name, str) else name)
    return total


def in_guild(guild: Guild, user: User) -> int:
    """Roles only, before any channel's overwrites."""
    member = guild.members[user.id]
    total = guild.everyone.permissions
    for role in member.roles:
        total |= role.permissions
    return EVERYTHING if user is guild.owner or total & P.ADMINISTRATOR else total


def in_channel(channel: Channel, user: User) -> int:
    """Roles, then the overwrites of @everyone, of the roles together, of the member. A thread uses its parent's."""
    guild = channel.guild
    if guild is None:
        return int(EVERYONE)
    if user.id not in guild.members:
        return 0
    total = in_guild(guild, user)
    if total == EVERYTHING:
        return total
    rules = (channel.parent or channel).overwrites
    for ids in ([guild.id], [role.id for role in guild.members[user.id].roles], [user.id]):
        found = [rules[id_] for id_ in ids if id_ in rules]
        for overwrite in found:
            total &= ~overwrite.deny
        for overwrite in found:
            total |= overwrite.allow
    return total if total & P.VIEW_CHANNEL else 0
