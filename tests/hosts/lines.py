"""Lines between hosts that a test can cut: network namespaces on a bridge, or loopback with relays that go silent.

A cut line answers nothing. Whoever talks over it gets no refusal and no reset, as when a cable is pulled.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.hosts.bucket import loopback

CLONE_NEWNET = 0x40000000
REDIS_PORT, STORE_PORT = 6379, 9000
CENTRE = "10.213.0.1"


@dataclass
class Host:
    """A machine that renders: how a command is run there, and how Redis and the store look from it."""

    name: str
    prefix: tuple[str, ...]
    redis: tuple[str, int]
    store: tuple[str, int]
    cut: Callable[[], None]
    mend: Callable[[], None]


@dataclass
class Net:
    """Where Redis and the store live, and the hosts around them."""

    redis_prefix: tuple[str, ...]
    redis: tuple[str, int]
    store_sockets: tuple[socket.socket, ...]
    """Bound: the first as the bot sees the store, the others as the hosts do."""
    hosts: tuple[Host, Host]


def ip(*words: str) -> str:
    """Run iproute2's `ip`."""
    return subprocess.run(["ip", *words], check=True, capture_output=True, text=True).stdout


def no_namespaces() -> str:
    """Why this machine gives us no network namespaces; empty where it does."""
    if shutil.which("ip") is None:
        return "there is no `ip` (Debian: iproute2)"
    name = f"zt{os.getpid()}-try"
    try:
        ip("netns", "add", name)
        try:
            ip("-n", name, "link", "add", "try", "type", "bridge")
            ip("-n", name, "link", "add", "one", "type", "veth", "peer", "name", "other")
        finally:
            ip("netns", "delete", name)
    except subprocess.CalledProcessError as error:
        return f"`{' '.join(error.cmd)}` is refused: {error.stderr.strip()}"
    return ""


@contextlib.contextmanager
def namespaces() -> Iterator[Net]:
    """Redis and the store in one namespace, on a bridge; each of two hosts in its own, on a line to that bridge."""
    centre, *around = (f"zt{os.getpid()}-{name}" for name in ("centre", "ash", "oak"))
    try:
        ip("netns", "add", centre)
        ip("-n", centre, "link", "set", "lo", "up")
        ip("-n", centre, "link", "add", "bridge", "type", "bridge")
        ip("-n", centre, "address", "add", f"{CENTRE}/24", "dev", "bridge")
        ip("-n", centre, "link", "set", "bridge", "up")
        hosts = [_joined(centre, name, number) for number, name in enumerate(around)]
        outside = _bound_in(centre, (CENTRE, STORE_PORT))
        yield Net(_inside(centre), (CENTRE, REDIS_PORT), (loopback(), outside), (hosts[0], hosts[1]))
    finally:
        for name in (centre, *around):
            subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)


def _inside(namespace: str) -> tuple[str, ...]:
    return ("ip", "netns", "exec", namespace)


def _joined(centre: str, namespace: str, number: int) -> Host:
    """A new namespace with a line to the bridge."""
    name, port = namespace.rsplit("-", 1)[1], f"port{number}"
    ip("netns", "add", namespace)
    ip("-n", centre, "link", "add", port, "type", "veth", "peer", "name", "line", "netns", namespace)
    ip("-n", centre, "link", "set", port, "master", "bridge", "up")
    ip("-n", namespace, "link", "set", "lo", "up")
    ip("-n", namespace, "address", "add", f"10.213.0.{number + 11}/24", "dev", "line")
    ip("-n", namespace, "link", "set", "line", "up")
    return Host(
        name,
        # A host name of its own, as another machine has.
        (*_inside(namespace), "unshare", "--uts", "sh", "-c", 'hostname "$0" && exec "$@"', name),
        (CENTRE, REDIS_PORT),
        (CENTRE, STORE_PORT),
        cut=lambda: _quietly("-n", centre, "link", "set", port, "down"),
        mend=lambda: _quietly("-n", centre, "link", "set", port, "up"),
    )


def _quietly(*words: str) -> None:
    ip(*words)


def _bound_in(namespace: str, address: tuple[str, int]) -> socket.socket:
    """A socket of another namespace. It stays there though we do not: only the thread that makes it goes in."""
    made: list[socket.socket] = []

    def make() -> None:
        descriptor = os.open(f"/var/run/netns/{namespace}", os.O_RDONLY)
        try:
            if ctypes.CDLL(None, use_errno=True).setns(descriptor, CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "setns")
        finally:
            os.close(descriptor)
        bound = socket.socket()
        bound.bind(address)
        made.append(bound)

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    return made[0]


class Relay:
    """A line on loopback: it passes on what comes until it is cut, and then neither passes nor closes anything."""

    def __init__(self, target: tuple[str, int]) -> None:
        self.target = target
        self._whole = asyncio.Event()
        self._whole.set()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, address: str) -> tuple[str, int]:
        """Listen on a free port of this address."""
        self._server = await asyncio.start_server(self._accepted, address, 0)
        return self._server.sockets[0].getsockname()[:2]

    def cut(self) -> None:
        """From now on it is silent."""
        self._whole.clear()

    def mend(self) -> None:
        """It passes on again, first what was held."""
        self._whole.set()

    async def stop(self) -> None:
        """Close everything."""
        if self._server:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._whole.wait()
            there, back = await asyncio.open_connection(*self.target)
            await asyncio.gather(self._pass_on(reader, back), self._pass_on(there, writer))
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            writer.close()
            self._tasks.discard(task)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer):
            while data := await reader.read(65536):
                await self._whole.wait()
                writer.write(data)
                await writer.drain()


@contextlib.asynccontextmanager
async def relays(redis_port: int) -> AsyncIterator[Net]:
    """Everything on loopback, each host behind relays of its own at an address of its own. Needs no rights."""
    store = loopback()
    redis = ("127.0.0.1", redis_port)
    lines: list[Relay] = []

    async def host(name: str, address: str) -> Host:
        both = [Relay(redis), Relay(store.getsockname()[:2])]
        lines.extend(both)
        seen = [await relay.start(address) for relay in both]

        def each(act: Callable[[Relay], None]) -> None:
            for relay in both:
                act(relay)

        return Host(name, (), seen[0], seen[1], cut=lambda: each(Relay.cut), mend=lambda: each(Relay.mend))

    try:
        hosts = await host("ash", "127.0.0.2"), await host("oak", "127.0.0.3")
        yield Net((), redis, (store,), hosts)
    finally:
        for relay in lines:
            await relay.stop()


def redis_command(binary: Path, folder: Path, address: tuple[str, int], *more: str) -> list[str]:
    """A server that listens on TCP, and for the test on a Unix socket, which belongs to no network."""
    options = {
        "port": str(address[1]), "bind": address[0], "protected-mode": "no", "unixsocket": str(folder / "redis.sock"),
        "dir": str(folder), "appendonly": "yes", "appendfsync": "always", "save": "", "maxmemory-policy": "noeviction",
    }  # fmt: skip
    return [str(binary), *more, *(word for key, value in options.items() for word in (f"--{key}", value))]
