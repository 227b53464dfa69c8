"""Connections to Redis whose calls can be cancelled.

redis-py 5 writes under `asyncio.wait_for` where a socket timeout is set, and on Python 3.11 that swallows a cancel
which comes as the write ends: one in eight, measured. A task that was told to stop would then go on for ever.
"""

import asyncio
from collections.abc import Iterable
from typing import Any

from redis.asyncio.connection import Connection, SSLConnection, UnixDomainSocketConnection
from redis.exceptions import TimeoutError as RedisSilent


class _Heeding:
    """Writes under a time limit that heeds a cancel; reading has such a one already."""

    socket_timeout: float | None
    is_connected: bool

    async def send_packed_command(self, command: bytes | str | Iterable[bytes], check_health: bool = True) -> None:
        """As redis-py's, which connects first where there is no connection."""
        if not self.is_connected:
            await self.connect()  # type: ignore[attr-defined]
        seconds, self.socket_timeout = self.socket_timeout, None
        try:
            async with asyncio.timeout(seconds):
                await super().send_packed_command(command, check_health)  # type: ignore[misc]
        except TimeoutError as error:
            await self.disconnect(nowait=True)  # type: ignore[attr-defined]
            raise RedisSilent("Timeout writing to socket") from error
        finally:
            self.socket_timeout = seconds


class _Tcp(_Heeding, Connection):
    pass


class _Tls(_Heeding, SSLConnection):
    pass


class _Unix(_Heeding, UnixDomainSocketConnection):
    pass


_HEEDING: dict[type[Any], type[Any]] = {Connection: _Tcp, SSLConnection: _Tls, UnixDomainSocketConnection: _Unix}


def heed_cancels(pool: Any) -> None:
    """Have a pool that has not connected yet make such connections."""
    pool.connection_class = _HEEDING[pool.connection_class]
