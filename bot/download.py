"""Pictures from Discord's CDN: only from there, only so many bytes, only so long."""

import asyncio
import io
from collections.abc import Sequence
from typing import IO

import aiohttp
from yarl import URL

from jobs.errors import Refusal

CHUNK = 64 * 1024


class NotFromDiscord(Refusal):
    """The address, or where it redirects to, is not one of the allowed origins."""

    code = "not_from_discord"


class DownloadFailed(Refusal):
    """Discord did not hand the file out."""

    code = "download_failed"


class DownloadTooSlow(Refusal):
    """It took longer than the owner allows."""

    code = "download_too_slow"


class DownloadTooLarge(Refusal):
    """More bytes came than were declared and than are allowed."""

    code = "download_too_large"


class Downloads:
    """One HTTP session for all downloads."""

    def __init__(self, origins: Sequence[str], *, most_bytes: int, most_seconds: float) -> None:
        self.origins = {URL(origin).origin() for origin in origins}
        self.most_bytes = most_bytes
        self.most_seconds = most_seconds
        self._session: aiohttp.ClientSession | None = None

    async def fetch(self, url: str) -> bytes:
        """The file at `url`, whole.

        Raises:
            NotFromDiscord, DownloadFailed, DownloadTooSlow, DownloadTooLarge: nothing else.
        """
        data = io.BytesIO()
        await self.fetch_to(url, data, self.most_bytes)
        return data.getvalue()

    async def fetch_to(self, url: str, file: IO[bytes], most_bytes: int) -> None:
        """Write the file at `url` into another.

        Raises:
            NotFromDiscord, DownloadFailed, DownloadTooSlow, DownloadTooLarge: nothing else.
        """
        if not self._allowed(url):
            raise NotFromDiscord()
        self._session = self._session or aiohttp.ClientSession()
        try:
            async with asyncio.timeout(self.most_seconds * max(1.0, most_bytes / self.most_bytes)):
                async with self._session.get(url, allow_redirects=False) as response:
                    await _read(response, file, most_bytes)
        except TimeoutError:
            raise DownloadTooSlow(seconds=round(self.most_seconds)) from None
        except (aiohttp.ClientError, OSError) as error:
            raise DownloadFailed(status=0) from error

    def _allowed(self, url: str) -> bool:
        try:
            return URL(url).origin() in self.origins
        except ValueError:
            return False

    async def close(self) -> None:
        """Close the session."""
        if self._session:
            await self._session.close()


async def _read(response: aiohttp.ClientResponse, file: IO[bytes], most_bytes: int) -> None:
    if 300 <= response.status < 400:
        raise NotFromDiscord()
    if response.status != 200:
        raise DownloadFailed(status=response.status)
    if (response.content_length or 0) > most_bytes:
        raise DownloadTooLarge(mib=most_bytes / 2**20)
    async for chunk in response.content.iter_chunked(CHUNK):
        file.write(chunk)
        if file.tell() > most_bytes:
            raise DownloadTooLarge(mib=most_bytes / 2**20)
