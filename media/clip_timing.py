"""From the times at which frames come to a steady rate, and which frame is shown at each of its beats."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

MOST_FPS = 60
"""Slow-motion recordings of 120 or 240 frames a second are thinned out to this or less."""
LEAST_FPS = 1
"""A slide show's frames are repeated, so that nothing later has to think in frames of several seconds."""
OVERHANG = Fraction(1, 50)
"""So much over the most frames is cut off at the end instead of halving the rate for it."""
_JITTER = Fraction(9, 20)
"""Frames that come within this part of a beat around it are steady."""
_USUAL = tuple(
    Fraction(rate)
    for rate in ("5", "6", "8", "10", "12", "25/2", "15", "20", "24000/1001", "24", "25", "30000/1001", "30", "100/3")
) + tuple(Fraction(rate) for rate in ("48", "50", "60000/1001", "60", "90", "100", "120", "240"))
_SNAP = 0.001
_SHORT = 1001
"""No rate has a larger denominator: NTSC's are exact so, and encoders' clocks take them. A minute is off by 0.06 frames
at most."""


@dataclass(frozen=True)
class Timeline:
    """A steady clip made of a source's frames."""

    fps: Fraction
    picks: tuple[int, ...]
    """The source's frame at each beat, never falling."""
    uneven: bool
    """The source had no steady rate."""
    thinned: bool
    """The source had more frames than are used."""


def timeline(starts: Sequence[Fraction], hold: Fraction | None, max_frames: int) -> Timeline:
    """The steady clip nearest to frames that begin at `starts` (seconds, rising, two or more).

    `hold` is how long the last one stays; None where the file does not say.
    """
    rate, steady = _rate(starts)
    if not hold or hold < 0:
        hold = 1 / rate
    length = starts[-1] - starts[0] + hold
    fps = _within(rate, length, max_frames)
    count = min(max_frames, max(2, round(length * fps)))
    picks = tuple(_picks(starts, fps, count))
    return Timeline(fps, picks, uneven=not steady, thinned=fps < rate)


def _picks(starts: Sequence[Fraction], fps: Fraction, count: int) -> Iterator[int]:
    """The frame on screen in the middle of each beat: half a beat of jitter either way changes nothing."""
    at = 0
    for beat in range(count):
        middle = starts[0] + (beat + Fraction(1, 2)) / fps
        while at + 1 < len(starts) and starts[at + 1] <= middle:
            at += 1
        yield at


def _rate(starts: Sequence[Fraction]) -> tuple[Fraction, bool]:
    """The rate at which the frames come, and whether they keep to it."""
    steps = sorted(later - earlier for earlier, later in pairwise(starts))
    average = (len(starts) - 1) / (starts[-1] - starts[0])
    # A container that counts in milliseconds is up to one off at either end, which is much in a clip of few frames.
    unsure = _SNAP + 0.001 / float(starts[-1] - starts[0])
    common = _common(steps)
    if common is not None and steps[0] < steps[-1]:
        return common, False
    for rate in (_snapped(average, unsure), average.limit_denominator(_SHORT)):
        if rate > 0 and _steady(starts, rate):
            return rate, True
    # Most recordings with gaps run at their full rate in between; a fifth of the steps may be shorter by jitter.
    return _snapped(min(1 / steps[len(steps) // 5], Fraction(MOST_FPS)), 0.02), False


def _steady(starts: Sequence[Fraction], fps: Fraction) -> bool:
    return all(abs((start - starts[0]) * fps - beat) <= _JITTER for beat, start in enumerate(starts))


def _common(steps: Sequence[Fraction]) -> Fraction | None:
    """The slowest rate in which every step is a whole number of beats, as in most GIFs; None where it is very fast.

    In short numbers: a file may be made so that the exact one is a billion over twenty million.
    """
    scale = math.lcm(*{step.denominator for step in steps})
    beat = Fraction(math.gcd(*{int(step * scale) for step in steps}), scale)
    return (1 / beat).limit_denominator(_SHORT) or 1 / beat if beat * MOST_FPS >= 1 else None


def _snapped(rate: Fraction, tolerance: float) -> Fraction:
    """The usual rate that is meant, or this one in short numbers."""
    nearest = min(_USUAL, key=lambda usual: abs(usual - rate))
    return nearest if abs(nearest / rate - 1) <= tolerance else rate.limit_denominator(_SHORT) or rate


def _within(rate: Fraction, length: Fraction, max_frames: int) -> Fraction:
    """The rate divided or multiplied by a whole number until it is neither too fast nor too slow."""
    if rate < LEAST_FPS:
        rate *= math.ceil(LEAST_FPS / rate)
    most = min(Fraction(MOST_FPS) * (1 + OVERHANG), max_frames * (1 + OVERHANG) / length)
    return rate / max(1, math.ceil(rate / most))
