"""When frames are to be made, and between which two: cuts, repeated frames, and the moments of the new rate."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from inference.systems.base import Frame, Tick
from jobs.requests.smooth import frames_given

Thumbnail = NDArray[np.float32]
"""`[32, 32, 3]` in 0 … 1."""

SIDE = 32
CUT = 0.2
"""Practical-RIFE: less alike than that, and there is a cut between them."""
DOUBTFUL = 0.5
"""Ours: below this it is a cut too, where colours change and the frames around are far more alike."""
OTHER_COLOURS = 0.35
"""The part of a picture's colours that the other does not have, from which on they have changed."""
OUTSTANDING = 3.0
"""How much a cut stands out from the changes around it."""
AROUND = 4
SAME_MEAN, SAME_PEAK = 0.5, 6.0
"""Levels of 255 by which one frame may differ from the next and still be the same, coded twice."""
LONGEST_REPEAT = 3
"""A picture that stands for longer is meant to stand."""


class Reel(Protocol):
    """Frames of one size, to be read in any order."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Frame: ...


class Between(NamedTuple):
    """One frame to come: at `t` between the frames `left` and `right`; with `t` 0 it is `left` itself."""

    left: int
    right: int
    t: float


@dataclass(frozen=True)
class Look:
    """What was seen in a clip of `count` frames: after which frames there is a cut, which frames repeat the one before.

    The frame after the last one is the first.
    """

    count: int
    cuts: frozenset[int] = frozenset()
    repeats: frozenset[int] = frozenset()


def _blur(size: int, window: int = 11, sigma: float = 1.5) -> NDArray[np.float64]:
    """A Gaussian as a matrix `[size, size]`; beyond the end, the end."""
    reach = window // 2
    offsets = np.arange(window) - reach
    weights = np.exp(-(offsets**2) / (2 * sigma**2))
    weights /= weights.sum()
    matrix = np.zeros((size, size))
    for row in range(size):
        np.add.at(matrix[row], np.clip(row + offsets, 0, size - 1), weights)
    return matrix


_ROWS, _CHANNELS = _blur(SIDE), _blur(3)


def ssim(first: NDArray[Any], second: NDArray[Any]) -> float:
    """Structural similarity of two thumbnails, -1 … 1, smoothed over colours as over rows and columns.

    That is how Practical-RIFE counts, so its thresholds hold.
    """
    x, y = first.astype(np.float64), second.astype(np.float64)

    def smooth(field: NDArray[np.float64]) -> NDArray[np.float64]:
        across = np.einsum("hi,wj,ijc->hwc", _ROWS, _ROWS, field, optimize=True)
        return across @ _CHANNELS.T

    mean_x, mean_y = smooth(x), smooth(y)
    spread = smooth(x * x) - mean_x**2 + smooth(y * y) - mean_y**2
    shared = smooth(x * y) - mean_x * mean_y
    low, contrast = 0.01**2, 0.03**2
    likeness = (2 * mean_x * mean_y + low) * (2 * shared + contrast)
    return float((likeness / ((mean_x**2 + mean_y**2 + low) * (spread + contrast))).mean())


def thumbnail(frame: Frame) -> Thumbnail:
    """The whole frame averaged into 32 × 32: noise and fine texture say nothing about cuts."""
    small = cv2.resize(np.ascontiguousarray(frame[..., :3]), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.float32) / np.float32(255)


def colours(small: Thumbnail) -> NDArray[np.float64]:
    """How much of each of 64 colours there is, `[64]`, in parts of 1."""
    bins = np.minimum((small * 4).astype(int), 3)
    index = (bins[..., 0] * 4 + bins[..., 1]) * 4 + bins[..., 2]
    return np.bincount(index.ravel(), minlength=64) / index.size


def looked(frames: Reel, tick: Tick) -> Look:
    """Go over a clip once: cuts and repeats, the seam from the last frame to the first among them."""
    count = len(frames)
    changes: list[float] = []
    strange: list[float] = []
    repeats: set[int] = set()
    before = first = frames[0]
    seen = opening = thumbnail(first)
    for index in range(1, count + 1):
        tick("looking", index, count)
        frame = frames[index] if index < count else first
        small = thumbnail(frame) if index < count else opening
        changes.append(1 - ssim(seen, small))
        strange.append(1 - float(np.minimum(colours(seen), colours(small)).sum()))
        if index < count and same(before, frame):
            repeats.add(index)
        before, seen = frame, small
    cuts = frozenset(index for index in range(count) if _cuts(index, changes, strange))
    return Look(count, cuts, frozenset(repeats))


def _cuts(index: int, changes: Sequence[float], strange: Sequence[float]) -> bool:
    change = changes[index]
    if change > 1 - CUT:
        return True
    low, high = max(0, index - AROUND), min(len(changes), index + AROUND + 1)
    around = [changes[other] for other in range(low, high) if other != index]
    usual = float(np.median(around)) if around else 0.0
    return change > 1 - DOUBTFUL and strange[index] > OTHER_COLOURS and change > OUTSTANDING * usual


def same(first: Frame, second: Frame) -> bool:
    """Whether one frame is the other again, but for what a codec does to it."""
    difference = cv2.absdiff(np.ascontiguousarray(first), np.ascontiguousarray(second))
    if float(difference.mean()) > SAME_MEAN:
        return False
    return float(np.percentile(difference, 99.9)) <= SAME_PEAK


def keys(look: Look) -> list[int]:
    """Frames to go by: all but those that repeat another for a moment, as clips brought to a higher rate have them."""
    kept: list[int] = []
    standing: list[int] = []
    for index in range(look.count):
        if index in look.repeats:
            standing.append(index)
            continue
        kept += _told(standing)
        standing = [index]
    return kept + _told(standing)


def _told(standing: list[int]) -> list[int]:
    return standing if len(standing) > LONGEST_REPEAT else standing[:1]


def instants(count: int, fps: Fraction, rate: Fraction, loop: bool) -> Iterator[Fraction]:
    """Where each new frame lies, in frames of the clip. A loop is divided evenly, so that its seam is a step as any."""
    given = frames_given(count, fps, rate, loop)
    step = Fraction(count, given) if loop else fps / rate
    return (index * step for index in range(given))


def plan(look: Look, moments: Iterable[Fraction], loop: bool) -> Iterator[Between]:
    """What each new frame is made of. Over a cut nothing is mixed: the frame before it stands until the next is due.

    Args:
        look: what was seen in the clip.
        moments: where the new frames lie, rising.
        loop: whether the last frame leads to the first again.
    """
    known = keys(look)
    ends = [*known[1:], look.count]
    place = 0
    for moment in moments:
        while ends[place] <= moment and place < len(known) - 1:
            place += 1
        left, right = known[place], ends[place]
        if moment == left or (right == look.count and not loop):
            yield Between(min(math.floor(moment), look.count - 1), left, 0.0)
        elif look.cuts & set(range(left, right)):
            yield Between(math.floor(moment), left, 0.0)
        else:
            yield Between(left, right % look.count, float((moment - left) / (right - left)))
