"""Everything that exists on this Discord, with its clock, and the one place where change is announced."""

# ruff: noqa: ASYNC109 - whoever waits here says how long

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from tests.discord_server.errors import unknown
from tests.discord_server.model import (
    DM,
    MIB,
    TIER_LIMITS,
    Attachment,
    Channel,
    Guild,
    Json,
    Member,
    Message,
    Role,
    User,
)
from tests.discord_server.permissions import EVERYONE

if TYPE_CHECKING:
    from tests.discord_server.interactions import Asked

T = TypeVar("T")
DISCORD_EPOCH = 1_420_070_400
POLL_SECONDS = 0.05


class Clock:
    """Seconds since 1970 that only go forward, and that a test may advance."""

    def __init__(self) -> None:
        self._offset = time.time() - time.monotonic()

    def now(self) -> float:
        """Now, with all advances."""
        return time.monotonic() + self._offset

    def advance(self, seconds: float) -> None:
        """Let this much time have passed."""
        self._offset += seconds


class Snowflakes:
    """Ids that tell their time, unique and rising (discord-api-docs, reference#snowflakes)."""

    def __init__(self, clock: Clock) -> None:
        self._clock, self._last = clock, 0

    def __call__(self, step: int = 1) -> int:
        """The next one; `step` 1 << 22 is a millisecond later, which is what spreads guilds over shards."""
        fresh = int((self._clock.now() - DISCORD_EPOCH) * 1000) << 22
        self._last = max(fresh, self._last + step)
        return self._last


@dataclass
class Event:
    """A dispatch. `data` is either the payload or made per session, from its intents (message content)."""

    name: str
    data: Json | Callable[[int], Json | None]
    guild: Guild | None = None
    intent: int = 0
    """The bits of which a session needs one; 0 goes to every session."""


@dataclass
class World:
    """State and announcements; `publish` is the gateway's once there is one."""

    token: str
    clock: Clock = field(default_factory=Clock)
    upload_limit: int = 20 * MIB
    answer_within: float = 3.0
    token_life: float = 15 * 60
    nonce_life: float = 5 * 60
    message_content_enabled: bool = False
    members_enabled: bool = False
    presences_enabled: bool = False
    gateway_url: str = ""
    cdn: str = ""
    evil: str = ""
    shards: int = 1
    users: dict[int, User] = field(default_factory=dict)
    guilds: dict[int, Guild] = field(default_factory=dict)
    channels: dict[int, Channel] = field(default_factory=dict)
    files: dict[int, Attachment] = field(default_factory=dict)
    commands: list[Json] = field(default_factory=list)
    asked: dict[str, Asked] = field(default_factory=dict)
    """Interactions by token."""
    violations: list[str] = field(default_factory=list)
    publish: Callable[[Event], None] = lambda event: None

    def __post_init__(self) -> None:
        self.new_id = Snowflakes(self.clock)
        self._changed = asyncio.Event()
        self.changes = 0
        self.bot = self.add_user("zoetrope", bot=True)
        self.owner = self.add_user("owner")

    @property
    def application_id(self) -> int:
        """An application made today has its bot's id."""
        return self.bot.id

    @property
    def application_flags(self) -> int:
        """The *_LIMITED privileged-intent flags: what a small bot's switches in the portal set."""
        content, members, presences = self.message_content_enabled, self.members_enabled, self.presences_enabled
        return content << 19 | members << 15 | presences << 13

    # --- making things ---

    def add_user(self, name: str, *, bot: bool = False, upload_limit: int | None = None) -> User:
        """An account in no guild yet."""
        user = User(self.new_id(), name, bot=bot, upload_limit=upload_limit)
        self.users[user.id] = user
        return user

    def add_guild(self, name: str, *, premium_tier: int = 0) -> Guild:
        """A server with its owner and the bot in it."""
        guild = Guild(self.new_id(1 << 22), name, self.owner, premium_tier)
        guild.roles.append(Role(guild.id, "@everyone", int(EVERYONE), position=0))
        self.guilds[guild.id] = guild
        self.join(guild, self.owner)
        self.join(guild, self.bot)
        return guild

    def join(self, guild: Guild, user: User, *roles: Role) -> Member:
        """Make them a member, or find them as one; roles are added."""
        member = guild.members.setdefault(user.id, Member(user, self.clock.now()))
        member.roles += [role for role in roles if role not in member.roles]
        return member

    def add_channel(self, name: str, guild: Guild, **rest: Any) -> Channel:
        """A channel or thread."""
        channel = Channel(self.new_id(), name, guild=guild, **rest)
        self.channels[channel.id] = channel
        return channel

    def dm(self, user: User) -> Channel:
        """The one DM channel of bot and user, made at need."""
        for channel in self.channels.values():
            if channel.recipient is user:
                return channel
        channel = Channel(self.new_id(), f"@{user.name}", type=DM, recipient=user)
        self.channels[channel.id] = channel
        return channel

    def sign(self) -> str:
        """The query of a CDN address: good for 24 hours."""
        issued = int(self.clock.now())
        digest = hashlib.sha256(f"{self.token}{issued}".encode()).hexdigest()
        return f"ex={issued + 86_400:x}&is={issued:x}&hm={digest}&"

    # --- finding things ---

    def channel(self, channel_id: int | str) -> Channel:
        """Or 10003, which is also what a deleted channel answers."""
        channel = self.channels.get(int(channel_id))
        if channel is None or channel.gone or (channel.guild and channel.guild.gone):
            raise unknown("Channel")
        return channel

    def guild(self, guild_id: int | str) -> Guild:
        """Or 10004."""
        guild = self.guilds.get(int(guild_id))
        if guild is None or guild.gone:
            raise unknown("Guild")
        return guild

    def messages(self) -> Iterator[Message]:
        """All, of all channels."""
        for channel in self.channels.values():
            yield from channel.messages.values()

    def file_limit(self, guild: Guild | None, user: User | None = None) -> int:
        """Bytes per file: the server's tier, or this person's Nitro where their interaction is answered."""
        tier = TIER_LIMITS.get(guild.premium_tier, 0) if guild else 0
        return max(self.upload_limit, tier, (user and user.upload_limit) or 0)

    # --- change ---

    def touch(self) -> None:
        """Something happened; whoever waits looks again."""
        self.changes += 1
        self._changed.set()
        self._changed = asyncio.Event()

    async def wait_for(self, predicate: Callable[[], T], timeout: float, what: str = "") -> T:
        """The first true value of `predicate`; TimeoutError with `what` (or the predicate) otherwise."""
        deadline = time.monotonic() + timeout
        while True:
            if value := predicate():
                return value
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"after {timeout:g} s still not: {what or predicate}")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), min(left, POLL_SECONDS))
