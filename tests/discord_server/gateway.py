"""The websocket: HELLO, IDENTIFY, READY, heartbeats, RESUME with replay, intents, compression, dropped sockets."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import zlib
from dataclasses import dataclass, field
from typing import Any

from aiohttp import WSMsgType, web

from tests.discord_server import payloads
from tests.discord_server.model import Guild, Json
from tests.discord_server.world import Event, World

DISPATCH, HEARTBEAT, IDENTIFY, PRESENCE, RESUME, RECONNECT = 0, 1, 2, 3, 6, 7
REQUEST_MEMBERS, INVALID_SESSION, HELLO, HEARTBEAT_ACK = 8, 9, 10, 11

GUILDS, GUILD_MEMBERS, GUILD_PRESENCES = 1 << 0, 1 << 1, 1 << 8
GUILD_MESSAGES, GUILD_REACTIONS, GUILD_TYPING = 1 << 9, 1 << 10, 1 << 11
DIRECT_MESSAGES, DIRECT_REACTIONS, DIRECT_TYPING = 1 << 12, 1 << 13, 1 << 14
MESSAGE_CONTENT = 1 << 15

UNKNOWN_OPCODE, NOT_AUTHENTICATED, AUTHENTICATION_FAILED, ALREADY_AUTHENTICATED = 4001, 4003, 4004, 4005
SESSION_TIMED_OUT, INVALID_SHARD, DISALLOWED_INTENTS = 4009, 4010, 4014
REPLAYED_EVENTS = 1000
"""How many events a session keeps for a RESUME."""


class _Zstd:
    """One zstd stream per connection; only when the module is there, as in discord.py."""

    def __init__(self) -> None:
        import zstandard  # pyright: ignore[reportMissingImports]

        self._stream, self._flush = zstandard.ZstdCompressor().compressobj(), zstandard.COMPRESSOBJ_FLUSH_BLOCK

    def __call__(self, text: str) -> bytes:
        return self._stream.compress(text.encode()) + self._stream.flush(self._flush)


class _Zlib:
    """One zlib stream per connection; every payload ends with a sync flush (00 00 ff ff)."""

    def __init__(self) -> None:
        self._stream = zlib.compressobj()

    def __call__(self, text: str) -> bytes:
        return self._stream.compress(text.encode()) + self._stream.flush(zlib.Z_SYNC_FLUSH)


COMPRESSIONS: dict[str, Any] = {"zlib-stream": _Zlib, "zstd-stream": _Zstd}


class Connection:
    """One websocket. Sending never waits: an outbox keeps the order and a writer empties it."""

    def __init__(self, socket: web.WebSocketResponse, compress: str | None) -> None:
        self.socket = socket
        self.session: Session | None = None
        self._pack = COMPRESSIONS[compress]() if compress else None
        self._outbox: asyncio.Queue[Json] = asyncio.Queue()
        self._writer = asyncio.create_task(self._write())

    def send(self, op: int, data: Any = None, *, event: str | None = None, seq: int | None = None) -> None:
        """Queue one payload."""
        self._outbox.put_nowait({"op": op, "d": data, "s": seq, "t": event})

    async def _write(self) -> None:
        with contextlib.suppress(ConnectionError):
            while True:
                text = json.dumps(await self._outbox.get(), separators=(",", ":"))
                await (self.socket.send_bytes(self._pack(text)) if self._pack else self.socket.send_str(text))

    async def close(self, code: int) -> None:
        """Say goodbye with a close code."""
        await self.socket.close(code=code)

    def abort(self, request: web.Request) -> None:
        """Vanish without a close frame, as when a cable is pulled."""
        if request.transport is not None:
            request.transport.abort()

    def detach(self) -> None:
        """The socket is gone; its session lives on."""
        self._writer.cancel()
        if self.session and self.session.connection is self:
            self.session.connection = None


@dataclass(eq=False)
class Session:
    """What outlives a socket: the sequence and the events to replay."""

    id: str
    intents: int
    shard: tuple[int, int]
    seq: int = 0
    log: list[tuple[int, str, Json]] = field(default_factory=list)
    connection: Connection | None = None
    resumable: bool = True

    def wants(self, event: Event) -> bool:
        """By shard and by intent."""
        shard = (event.guild.id >> 22) % self.shard[1] if event.guild else 0
        return shard == self.shard[0] and (not event.intent or bool(event.intent & self.intents))

    def dispatch(self, name: str, data: Json) -> None:
        """Record an event and send it if somebody listens."""
        self.seq += 1
        self.log = [*self.log[-REPLAYED_EVENTS:], (self.seq, name, data)]
        if self.connection:
            self.connection.send(DISPATCH, data, event=name, seq=self.seq)

    def replay(self, after: int) -> None:
        """Send what a dropped client missed."""
        assert self.connection
        for seq, name, data in self.log:
            if seq > after:
                self.connection.send(DISPATCH, data, event=name, seq=seq)
        self.dispatch("RESUMED", {})


class Gateway:
    """All connections and sessions of the one application."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.heartbeat_seconds = 41.25
        self.url = ""
        self.sessions: dict[str, Session] = {}
        self.identified = 0
        self.resumed = 0
        self.presence: Json | None = None
        self._connections: dict[Connection, web.Request] = {}
        world.publish = self.publish

    @property
    def connected(self) -> bool:
        """Whether a bot is there now."""
        return any(session.connection for session in self.sessions.values())

    def publish(self, event: Event) -> None:
        """To every session that wants it, each with what its intents let it see."""
        for session in list(self.sessions.values()):
            if session.wants(event):
                data = event.data(session.intents) if callable(event.data) else event.data
                if data is not None:
                    session.dispatch(event.name, data)
        self.world.touch()

    async def answer(self, request: web.Request) -> web.WebSocketResponse:
        """GET /gateway."""
        compress = request.query.get("compress")
        if request.query.get("encoding") != "json" or compress not in (None, *COMPRESSIONS):
            raise web.HTTPBadRequest(text="only encoding=json, compress=zlib-stream or zstd-stream")
        socket = web.WebSocketResponse(max_msg_size=4096 * 16, compress=False)
        await socket.prepare(request)
        connection = Connection(socket, compress)
        self._connections[connection] = request
        connection.send(HELLO, {"heartbeat_interval": int(self.heartbeat_seconds * 1000), "_trace": []})
        try:
            await self._read(connection)
        finally:
            self._connections.pop(connection, None)
            connection.detach()
            if connection.session and socket.close_code in (1000, 1001):
                connection.session.resumable = False  # a client that says goodbye so ends its session
                self.sessions.pop(connection.session.id, None)
            self.world.touch()
        return socket

    async def _read(self, connection: Connection) -> None:
        """Until it closes, or stays silent for one and a half heartbeats."""
        while True:
            try:
                frame = await connection.socket.receive(timeout=self.heartbeat_seconds * 1.5)
            except TimeoutError:
                return await connection.close(SESSION_TIMED_OUT)
            if frame.type is not WSMsgType.TEXT:
                return None
            payload = json.loads(frame.data)
            if code := self._hear(connection, payload["op"], payload.get("d")):
                return await connection.close(code)

    def _hear(self, connection: Connection, op: int, data: Any) -> int | None:
        """One payload from the client; the answer is a close code or nothing."""
        if op == HEARTBEAT:
            return connection.send(HEARTBEAT_ACK)
        if op in (IDENTIFY, RESUME):
            if connection.session:
                return ALREADY_AUTHENTICATED
            if data["token"] != self.world.token:
                return AUTHENTICATION_FAILED
            return self._identify(connection, data) if op == IDENTIFY else self._resume(connection, data)
        if connection.session is None:
            return NOT_AUTHENTICATED
        if op == REQUEST_MEMBERS:
            return self._members(connection.session, data)
        if op == PRESENCE:
            self.presence = data
            return self.world.touch()
        return UNKNOWN_OPCODE

    def _identify(self, connection: Connection, data: Json) -> int | None:
        world, intents = self.world, data["intents"]
        granted = {
            GUILD_MEMBERS: world.members_enabled,
            GUILD_PRESENCES: world.presences_enabled,
            MESSAGE_CONTENT: world.message_content_enabled,
        }
        if any(intents & bit and not allowed for bit, allowed in granted.items()):
            return DISALLOWED_INTENTS
        shard = tuple(data.get("shard", (0, 1)))
        if shard[0] >= shard[1]:
            return INVALID_SHARD
        session = Session(secrets.token_hex(16), intents, (shard[0], shard[1]), connection=connection)
        self.sessions[session.id] = connection.session = session
        connection.session = session
        self.identified += 1
        self._ready(session)
        return world.touch()

    def _ready(self, session: Session) -> None:
        world = self.world
        events = [
            (guild, Event("GUILD_CREATE", {}, guild, GUILDS)) for guild in world.guilds.values() if not guild.gone
        ]
        guilds = [guild for guild, event in events if session.wants(event)]
        session.dispatch(
            "READY",
            {
                "v": 10,
                "user": payloads.me(world),
                "guilds": [{"id": str(guild.id), "unavailable": True} for guild in guilds],
                "session_id": session.id,
                "resume_gateway_url": self.url,
                "shard": list(session.shard),
                "application": {"id": str(world.application_id), "flags": world.application_flags},
                "private_channels": [],
                "relationships": [],
                "_trace": [],
            },
        )
        for guild in guilds:
            everyone = bool(session.intents & GUILD_MEMBERS)
            session.dispatch("GUILD_CREATE", payloads.guild_create(world, guild, all_members=everyone))

    def _resume(self, connection: Connection, data: Json) -> int | None:
        session = self.sessions.get(data["session_id"])
        if session is None or not session.resumable:
            return connection.send(INVALID_SESSION, False)
        connection.session, session.connection = session, connection
        self.resumed += 1
        session.replay(data["seq"])
        return self.world.touch()

    def _members(self, session: Session, data: Json) -> None:
        """GUILD_MEMBERS_CHUNK: all, by name or by id; one chunk is enough for our small guilds."""
        guild = self.world.guild(data["guild_id"])
        asked = {int(id_) for id_ in _list(data.get("user_ids"))}
        query, limit = (data.get("query") or "").lower(), data.get("limit") or len(guild.members)
        found = [each for each in guild.members.values() if not asked or each.user.id in asked]
        found = [each for each in found if each.user.name.lower().startswith(query)][:limit]
        chunk: Json = {
            "guild_id": str(guild.id),
            "members": [payloads.member(each) for each in found],
            "chunk_index": 0,
            "chunk_count": 1,
            "not_found": [str(id_) for id_ in asked - {each.user.id for each in found}],
        }
        if "nonce" in data:
            chunk["nonce"] = data["nonce"]
        session.dispatch("GUILD_MEMBERS_CHUNK", chunk)

    # --- what a test does to it ---

    def drop(self, *, resumable: bool = True) -> None:
        """Cut every socket without a goodbye."""
        for session in self.sessions.values():
            session.resumable = session.resumable and resumable
        for connection, request in list(self._connections.items()):
            connection.abort(request)
            connection.detach()

    def ask_reconnect(self) -> None:
        """Op 7: please come again."""
        for connection in self._connections:
            connection.send(RECONNECT)

    def invalidate(self, *, resumable: bool = False) -> None:
        """Op 9 to everybody."""
        for connection in self._connections:
            if connection.session:
                connection.session.resumable = resumable
            connection.send(INVALID_SESSION, resumable)

    async def close(self) -> None:
        """The end of the test."""
        for connection in list(self._connections):
            with contextlib.suppress(Exception):
                await asyncio.wait_for(connection.close(1001), 0.5)


def guild_event(world: World, name: str, data: Json, guild: Guild, intent: int = GUILDS) -> None:
    """Announce something about a guild."""
    world.publish(Event(name, {"guild_id": str(guild.id), **data}, guild, intent))


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value] if value else []
