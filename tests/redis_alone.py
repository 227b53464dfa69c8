"""A Redis server that nobody starts again: to be killed, or held, by tests of what others do meanwhile."""

import contextlib
import os
import subprocess
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

from console.redis_server import command
from jobs.queue import connect


class RedisAlone:
    """One process on a Unix socket."""

    def __init__(self, folder: Path, socket: Path) -> None:
        self.folder = folder
        self.socket = socket
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it is reached."""
        return f"unix://{self.socket}"

    async def start(self) -> None:
        """Begin, or begin again with what was kept, and wait for an answer."""
        line = command(self.folder, self.socket, self.folder / "redis.log")
        self.process = subprocess.Popen(line, stdin=subprocess.DEVNULL)  # noqa: ASYNC220 (takes no time)
        redis = await connect(self.url)
        await redis.aclose()

    def kill(self) -> None:
        """SIGKILL."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def signal(self, number: int) -> None:
        """SIGSTOP makes it hang: connections are open, and nobody answers."""
        assert self.process is not None
        os.kill(self.process.pid, number)


@contextlib.asynccontextmanager
async def redis_alone(folder: Path) -> AsyncIterator[RedisAlone]:
    """A server, ended with the block."""
    with tempfile.TemporaryDirectory(prefix="zoetrope-alone-") as sockets:
        server = RedisAlone(folder, Path(sockets) / "redis.sock")
        await server.start()
        try:
            yield server
        finally:
            server.kill()
