"""The real decoding child, forked from a process that has its libraries imported: a tenth of the time for each file.

It runs `media.clip_child.main` as it is, with its limits and its wire; only `exec` and the imports are saved. What the
kernel measured of each child is kept.
"""

from __future__ import annotations

import array
import asyncio
import contextlib
import os
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, Self

ROOT = Path(__file__).resolve().parents[1]


class Measured(NamedTuple):
    """One child's end."""

    status: int
    """As `wait` gives it: below zero the signal that killed it."""
    peak_kib: int
    cpu_seconds: float


def serve(channel: socket.socket) -> None:
    """Fork a child for every handful of open files that arrives, and report its end on the last of them."""
    from media import clip_child  # the libraries come in here, once

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # keepers are not waited for
    while True:
        numbers = array.array("i")
        message, ancillary, _, _ = channel.recvmsg(64, socket.CMSG_SPACE(8 * numbers.itemsize))
        if not message:
            return
        for _, _, data in ancillary:
            numbers.frombytes(data)
        stdin, stdout, stderr, report, *passed = numbers
        keeper = os.fork()
        if keeper:
            for number in numbers:
                os.close(number)
            continue
        _keep(clip_child.main, (stdin, stdout, stderr), report, passed, struct.unpack("i", message)[0])


def _keep(
    main: Callable[[], None], standard: tuple[int, int, int], report: int, passed: list[int], wanted: int
) -> None:
    """In a process of its own: fork the child proper, wait for it, tell what it took."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    child = os.fork()
    if not child:
        for number, source in enumerate(standard):
            os.dup2(source, number)
            os.set_inheritable(number, True)
        if passed:
            os.dup2(passed[0], wanted)
        with contextlib.suppress(SystemExit):
            main()  # which ends the process itself; what it raises is written to its standard error
    for number in (*standard, *passed):
        os.close(number)
    os.write(report, struct.pack("i", child))
    _, status, used = os.wait4(child, 0)
    code = -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
    os.write(report, struct.pack("iqd", code, used.ru_maxrss, used.ru_utime + used.ru_stime))
    os._exit(0)


class Forked:
    """A child as the parent's side knows it."""

    def __init__(self, stdin: asyncio.StreamWriter, stdout: asyncio.StreamReader, stderr: asyncio.StreamReader) -> None:
        self.stdin, self.stdout, self.stderr = stdin, stdout, stderr
        self.report: asyncio.StreamReader | None = None
        self.pid = 0
        self.measured: Measured | None = None

    def kill(self) -> None:
        """At once."""
        if self.measured is None:
            os.kill(self.pid, signal.SIGKILL)

    async def wait(self) -> int:
        """Its end, once."""
        if self.measured is None:
            assert self.report is not None
            self.measured = Measured(*struct.unpack("iqd", await self.report.readexactly(struct.calcsize("iqd"))))
            self.stdin.close()
            await self.report.read()
            await self.stdout.read()
            while not self.stderr.at_eof():  # `ask` reads it
                await asyncio.sleep(0.001)
            await asyncio.sleep(0.001)  # the loop closes its ends of the pipes
        return self.measured.status


class Zygote:
    """Starts children; `with` it."""

    def __init__(self) -> None:
        self.children: list[Forked] = []

    def __enter__(self) -> Self:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._channel = ours
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.clip_zygote", str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            cwd=ROOT,
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
        )
        theirs.close()
        return self

    def __exit__(self, *_: object) -> None:
        self._channel.close()
        self._process.wait(10)

    def running(self) -> list[Forked]:
        """Those that have not ended."""
        return [child for child in self.children if child.measured is None]

    async def launch(self, passed: Sequence[int]) -> Forked:
        """As `media.clip_process.launch`."""
        (in_r, in_w), (out_r, out_w), (err_r, err_w), (rep_r, rep_w) = (os.pipe() for _ in range(4))
        handed = array.array("i", [in_r, out_w, err_w, rep_w, *passed])
        self._channel.sendmsg(
            [struct.pack("i", passed[0] if passed else 0)], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, handed)]
        )
        for number in (in_r, out_w, err_w, rep_w):
            os.close(number)
        child = Forked(await _writer(in_w), await _reader(out_r), await _reader(err_r))
        child.report = await _reader(rep_r)
        child.pid = struct.unpack("i", await child.report.readexactly(4))[0]
        self.children.append(child)
        return child


async def _reader(number: int) -> asyncio.StreamReader:
    reader = asyncio.StreamReader(limit=1 << 20)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(number, "rb", buffering=0))
    return reader


async def _writer(number: int) -> asyncio.StreamWriter:
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.connect_write_pipe(asyncio.streams.FlowControlMixin, os.fdopen(number, "wb", 0))
    return asyncio.StreamWriter(transport, protocol, None, loop)


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
