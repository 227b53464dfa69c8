"""The decoding child: `python -m media.clip_child`. One order, one answer, then it ends.

It opens strangers' files with large libraries written in C, so it may use a bounded share of memory, time and disk, has
no secret in its environment, and ends when its parent does. What it may have caught is left behind with it.
"""

import errno
import os
import resource
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from jobs.errors import Refusal
from media.clip_facts import plain_clip
from media.clip_limits import ClipBroken, ClipLimits, SoundBroken, TooHardToRead, check_clip_kind, check_sound_kind
from media.clip_shots import DAMAGE
from media.clip_sound import read_track
from media.clip_survey import Survey, frames, survey
from media.clip_wire import PREFIX, packed, sizes, unpacked
from media.frames import SOUND_RATE
from media.kinds import SNIFF_BYTES, sniff

Answer = tuple[dict[str, Any], bytes]


class NoRoom(Exception):
    """The disk that takes the frames is full. That is nobody's file's fault."""


def main() -> None:
    """Take the order from standard input and answer it on standard output."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # too large a file is an error, not a death
    wire = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # whatever libraries print stays off the wire
    order = _order(sys.stdin.buffer)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    limits = ClipLimits(**order["limits"])
    _bind(limits, order["cpu_seconds"])
    warnings.simplefilter("ignore")  # about damaged metadata, which concerns nobody here
    message, payload = answer(order, limits)
    message["peak_kib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    _write(wire.fileno(), packed(message, len(payload)))
    _write(wire.fileno(), payload)
    os._exit(0)  # nothing needs tidying, and libraries that were fed damaged files may crash while they tidy


def answer(order: dict[str, Any], limits: ClipLimits) -> Answer:
    """What was found, in words for the wire, and the sound's samples."""
    try:
        return _WAYS[order["do"]](order, limits)
    except Refusal as refusal:
        return {"end": "refused", "code": refusal.code, "facts": refusal.facts}, b""
    except MemoryError:
        return {"end": "refused", "code": TooHardToRead.code, "facts": {}}, b""
    except NoRoom:
        return {"end": "no_room"}, b""
    except DAMAGE:
        # A bug of ours looks just like damage from here; the owner finds it in the log.
        traceback.print_exc()
        broken = SoundBroken if order["do"].endswith("sound") else ClipBroken
        kind = sniff(_head(Path(order["path"])))
        return {"end": "refused", "code": broken.code, "facts": {"kind": kind.words}}, b""


def _clip(order: dict[str, Any], limits: ClipLimits) -> Answer:
    path = Path(order["path"])
    kind = sniff(_head(path))
    check_clip_kind(kind)
    found = survey(path, kind, limits)
    said = {"end": "clip", "facts": plain_clip(found.facts)}
    if order["spool"] is None:
        return said, b""
    _spool(path, order["spool"], found, limits)
    return said, b"" if found.sound is None else _raw(found.sound)


def _spool(path: Path, spool: int, found: Survey, limits: ClipLimits) -> None:
    """Write all frames, one after another, into the parent's anonymous file."""
    exact = found.facts.frame_bytes * found.facts.num_frames
    resource.setrlimit(resource.RLIMIT_FSIZE, (exact, exact))
    for frame in frames(path, sniff(_head(path)), limits, found):
        try:
            _write(spool, _raw(frame))
        except OSError as error:
            if error.errno in {errno.ENOSPC, errno.EDQUOT}:
                raise NoRoom from error
            raise


def _sound(order: dict[str, Any], limits: ClipLimits) -> Answer:
    path = Path(order["path"])
    kind = sniff(_head(path))
    check_sound_kind(kind)
    track = read_track(path, kind, limits.max_sound_seconds)
    said = {"end": "sound", "samples": len(track.samples), "rate": SOUND_RATE}
    return said, _raw(track.samples) if order["do"] == "decode_sound" else b""


_WAYS: dict[str, Callable[[dict[str, Any], ClipLimits], Answer]] = {
    "probe_clip": _clip,
    "decode_clip": _clip,
    "probe_sound": _sound,
    "decode_sound": _sound,
}


def _raw(array: NDArray[Any]) -> Any:
    """Its bytes, without a copy where they lie in a row."""
    return np.ascontiguousarray(array).data.cast("B")


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(SNIFF_BYTES)


def _order(stream: BinaryIO) -> dict[str, Any]:
    words, _ = sizes(stream.read(PREFIX.size), 0)
    return unpacked(stream.read(words))


def _end_with_parent() -> None:
    """Standard input stays open as long as the parent wants the answer."""
    while os.read(0, 1):
        pass
    os._exit(1)


def _bind(limits: ClipLimits, cpu_seconds: int) -> None:
    """Let the kernel hold this process to its share, whatever the libraries do."""
    most = limits.working_side**2 * 4 * limits.max_frames
    for what, soft, hard in (
        (resource.RLIMIT_AS, limits.memory_bytes, limits.memory_bytes),
        (resource.RLIMIT_CPU, cpu_seconds, cpu_seconds + 1),
        (resource.RLIMIT_FSIZE, most, most),
        (resource.RLIMIT_NOFILE, 64, 64),
        (resource.RLIMIT_CORE, 0, 0),
    ):
        resource.setrlimit(what, (soft, hard))


def _write(target: int, block: Any) -> None:
    view = memoryview(block)
    while view:
        view = view[os.write(target, view) :]


if __name__ == "__main__":
    main()
