"""The parent's side of the decoding child: start it, wait for its one answer, and outlive whatever becomes of it."""

import asyncio
import contextlib
import logging
import os
import re
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Protocol
from weakref import WeakKeyDictionary

from jobs.errors import Refusal
from media import clip_limits
from media.clip_facts import facts_from_plain
from media.clip_limits import ClipBroken, ClipLimits, SoundBroken, TooHardToRead, TooSlowToRead
from media.clip_wire import PREFIX, packed, sizes, unpacked
from media.kinds import Kind

log = logging.getLogger(__name__)

AT_ONCE = 2
"""Children of one event loop; each may take a core and `memory_bytes`."""
DECODE_PASSES = 3
"""Decoding goes over the file twice and converts every frame; probing goes over it once."""
START_SECONDS = 15.0
"""Importing the libraries from a cold disk, on a busy machine."""
LAST_WORDS_BYTES = 4096
_ROOT = Path(__file__).resolve().parents[1]
_PASSED_ON = re.compile(r"(PATH|HOME|LANG|LC_\w+|TZ|TMPDIR|LD_\w+|PYTHON\w*|VIRTUAL_ENV)\Z")
"""What the child's environment may hold. It opens foreign files, so no token, password or key is ever passed on."""
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

Do = Literal["probe_clip", "decode_clip", "probe_sound", "decode_sound"]
REFUSALS: dict[str, type[Refusal]] = {
    kind.code: kind
    for kind in vars(clip_limits).values()
    if isinstance(kind, type) and issubclass(kind, Refusal) and kind is not Refusal
}
"""What the child may refuse by, by code."""


class Child(Protocol):
    """A process that decodes."""

    stdout: asyncio.StreamReader | None
    stdin: asyncio.StreamWriter | None
    stderr: asyncio.StreamReader | None

    def kill(self) -> None: ...  # noqa: D102
    async def wait(self) -> int: ...  # noqa: D102


Launch = Callable[[Sequence[int]], Awaitable[Child]]
"""Starts a child to which these open files are passed on."""


@dataclass(frozen=True)
class Order:
    """What the child is to do with which file."""

    do: Do
    path: Path
    kind: Kind
    limits: ClipLimits
    spool: int | None = None
    """An open file that takes the frames."""

    @property
    def cpu_seconds(self) -> int:
        """What it may take."""
        return self.limits.decode_seconds * (1 if self.do.startswith("probe") else DECODE_PASSES)

    def packed(self) -> bytes:
        """For the wire."""
        return packed(
            {
                "do": self.do,
                "path": str(self.path.resolve()),
                "limits": asdict(self.limits),
                "cpu_seconds": self.cpu_seconds,
                "spool": self.spool,
            }
        )


async def launch(open_files: Sequence[int]) -> Child:
    """A fresh interpreter that knows this package and nothing of its parent."""
    environment = {key: value for key, value in os.environ.items() if _PASSED_ON.match(key)}
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "media.clip_child",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment | _ONE_THREAD,
        cwd=_ROOT,
        pass_fds=tuple(open_files),
        limit=1 << 20,
    )


_turns: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = WeakKeyDictionary()


async def ask(order: Order, most_payload: int = 0, start: Launch = launch) -> tuple[dict[str, Any], bytes]:
    """The child's answer and its payload.

    Raises:
        Refusal: whatever was wrong with the file; a crash is one too.
        OSError: there is no room for the frames.
    """
    async with _turns.setdefault(asyncio.get_running_loop(), asyncio.Semaphore(AT_ONCE)):
        child = await start(() if order.spool is None else (order.spool,))
        words = asyncio.ensure_future(_last_words(child))
        try:
            message, payload = await _conversation(child, order, most_payload)
        finally:
            with contextlib.suppress(ProcessLookupError):
                child.kill()
            await child.wait()
            if said := (await words).strip():
                log.info("the decoding child said:\n%s", said)
    return _understood(message, order), payload


async def _conversation(child: Child, order: Order, most_payload: int) -> tuple[dict[str, Any], bytes]:
    """Give the order and hear the answer.

    Raises:
        TooHardToRead, TooSlowToRead, ClipBroken, SoundBroken: it died over it, or said what makes no sense.
    """
    assert child.stdin is not None, "it was asked for"
    assert child.stdout is not None, "it was asked for"
    try:
        async with asyncio.timeout(2 * order.cpu_seconds + START_SECONDS):
            child.stdin.write(order.packed())
            words, size = sizes(await child.stdout.readexactly(PREFIX.size), most_payload)
            message = unpacked(await child.stdout.readexactly(words))
            return message, await child.stdout.readexactly(size)
    except TimeoutError as error:
        raise _too_slow(order) from error
    except (asyncio.IncompleteReadError, ConnectionError) as error:
        raise _death(order, await child.wait()) from error
    except ValueError as error:
        raise _broken(order) from error


def _understood(message: dict[str, Any], order: Order) -> dict[str, Any]:
    """An answer that is no refusal.

    Raises:
        Refusal: it is one, or makes no sense.
        OSError: the disk is full.
    """
    if message.get("end") == "no_room":
        raise OSError(28, "no room is left for a decoded clip")
    if message.get("end") != "refused":
        return message
    try:
        refusal, facts = REFUSALS[message["code"]], facts_from_plain(message["facts"])
    except (KeyError, TypeError, ValueError) as error:
        raise _broken(order) from error
    raise refusal(**facts)


def _death(order: Order, code: int) -> Refusal:
    """A crash is the file's doing: too much time by its own clock, too much memory, or anything else."""
    log.warning("the decoding child ended with %d over %s", code, order.kind.words)
    if -code == signal.SIGXCPU:
        return _too_slow(order)
    return TooHardToRead() if -code == signal.SIGKILL else _broken(order)


def _too_slow(order: Order) -> Refusal:
    return TooSlowToRead(limit=order.limits.decode_seconds)


def _broken(order: Order) -> Refusal:
    broken = SoundBroken if order.do.endswith("sound") else ClipBroken
    return broken(kind=order.kind.words)


async def _last_words(child: Child) -> str:
    """The end of what it wrote to standard error; all of it is read, so that it never waits for a reader."""
    kept = b""
    while child.stderr and (block := await child.stderr.read(1 << 16)):
        kept = (kept + block)[-LAST_WORDS_BYTES:]
    return kept.decode("utf-8", "replace")
