"""A stranger's sound, read safely: 48 kHz stereo, or a sentence; decoded by the same bounded child as clips are."""

import asyncio
from pathlib import Path

from media.clip_facts import SoundFacts
from media.clip_limits import ClipLimits, SoundBroken, check_sound_kind, declared_sound_refusal
from media.clip_process import Launch, Order, ask, launch
from media.clips import looked_at, sound_of
from media.frames import SOUND_RATE, Sound

__all__ = ["SoundFacts", "declared_sound_refusal", "decode_sound", "probe_sound"]


async def probe_sound(path: Path, limits: ClipLimits, start: Launch = launch) -> SoundFacts:
    """How long it plays: everything is decoded once and nothing kept. Videos count for their sound.

    Raises:
        Refusal: one of `clip_limits`; never anything else, whatever the bytes.
    """
    samples, _ = await _read(path, limits, start, keep=False)
    return SoundFacts(samples / SOUND_RATE)


async def decode_sound(path: Path, limits: ClipLimits, start: Launch = launch) -> Sound:
    """All of it as int16 `[N, 2]` at 48 kHz, read-only.

    Raises:
        Refusal: one of `clip_limits`.
    """
    samples, payload = await _read(path, limits, start, keep=True)
    sound = sound_of(payload)
    if len(sound) != samples:
        raise SoundBroken(kind="a sound")
    return sound


async def _read(path: Path, limits: ClipLimits, start: Launch, *, keep: bool) -> tuple[int, bytes]:
    kind = await asyncio.to_thread(looked_at, path, limits)
    check_sound_kind(kind)
    order = Order("decode_sound" if keep else "probe_sound", path, kind, limits)
    most = round((limits.max_sound_seconds + 1) * SOUND_RATE)
    message, payload = await ask(order, most * 4 if keep else 0, start)
    samples = message.get("samples")
    if type(samples) is not int or not 0 < samples <= most:
        raise SoundBroken(kind=kind.words)
    return samples, payload
