"""The HTTP face: finds the route, applies faults, judges by OpenAPI, answers like Discord."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tests.discord_server.buckets import Buckets, Headers, Refused
from tests.discord_server.errors import ApiError, dead_token, unauthorized
from tests.discord_server.faults import Fault, Faults, Match
from tests.discord_server.openapi import OpenApi
from tests.discord_server.posting import Upload
from tests.discord_server.world import World

PREFIX = "/api/v10"
HOUR_SECONDS = 3600
Handler = Callable[["Call"], Any]


@dataclass
class Call:
    """One request, taken apart. `body` is the JSON, of a multipart request its `payload_json`."""

    world: World
    method: str
    path: str
    query: dict[str, str]
    body: Any = None
    files: dict[int, Upload] = field(default_factory=dict)
    params: dict[str, str] = field(default_factory=dict)
    status: int = 0
    at: float = 0.0

    def __repr__(self) -> str:
        return f"<{self.method} {self.path} → {self.status}>"


@dataclass
class Reply:
    """An answer with another status than 200 (204 for None)."""

    status: int
    body: Any = None


@dataclass
class Route:
    """A method, a path template as in Discord's documents, and what answers it."""

    method: str
    template: str
    handler: Handler
    open: bool = False
    """Needs no bot token: the token is in the path."""

    def __post_init__(self) -> None:
        names = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", self.template)
        self.pattern = re.compile(names)
        self.bucket = hashlib.sha256(f"{self.method}{self.template}".encode()).hexdigest()[:32]


class Routes(list[Route]):
    """Filled by decorators in the routes_* files."""

    def __call__(self, method: str, template: str, *, open: bool = False) -> Callable[[Handler], Handler]:  # noqa: A002
        """`@routes("GET", "/channels/{channel_id}")`."""

        def add(handler: Handler) -> Handler:
            self.append(Route(method, template, handler, open))
            return handler

        return add


