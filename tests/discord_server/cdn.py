"""The CDN and an origin that is not the CDN. Files misbehave on demand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from aiohttp import web

from tests.discord_server.model import Attachment
from tests.discord_server.world import World

CHUNK = 16 * 1024
DRIP_SECONDS = 0.05
"""Between single bytes of a file served as `drip`."""


class Cdn:
    """Serves the world's files; one instance per origin."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.origin = ""
        self.hits: list[str] = []
        """Every path that was asked for: an origin that must not be asked has none."""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """GET of any file."""
        self.hits.append(request.path)
        file = next((file for file in self.world.files.values() if file.path == request.path), None)
        if file is None or file.origin != self.origin or file.serving == "missing" or self._expired(request):
            return web.Response(status=404, text="This content is no longer available.")
        file.fetched += 1
        return await self._serve(request, file)

    def _expired(self, request: web.Request) -> bool:
        """Signed addresses die after a day."""
        expires = request.query.get("ex")
        return expires is not None and int(expires, 16) < self.world.clock.now()

    async def _serve(self, request: web.Request, file: Attachment) -> web.StreamResponse:
        kind = file.served_type or file.content_type or "application/octet-stream"
        if file.serving == "redirect":
            return web.Response(status=302, headers={"Location": file.redirect_to or f"{self.world.evil}{file.path}"})
        if file.serving == "html":
            return web.Response(text="<html><body>nothing to see</body></html>", content_type="text/html")
        if file.serving == "plain":
            return web.Response(body=file.data, headers={"Content-Type": kind})
        return await self._stream(request, file, kind)

    async def _stream(self, request: web.Request, file: Attachment, kind: str) -> web.StreamResponse:
        """Chunked, without a length; `broken` stops half-way with a length that promised more."""
        response = web.StreamResponse(headers={"Content-Type": kind})
        if file.serving == "broken":
            response.content_length = len(file.data)
        await response.prepare(request)
        try:
            async for piece in _pieces(file):
                await response.write(piece)
            if file.serving == "broken" and request.transport:
                request.transport.abort()
        except (ConnectionError, asyncio.CancelledError):
            pass
        return response


async def _pieces(file: Attachment) -> AsyncIterator[bytes]:
    data = file.data
    if file.serving == "broken":
        yield data[: len(data) // 2]
    elif file.serving == "endless":
        while True:
            yield (data or b"\0").ljust(CHUNK, b"\0")
            await asyncio.sleep(0)
    elif file.serving == "drip":
        for place in range(len(data)):
            yield data[place : place + 1]
            await asyncio.sleep(DRIP_SECONDS)
    else:
        for place in range(0, len(data), CHUNK):
            yield data[place : place + CHUNK]
