"""Sound that lasts longer or shorter at the pitch it had: WSOLA (Verhelst, Roelands 1993).

Windows are taken from the sound at one pace and laid over each other at another; each is moved a little to where it
best continues the one before.
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from media.frames import SOUND_RATE, Sound
from media.tracks import as_sound, cut

WINDOW = SOUND_RATE * 4 // 100
"""40 ms: some periods of a low voice."""
HOP = WINDOW // 2
REACH = SOUND_RATE // 100
"""10 ms to either side, within which the best continuation is looked for: a period of 50 Hz."""
COARSE = 4
"""It is looked for in every so manieth sample first, and then around the best of these."""

Levels = NDArray[np.float32]


def stretched(sound: Sound, length: int) -> Sound:
    """`sound` `[N, 2]` as `length` samples, faster or slower at its own pitch."""
    if len(sound) < 2 * WINDOW or not length:
        return cut(sound, 0, length)
    levels = np.pad(sound.astype(np.float32), ((REACH, WINDOW + HOP + REACH), (0, 0)))
    mono = levels.mean(axis=1)
    window = np.hanning(WINDOW + 1)[:WINDOW].astype(np.float32)[:, None]
    laid = np.zeros((length + 2 * WINDOW, 2), np.float32)
    laid[:HOP] = levels[REACH : REACH + HOP] * (1 - window[:HOP])  # the first window has none before it
    place = REACH
    for start in range(0, length + HOP, HOP):
        if start:
            wanted = REACH + min(round(start * len(sound) / length), len(sound))
            place = _best(mono, place + HOP, wanted)
        laid[start : start + WINDOW] += levels[place : place + WINDOW] * window
    return as_sound(laid[:length])


def _best(mono: Levels, follows: int, wanted: int) -> int:
    """Where, within reach of `wanted`, the sound is most like what follows the last window."""
    model = mono[follows : follows + WINDOW]
    low, high = wanted - REACH, wanted + REACH
    region = mono[low : high + WINDOW]
    coarse = low + COARSE * _likest(region[::COARSE], model[::COARSE])
    near, far = max(low, coarse - COARSE), min(high, coarse + COARSE)
    return near + _likest(mono[near : far + WINDOW], model)


def _likest(region: Levels, model: Levels) -> int:
    """The offset at which `region` is most like `model`, whatever its loudness."""
    pieces = sliding_window_view(region, len(model))
    sizes = np.sqrt(np.einsum("ij,ij->i", pieces, pieces) + 1.0)
    return int(np.argmax((pieces @ model) / sizes))
