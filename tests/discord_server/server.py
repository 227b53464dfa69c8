"""The local Discord's one face: start it, furnish it, act in it, look at it, break it."""

# ruff: noqa: ASYNC109 - whoever waits here says how long

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from typing import Any, Self, TypeVar

from aiohttp import web

from tests.discord_server import (
    openapi,
    payloads,
    routes_application,
    routes_channels,
    routes_interactions,
)
from tests.discord_server.cdn import Cdn
from tests.discord_server.faults import Callback, Faults
from tests.discord_server.gateway import GUILD_MEMBERS, GUILDS, Gateway, guild_event
from tests.discord_server.model import (
    MIB,
    THREAD,
    Attachment,
    Channel,
    Guild,
    Json,
    Message,
    Overwrite,
    Role,
    Serving,
    User,
)
from tests.discord_server.people import People
from tests.discord_server.permissions import Permission, bits
from tests.discord_server.posting import host
from tests.discord_server.rest import PREFIX, Call, Rest, Routes
from tests.discord_server.world import Event, World

T = TypeVar("T")
NITRO = 500 * MIB
MAX_REQUEST = 1024 * MIB
FILMS = ("video/", "image/gif")
ANIMATED = (b"ANIM", b"avis")
"""What stands early in a WebP or AVIF file that moves; a still one, such as a preview, is no clip."""


