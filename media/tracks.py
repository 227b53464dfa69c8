"""Sums over sound, int16 `[N, 2]` at 48 kHz: cut, matched to a picture's length, faded, joined, closed to a ring."""

import math
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from media.frames import SOUND_RATE, Sound

Ramp = NDArray[np.float32]
JOIN_SAMPLES = SOUND_RATE // 50
"""20 ms: what two pieces lie over each other so that no click is heard."""


def samples(num_frames: int, fps: Fraction) -> int:
    """How many samples so many frames last."""
    return round(num_frames / fps * SOUND_RATE)


def silence(length: int) -> Sound:
    """So many samples of nothing."""
    return np.zeros((length, 2), np.int16)


def as_sound(levels: NDArray[np.floating]) -> Sound:
    """Levels in units of int16, clipped and rounded."""
    return np.clip(np.rint(levels), -32768, 32767).astype(np.int16)


def cut(sound: Sound, start: int, length: int) -> Sound:
    """`length` samples from `start` on; silence where there is no more."""
    piece = sound[start : start + length]
    return piece if len(piece) == length else np.concatenate([piece, silence(length - len(piece))])


def fade_in(length: int) -> Ramp:
    """`[length, 1]`, 0..1, of equal power with its own reverse: two unlike sounds stay as loud while they change."""
    return np.sin(np.linspace(0, math.pi / 2, length, dtype=np.float32))[:, None]


def mixed_over(leaving: Sound, arriving: Sound) -> Sound:
    """Two sounds of one length: one fades out while the other fades in."""
    ramp = fade_in(len(leaving))
    return as_sound(leaving * ramp[::-1] + arriving * ramp)


def joined(first: Sound, second: Sound, overlap: int) -> Sound:
    """One after the other, `overlap` samples of them mixed over each other."""
    head, tail = first[: len(first) - overlap], second[overlap:]
    return np.concatenate([head, mixed_over(first[len(first) - overlap :], second[:overlap]), tail])


def ring(sound: Sound, overlap: int) -> Sound:
    """Without its first `overlap` samples, into which its last ones turn: it can follow itself without a break."""
    return np.concatenate(
        [sound[overlap : len(sound) - overlap], mixed_over(sound[len(sound) - overlap :], sound[:overlap])]
    )


def repeated(sound: Sound, length: int) -> Sound:
    """`length` samples: cut where it is longer, begun again without a click where it is shorter; empty is silent."""
    if len(sound) >= length or not len(sound):
        return cut(sound, 0, length)
    overlap = min(JOIN_SAMPLES, len(sound) // 2)
    if not overlap:
        return np.resize(sound, (length, 2))
    round_again = ring(sound, overlap)
    times = math.ceil(length / len(round_again))
    return cut(np.concatenate([sound[:overlap], np.tile(round_again, (times, 1))]), 0, length)


def faded_out(sound: Sound, length: int) -> Sound:
    """Its last `length` samples become silent, evenly to the ear."""
    length = min(length, len(sound))
    faded = sound.copy()
    faded[len(sound) - length :] = as_sound(sound[len(sound) - length :] * fade_in(length)[::-1])
    return faded
