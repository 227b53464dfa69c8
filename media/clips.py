"""A stranger's video or moving picture, read safely: its facts, or its frames, or a sentence; never anything else.

Every file is decoded by a process of its own with bounds on memory, time and disk (`media.clip_child`).
"""

import asyncio
import os
import tempfile
from fractions import Fraction
from pathlib import Path
from typing import IO, Any

import numpy as np

from media.clip_facts import ClipFacts, clip_from_plain
from media.clip_limits import (
    ClipBroken,
    ClipLimits,
    check_clip_kind,
    check_file_bytes,
    clip_limits_of,
    declared_clip_refusal,
)
from media.clip_process import Launch, Order, ask, launch
from media.frames import SOUND_RATE, FrameSpool, Sound
from media.kinds import SNIFF_BYTES, Kind, sniff

__all__ = ["ClipFacts", "ClipLimits", "clip_limits_of", "declared_clip_refusal", "decode_clip", "probe_clip"]

_LONGEST_BEAT = 2
"""Seconds that rounding a clip's length to whole frames may add, at most."""


async def probe_clip(path: Path, limits: ClipLimits, start: Launch = launch) -> ClipFacts:
    """Decode everything once and keep nothing. Up to `decode_seconds` of a core; a 720p clip plays ten times as long.

    Raises:
        Refusal: one of `clip_limits`; never anything else, whatever the bytes.
    """
    kind = await asyncio.to_thread(looked_at, path, limits)
    check_clip_kind(kind)
    order = Order("probe_clip", path, kind, limits)
    message, _ = await ask(order, start=start)
    return _facts(message, order)


async def decode_clip(
    path: Path, limits: ClipLimits, spool_folder: Path | None = None, start: Launch = launch
) -> FrameSpool:
    """Its frames, upright, sRGB, RGBA where some pixel can be seen through, at a steady rate; the sound is cut to them.

    `spool_folder` is where the frames' space is taken from. The facts are the same as those of `probe_clip`.

    Raises:
        Refusal: one of `clip_limits`.
        OSError: there is no room for the frames.
    """
    kind = await asyncio.to_thread(looked_at, path, limits)
    check_clip_kind(kind)
    file = tempfile.TemporaryFile(dir=spool_folder)  # noqa: SIM115 (closed below, or by the spool)
    try:
        order = Order("decode_clip", path, kind, limits, file.fileno())
        most_sound = round((limits.max_seconds + _LONGEST_BEAT) * SOUND_RATE) * 4
        message, payload = await ask(order, most_sound, start)
        facts = _facts(message, order)
        if os.fstat(file.fileno()).st_size != facts.frame_bytes * facts.num_frames:
            raise ClipBroken(kind=kind.words)
        return _Decoded(file, facts, sound_of(payload) if facts.has_sound else None)
    except BaseException:
        file.close()
        raise


def looked_at(path: Path, limits: ClipLimits) -> Kind:
    """What the file is by its first bytes.

    Raises:
        FileTooHeavy: nobody needs to know.
    """
    check_file_bytes(path.stat().st_size, limits)
    with path.open("rb") as file:
        return sniff(file.read(SNIFF_BYTES))


def sound_of(payload: bytes) -> Sound:
    """Samples from the wire, int16 `[N, 2]`, read-only."""
    return np.frombuffer(payload[: len(payload) // 4 * 4], np.int16).reshape(-1, 2)


def _facts(message: dict[str, Any], order: Order) -> ClipFacts:
    """The child's facts, if they can be true."""
    try:
        facts = clip_from_plain(message.get("facts"))
    except (ValueError, ZeroDivisionError) as error:
        raise ClipBroken(kind=order.kind.words) from error
    fits = max(facts.width, facts.height) <= order.limits.working_side and facts.num_frames <= order.limits.max_frames
    if not fits or facts.num_frames / facts.fps > Fraction(order.limits.max_seconds + _LONGEST_BEAT):
        raise ClipBroken(kind=order.kind.words)
    return facts


class _Decoded(FrameSpool):
    """A spool whose file was filled by the child."""

    def __init__(self, file: IO[bytes], facts: ClipFacts, sound: Sound | None) -> None:
        super().__init__(facts.width, facts.height, facts.fps, channels=facts.channels)
        self._file.close()
        self._file = file
        self.count, self.sound = facts.num_frames, sound