class Rest:
    """Every request passes here."""

    def __init__(self, world: World, routes: Routes, faults: Faults, openapi: OpenApi | None) -> None:
        self.world, self.faults, self.openapi = world, faults, openapi
        self.calls: list[Call] = []
        self.buckets = Buckets()
        self.check_answers = False
        """Whether our own answers are held against the document, too (our own tests do)."""
        self._routes = sorted(routes, key=lambda route: route.template.count("{"))

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Any request below /api/v10."""
        call = Call(self.world, request.method, request.path.removeprefix(PREFIX), dict(request.query))
        if not await self._read(request, call):
            return web.Response(status=400)
        self.calls.append(call)
        fault = self.faults.take(call.method, call.path)
        if fault and fault.delay:
            await asyncio.sleep(fault.delay)
        if fault and not fault.after_effect and fault.status != 200:
            return self._fail(request, call, fault)
        route = self._route(call)
        headers, refused = self._limited(call, route)
        status, body = (429, refused.body()) if refused else self._act(request, call, route)
        call.status = status
        await self.faults.replying(call.method, call.path)
        if fault and fault.status != 200:
            return self._fail(request, call, fault)
        return _response(status, body, headers)

    def _limited(self, call: Call, route: Route | None) -> tuple[Headers, Refused | None]:
        """What the bucket of this route says; interactions' own routes are outside the global limit."""
        if route is None:
            return {}, None
        major = call.params.get("channel_id") or call.params.get("guild_id") or call.params.get("webhook_id") or ""
        return self.buckets.take(
            route.method, route.template, route.bucket, major, counts=not route.open, old=self._edits_old(call)
        )

    def _edits_old(self, call: Call) -> bool:
        """Whether it edits a message older than an hour."""
        channel = self.world.channels.get(int(call.params.get("channel_id") or 0))
        message = channel and channel.messages.get(int(call.params.get("message_id") or 0))
        return bool(call.method == "PATCH" and message and call.at - message.created_at > HOUR_SECONDS)

    async def _read(self, request: web.Request, call: Call) -> bool:
        """Fill in the body; False when the bot died while sending it, or it is no JSON."""
        try:
            if request.content_type == "multipart/form-data":
                await _read_parts(request, call)
            elif raw := await request.read():
                call.body = json.loads(raw)
        except Exception as error:  # noqa: BLE001 - aiohttp has many names for a request that stops half-way
            if request.transport is not None and not request.transport.is_closing():
                self.world.violations.append(f"{call.method} {call.path}: unreadable body: {error!r}")
            return False
        call.at = self.world.clock.now()
        return True

    def made(self, method: str, path_glob: str) -> list[Call]:
        """Requests so far that fit, oldest first."""
        match = Match(method, path_glob)
        return [call for call in self.calls if match.fits(call.method, call.path)]

    def _fail(self, request: web.Request, call: Call, fault: Fault) -> web.StreamResponse:
        call.status = fault.status or 0
        self.world.touch()
        if fault.status is None:
            if request.transport:
                request.transport.close()
            return web.Response()
        return _response(fault.status, fault.body(), fault.headers())

    def _route(self, call: Call) -> Route | None:
        for route in self._routes:
            if route.method == call.method and (found := route.pattern.fullmatch(call.path)):
                call.params = found.groupdict()
                return route
        return None

    def _act(self, request: web.Request, call: Call, route: Route | None) -> tuple[int, Any]:
        if route is None:
            self.world.violations.append(f"{call.method} {call.path}: the local Discord has no such route")
            return 404, {"message": "404: Not Found", "code": 0}
        try:
            if not route.open and request.headers.get("Authorization") != f"Bot {self.world.token}":
                raise unauthorized()
            self._judge(call)
            result = route.handler(call)
        except ApiError as error:
            self.world.touch()
            return error.status, error.body()
        except Exception:  # noqa: BLE001 - a mistake of ours must show in the test, not as an outage that is retried
            self.world.violations.append(f"the local Discord failed: {call!r}\n{traceback.format_exc()}")
            return 400, {"message": "the local Discord failed", "code": 0}
        reply = result if isinstance(result, Reply) else Reply(204 if result is None else 200, result)
        self.world.touch()
        if self.check_answers and self.openapi:
            wrong = self.openapi.answer(call.method, call.path, reply.status, reply.body)
            self.world.violations += [f"our own answer: {each}" for each in wrong]
        return reply.status, reply.body

    def _judge(self, call: Call) -> None:
        """Whatever does not fit Discord's document is a violation; a body that does not is refused as well."""
        if self.openapi is None:
            return
        self.world.violations += self.openapi.address(call.method, call.path, call.query)
        if wrong := self.openapi.body(call.method, call.path, call.body):
            self.world.violations += wrong
            raise ApiError(400, 50035, "Invalid Form Body", {"_errors": [{"code": "LOCAL", "message": str(wrong)}]})


async def _read_parts(request: web.Request, call: Call) -> None:
    reader: Any = await request.multipart()
    while (part := await reader.next()) is not None:
        data = bytes(await part.read(decode=False))
        if part.name == "payload_json":
            call.body = json.loads(data)
        elif found := re.fullmatch(r"files\[(\d+)\]", part.name or ""):
            call.files[int(found[1])] = Upload(part.filename or "unknown", data, part.headers.get("Content-Type"))
        else:
            call.world.violations.append(f"{call.method} {call.path}: unknown form part {part.name!r}")
    if call.body is None:
        call.body = {}


def _response(status: int, body: Any, headers: dict[str, str]) -> web.Response:
    headers = {"Via": "1.1 local", **headers}
    if status == 204 or body is None:
        return web.Response(status=status, headers=headers)
    # discord.py reads JSON only where the type is exactly this, without a charset
    return web.Response(
        body=json.dumps(body).encode(), status=status, headers={"Content-Type": "application/json", **headers}
    )


def open_token(call: Call) -> None:
    """A webhook path must carry our application's id."""
    if call.params.get("webhook_id") != str(call.world.application_id):
        raise dead_token()
