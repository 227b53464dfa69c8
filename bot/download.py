"""Pictures from Discord's CDN: only from there, only so many bytes, only so long."""

import asyncio
from collections.abc import Sequence

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
        if not self._allowed(url):
            raise NotFromDiscord()
        self._session = self._session or aiohttp.ClientSession()
        try:
            async with asyncio.timeout(self.most_seconds):
                async with self._session.get(url, allow_redirects=False) as response:
                    return await self._read(response)
        except TimeoutError:
            raise DownloadTooSlow(seconds=round(self.most_seconds)) from None
        except (aiohttp.ClientError, OSError) as error:
            raise DownloadFailed(status=0) from error

    def _allowed(self, url: str) -> bool:
        try:
            return URL(url).origin() in self.origins
        except ValueError:
            return False

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        if 300 <= response.status < 400:
            raise NotFromDiscord()
        if response.status != 200:
            raise DownloadFailed(status=response.status)
        if (response.content_length or 0) > self.most_bytes:
            raise DownloadTooLarge(mib=self.most_bytes / 2**20)
        data = bytearray()
        async for chunk in response.content.iter_chunked(CHUNK):
            data += chunk
            if len(data) > self.most_bytes:
                raise DownloadTooLarge(mib=self.most_bytes / 2**20)
        return bytes(data)

    async def close(self) -> None:
        """Close the session."""
        if self._session:
            await self._session.close()
