"""How loud a sound is to the ear (ITU-R BS.1770-4, LUFS), and what brings it to where the web plays."""

import cmath
import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from media.frames import SOUND_RATE, Sound
from media.tracks import as_sound

TARGET_LUFS = -16.0
"""What phones and browsers are made for (AES TD1004); broadcasts use -23."""
PEAK = 10 ** (-1 / 20)
"""-1 dBFS: AAC overshoots what it is given."""
MOST_GAIN_DB = 30.0
"""More would make the noise of a near-silent track loud."""
ABSOLUTE_GATE, RELATIVE_GATE = -70.0, -10.0
HOP = SOUND_RATE // 10
"""Blocks of 400 ms begin every 100 ms."""
HOPS = 4

Levels = NDArray[np.float32]
"""`[N, 2]`, 1.0 is full scale: every int16 has its own."""
Wide = NDArray[np.float64]
"""Sums over a piece of sound, where float32 would add up its errors."""

_SHELF = ((1.53512485958697, -2.69169618940638, 1.19839281085285), (1.0, -1.69065929318241, 0.73248077421585))
_HIGH_PASS = ((1.0, -2.0, 1.0), (1.0, -1.99004745483398, 0.99007225036621))
"""The standard's two filters at 48 kHz, numerator and denominator: the head's effect, and deafness to low sounds."""
_CHUNK = 10 * SOUND_RATE
"""So many samples are looked at together, whole hops of them, so that memory does not grow with the sound."""
_TAIL = SOUND_RATE // 2
"""After so long the filters' memory has fallen below 1e-50 of what it was."""


def levels_of(sound: Sound) -> Levels:
    """Full scale is 1.0."""
    return sound.astype(np.float32) / np.float32(32768)


def _k_weighted(sound: Sound) -> Iterator[Wide]:
    """As the ear hears it, piece by piece: both filters by their frequency response."""
    size = _TAIL + _CHUNK
    response = _response(size)
    for start in range(0, len(sound), _CHUNK):
        before = np.zeros((max(0, _TAIL - start), 2))
        piece = np.concatenate([before, sound[max(0, start - _TAIL) : start + _CHUNK] / 32768])
        weighted = np.fft.irfft(np.fft.rfft(piece, size, axis=0) * response, size, axis=0)
        yield weighted[_TAIL : len(piece)]


def _response(size: int) -> NDArray[np.complex128]:
    back = np.exp(-2j * cmath.pi * np.fft.rfftfreq(size))[:, None]  # one sample's delay
    delays = np.concatenate([np.ones_like(back), back, back * back], axis=1)
    shelf, high_pass = (_quotient(delays, *filter_) for filter_ in (_SHELF, _HIGH_PASS))
    return (shelf * high_pass)[:, None]


def _quotient(
    delays: NDArray[np.complex128], above: tuple[float, ...], below: tuple[float, ...]
) -> NDArray[np.complex128]:
    return np.asarray(delays @ np.array(above) / (delays @ np.array(below)), np.complex128)


def loudness(sound: Sound) -> float:
    """Integrated loudness in LUFS: the mean over all 400 ms that are not silence; -inf where all is."""
    powers = _block_powers(sound)
    heard = powers[_lufs(powers) > ABSOLUTE_GATE]
    if not len(heard):
        return -math.inf
    heard = heard[_lufs(heard) > float(_lufs(heard.mean())) + RELATIVE_GATE]
    return float(_lufs(heard.mean()))


def _block_powers(sound: Sound) -> Wide:
    """Mean square of each block, summed over both channels. What is shorter than a block is one."""
    squares = (np.square(weighted).sum(axis=1) for weighted in _k_weighted(sound))
    if len(sound) < HOP * HOPS:
        return np.array([piece.mean() for piece in squares])
    hops = np.concatenate([piece[: len(piece) // HOP * HOP].reshape(-1, HOP).mean(axis=1) for piece in squares])
    summed = np.cumsum(np.concatenate([[0.0], hops]))
    return np.asarray((summed[HOPS:] - summed[:-HOPS]) / HOPS, np.float64)


def _lufs(power: Wide | float) -> Wide:
    return -0.691 + 10 * np.log10(np.maximum(power, 1e-30))


def normalised(sound: Sound, target: float = TARGET_LUFS) -> tuple[Levels, float]:
    """Levels of the sound at `target` LUFS, peaks not yet limited, and its own loudness; silence stays silent."""
    levels, heard = levels_of(sound), loudness(sound)
    if heard != -math.inf:
        levels *= np.float32(10 ** (min(target - heard, MOST_GAIN_DB) / 20))
    return levels, heard


def limited(levels: Levels) -> Sound:
    """No peak above -1 dBFS: the gain goes down 5 ms before each and comes back after, and nothing is clipped."""
    reach = SOUND_RATE // 200
    heard = np.empty(levels.shape, np.int16)
    for start in range(0, len(levels), _CHUNK):
        begin = max(0, start - reach)
        piece = levels[begin : start + _CHUNK + reach]
        gains = _gains(piece, reach)[start - begin :][:_CHUNK]
        heard[start : start + _CHUNK] = as_sound(levels[start : start + _CHUNK] * gains * 32768)
    return heard


def _gains(levels: Levels, reach: int) -> Wide:
    """What each sample is turned down by, `[N, 1]`: told by its neighbours within `reach`."""
    needed = np.minimum(1.0, PEAK / np.maximum(np.abs(levels).max(axis=1), 1e-9))
    if needed.min() == 1:
        return np.ones((len(levels), 1))
    lowest = _least_of(np.pad(needed, reach, constant_values=1.0), reach + 1)
    # Each mean is over places whose minimum holds the sample itself, so it is never above what that one needs.
    summed = np.cumsum(np.concatenate([[0.0], lowest]))
    return ((summed[reach + 1 :] - summed[: -reach - 1]) / (reach + 1))[:, None]


def _least_of(values: Wide, width: int) -> Wide:
    """The least of every `width` neighbours, `[N - width + 1]`, by doubling."""
    reach = 1
    while reach < width:
        step = min(reach, width - reach)
        values = np.minimum(values[:-step], values[step:])
        reach += step
    return values