class LocalDiscord(People):
    """`async with LocalDiscord() as server:`. Settings that a portal or Discord itself would hold are arguments."""

    def __init__(
        self,
        *,
        message_content: bool = False,
        members_intent: bool = False,
        upload_limit: int = 20 * MIB,
        heartbeat_seconds: float = 41.25,
        shards: int = 1,
        token: str | None = None,
        port: int = 0,
    ) -> None:
        self.world = World(token or f"{secrets.token_hex(12)}.local.{secrets.token_hex(16)}")
        self.world.message_content_enabled = message_content
        self.world.members_enabled = members_intent
        self.world.upload_limit, self.world.shards = upload_limit, shards
        self.faults = Faults()
        self.openapi = openapi.load()
        self.gateway = Gateway(self.world)
        self.gateway.heartbeat_seconds = heartbeat_seconds
        routes = Routes([*routes_channels.routes, *routes_application.routes, *routes_interactions.routes])
        self.rest = Rest(self.world, routes, self.faults, self.openapi)
        self.files, self.strangers = Cdn(self.world), Cdn(self.world)
        self.guild = self.world.add_guild("workshop")
        self.channel = self.world.add_channel("general", self.guild)
        self._port = port
        self._runners: list[web.AppRunner] = []

    # --- life ---

    async def __aenter__(self) -> Self:
        api = await self._serve(
            {f"{PREFIX}/{{tail:.*}}": self.rest.answer, "/gateway": self.gateway.answer}, self._port
        )
        self.api = f"{api}{PREFIX}"
        self.gateway.url = self.world.gateway_url = f"{api.replace('http', 'ws', 1)}/gateway"
        self.cdn = self.world.cdn = self.files.origin = await self._serve({"/{tail:.*}": self.files.answer})
        self.evil = self.world.evil = self.strangers.origin = await self._serve({"/{tail:.*}": self.strangers.answer})
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.gateway.close()
        for runner in self._runners:
            await runner.cleanup()

    async def _serve(self, places: dict[str, Callable[..., Any]], port: int = 0) -> str:
        """One origin on a port of its own."""
        app = web.Application(client_max_size=MAX_REQUEST)
        for path, answer in places.items():
            app.router.add_route("*", path, answer)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
        await runner.setup()
        self._runners.append(runner)
        site = web.TCPSite(runner, "127.0.0.1", port)
        await site.start()
        return f"http://127.0.0.1:{runner.addresses[0][1]}"

    @property
    def token(self) -> str:
        """The bot's."""
        return self.world.token

    @property
    def gateway_url(self) -> str:
        """What GET /gateway/bot says; discord.py also wants it as `DiscordWebSocket.DEFAULT_GATEWAY`."""
        return self.gateway.url

    @property
    def bot(self) -> User:
        """The bot's user."""
        return self.world.bot

    @property
    def commands(self) -> list[Json]:
        """Everything registered, global and per guild."""
        return self.world.commands

    @property
    def violations(self) -> list[str]:
        """What the bot did that Discord's own document does not know; a good test ends with none."""
        return self.world.violations

    @property
    def upload_limit(self) -> int:
        """Bytes per file in guilds below tier 2."""
        return self.world.upload_limit

    @upload_limit.setter
    def upload_limit(self, value: int) -> None:
        self.world.upload_limit = value

    @property
    def message_content_enabled(self) -> bool:
        """The portal's switch; takes effect with the next IDENTIFY."""
        return self.world.message_content_enabled

    @message_content_enabled.setter
    def message_content_enabled(self, value: bool) -> None:
        self.world.message_content_enabled = value

    # --- furniture ---

    def user(self, name: str, *roles: Role, guild: Guild | None = None, nitro: bool = False) -> User:
        """The person of this name, made at need, a member of the guild (`self.guild` unless given).

        `user.accepts_dms = False` closes their DMs.
        """
        place = guild or self.guild
        user = next((each for each in self.world.users.values() if each.name == name), None)
        user = user or self.world.add_user(name)
        user.upload_limit = NITRO if nitro else user.upload_limit
        new = user.id not in place.members
        member = self.world.join(place, user, *roles)
        if new:
            guild_event(self.world, "GUILD_MEMBER_ADD", payloads.member(member), place, GUILD_MEMBERS)
        return user

    def moderator(self, name: str, guild: Guild | None = None) -> User:
        """A person with MANAGE_MESSAGES."""
        place = guild or self.guild
        role = next((each for each in place.roles if each.name == "moderator"), None)
        return self.user(name, role or self.add_role("moderator", "MANAGE_MESSAGES", guild=place), guild=place)

    def add_role(self, name: str, *permissions: Permission | str, guild: Guild | None = None) -> Role:
        """A role; give it with `server.user("ann", role)`."""
        place = guild or self.guild
        role = Role(self.world.new_id(), name, bits(permissions), position=len(place.roles))
        place.roles.append(role)
        guild_event(self.world, "GUILD_ROLE_CREATE", {"role": payloads.role(role)}, place)
        return role

    def add_guild(self, name: str, *, premium_tier: int = 0) -> Guild:
        """Another server, the bot in it; it has no channels yet."""
        guild = self.world.add_guild(name, premium_tier=premium_tier)

        def data(intents: int) -> Json:
            return payloads.guild_create(self.world, guild, all_members=bool(intents & GUILD_MEMBERS))

        self.world.publish(Event("GUILD_CREATE", data, guild, GUILDS))
        return guild

    def remove_guild(self, guild: Guild) -> None:
        """The bot is thrown out."""
        guild.gone = True
        self.world.publish(Event("GUILD_DELETE", {"id": str(guild.id)}, guild, GUILDS))

    def set_premium_tier(self, tier: int, guild: Guild | None = None) -> None:
        """Boosts came or went."""
        place = guild or self.guild
        place.premium_tier = tier
        self.world.publish(Event("GUILD_UPDATE", payloads.guild(place), place, GUILDS))

    def add_channel(
        self, name: str, guild: Guild | None = None, *, nsfw: bool = False, deny: tuple[str, ...] = ()
    ) -> Channel:
        """A text channel; `deny` names what the bot may not do there."""
        place = guild or self.guild
        channel = self.world.add_channel(name, place, nsfw=nsfw)
        if deny:
            channel.overwrites[self.bot.id] = Overwrite(1, deny=bits(deny))
        self.world.publish(Event("CHANNEL_CREATE", payloads.channel(channel), place, GUILDS))
        return channel

    def add_thread(self, name: str, parent: Channel | None = None) -> Channel:
        """A public thread."""
        place = parent or self.channel
        assert place.guild
        thread = self.world.add_channel(name, place.guild, type=THREAD, parent=place)
        self.world.publish(Event("THREAD_CREATE", payloads.channel(thread), place.guild, GUILDS))
        return thread

    def deny(self, channel: Channel, *permissions: Permission | str, whom: User | Role | None = None) -> None:
        """Take permissions away in one channel, from the bot unless said otherwise."""
        self._overwrite(channel, whom or self.bot, deny=bits(permissions))

    def allow(self, channel: Channel, *permissions: Permission | str, whom: User | Role | None = None) -> None:
        """Give permissions in one channel; undoes `deny`."""
        self._overwrite(channel, whom or self.bot, allow=bits(permissions))

    def _overwrite(self, channel: Channel, whom: User | Role, *, allow: int = 0, deny: int = 0) -> None:
        rule = channel.overwrites.setdefault(whom.id, Overwrite(1 if isinstance(whom, User) else 0))
        rule.allow, rule.deny = (rule.allow | allow) & ~deny, (rule.deny | deny) & ~allow
        self.world.publish(Event("CHANNEL_UPDATE", payloads.channel(channel), channel.guild, GUILDS))

    def delete_channel(self, channel: Channel) -> None:
        """From now on 10003."""
        channel.gone = True
        name = "THREAD_DELETE" if channel.type == THREAD else "CHANNEL_DELETE"
        self.world.publish(Event(name, payloads.channel(channel), channel.guild, GUILDS))

    def dm(self, user: User) -> Channel:
        """The DM channel of the bot and this person."""
        return self.world.dm(user)

    def upload(
        self,
        filename: str,
        data: bytes,
        content_type: str | None = None,
        declared_size: int | None = None,
        *,
        width: int | None = None,
        height: int | None = None,
        serve: Serving = "plain",
        served_type: str | None = None,
        redirect_to: str | None = None,
        evil: bool = False,
    ) -> Attachment:
        """A file for a command or a message. `declared_size` lies about it; `serve`, `served_type` are CDN tricks.

        `evil=True` puts it on the origin that is not the CDN.
        """
        return host(
            self.world, filename, data, content_type=content_type, size=declared_size, width=width, height=height,
            serving=serve, served_type=served_type, redirect_to=redirect_to, ephemeral=True,
            folder=f"ephemeral-attachments/{self.world.application_id}", origin=self.evil if evil else None,
        )  # fmt: skip

    # --- looking ---

    def messages(self, channel: Channel | None = None, *, by: User | None = None) -> list[Message]:
        """What all can read in a channel, oldest first."""
        every = (channel or self.channel).messages.values()
        return [each for each in every if not each.deleted and not each.ephemeral and by in (None, each.author)]

    def dms(self, user: User) -> list[Message]:
        """What stands in the DMs with this person."""
        return self.messages(self.dm(user))

    def bot_messages(self, channel: Channel | None = None) -> list[Message]:
        """The bot's public messages in a channel."""
        return self.messages(channel, by=self.bot)

    def clips(self, channel: Channel | None = None) -> list[Message]:
        """The bot's public messages that carry a film or moving picture."""

        def moves(file: Attachment) -> bool:
            return (file.content_type or "").startswith(FILMS) or any(mark in file.data[:64] for mark in ANIMATED)

        return [each for each in self.bot_messages(channel) if any(moves(file) for file in each.attachments)]

    def requests(self, method: str = "*", path_glob: str = "**") -> list[Call]:
        """REST calls so far (`.status`, `.body`, `.files`, `.at`), oldest first."""
        return self.rest.made(method, path_glob)

    async def wait_for(self, predicate: Callable[[], T], timeout: float = 10.0, what: str = "") -> T:
        """The first true value of `predicate`."""
        return await self.world.wait_for(predicate, timeout, what)

    async def connected(self, timeout: float = 10.0) -> None:
        """Wait for a bot on the gateway."""
        await self.wait_for(lambda: self.gateway.connected, timeout, "a bot on the gateway")

    async def commands_registered(self, timeout: float = 10.0) -> list[Json]:
        """Wait for the bot's commands."""
        return await self.wait_for(lambda: self.commands, timeout, "registered commands")

    async def settled(self, quiet: float = 0.5, timeout: float = 30.0) -> None:
        """Wait until nothing has happened for `quiet` seconds."""
        seen = (self.world.changes, time.monotonic())

        def still() -> bool:
            nonlocal seen
            if seen[0] != self.world.changes:
                seen = (self.world.changes, time.monotonic())
            return time.monotonic() - seen[1] >= quiet

        await self.wait_for(still, timeout, f"{quiet} s of quiet")

    async def final_messages(
        self, channel: Channel | None = None, *, count: int = 1, quiet: float = 0.5, timeout: float = 30.0
    ) -> list[Message]:
        """The bot's messages in a channel once there are `count` and nothing happened for `quiet` seconds."""
        await self.wait_for(lambda: len(self.bot_messages(channel)) >= count, timeout, f"{count} messages by the bot")
        await self.settled(quiet, timeout)
        return self.bot_messages(channel)

    async def settled_clips(
        self, channel: Channel | None = None, *, count: int = 1, quiet: float = 1.0, timeout: float = 30.0
    ) -> list[Message]:
        """The same for clips: posting twice shows as one too many."""
        await self.wait_for(lambda: len(self.clips(channel)) >= count, timeout, f"{count} clips")
        await self.settled(quiet, timeout)
        return self.clips(channel)

    # --- breaking ---

    def advance(self, seconds: float) -> None:
        """Let time pass: tokens die, nonces are forgotten, CDN addresses expire."""
        self.world.clock.advance(seconds)

    def real_limits(self) -> None:
        """From now on Discord's own rate limits hold.

        For each channel 5 posts and 5 edits in 5 s, and 3 edits in 20 s of messages older than an hour; 50/s in all.
        """
        self.rest.buckets.real()

    def refused_for_haste(self) -> list[Call]:
        """Requests that were answered with 429."""
        return [call for call in self.rest.calls if call.status == 429]

    def before_reply(self, method: str, path_glob: str, callback: Callback, times: int = 1) -> None:
        """Call back (sync or async) when Discord has acted and before it answers."""
        self.faults.before_reply(method, path_glob, callback, times)

    def drop_sockets(self, *, resumable: bool = True) -> None:
        """Cut the gateway; `resumable=False` also forgets the sessions, so that a RESUME is refused."""
        self.gateway.drop(resumable=resumable)
