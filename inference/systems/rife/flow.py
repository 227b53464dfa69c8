"""Frames between frames without weights: optical flow both ways (DIS, Kroeger et al. 2016), carried to the moment, and
of each place the frame that shows it.

Settings were chosen with `benchmarks/smooth.py --tune`; README.md has the table.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from inference.flow import LEAST_SIDE, Dis, Floats, Grey, dis, resized_flow, warp
from inference.holes import filled
from inference.systems.base import Frame
from media.mixing import Weighed, unweighed, weighed

LONGEST_SIDE = 960
"""Motion is looked for in a picture of that size at most."""
STRAY = 1.0
"""Pixels by which there and back may miss and still be believed by about a third."""
UNLIKE = 25.0
"""Levels of grey that a place may change on its way and still be believed by about a third."""
BARELY = 1e-3
"""So much is any place believed, so that there is always something to mix."""
BACKDROP = 128.0


MEASURED = Dis(finest_scale=0)
"""Down to single pixels: README.md has the table."""


@dataclass(frozen=True)
class Sides:
    """What is known of a pair, from either end: `[h, w, 2]` flow in pixels and `[h, w]` belief in it, 0 … 1."""

    forward: Floats
    backward: Floats
    forward_belief: Floats
    backward_belief: Floats


class FlowMaker:
    """Interpolates by optical flow; the same on every machine with the same OpenCV."""

    label = "optical flow"

    def __init__(self, how: Dis = MEASURED) -> None:
        self.how = how

    def between(self, first: Frame, second: Frame, times: Sequence[float]) -> Iterator[Frame]:
        """Flow once, then each moment."""
        sheets = [weighed(frame) for frame in (first, second)]
        grey = [grey_of(sheet) for sheet in sheets]
        sides = seen(grey[0], grey[1], self.how)
        for t in times:
            yield unweighed(mixed(sheets[0], sheets[1], sides, np.float32(t)))


def grey_of(sheet: Weighed) -> Grey:
    """What DIS sees, `[h, w]`: something transparent stands before mid-grey; reduced where it is large."""
    colour = sheet[..., :3]
    if sheet.shape[2] == 4:
        colour = colour + (255 - sheet[..., 3:]) * (BACKDROP / 255)
    grey = cv2.cvtColor(np.ascontiguousarray(colour), cv2.COLOR_RGB2GRAY)
    height, width = grey.shape
    reduction = LONGEST_SIDE / max(height, width)
    if reduction < 1:
        size = max(LEAST_SIDE, round(width * reduction)), max(LEAST_SIDE, round(height * reduction))
        grey = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
    return np.clip(np.rint(grey), 0, 255).astype(np.uint8)


# -- flow --


def seen(first: Grey, second: Grey, how: Dis) -> Sides:
    """Flow from either frame to the other, and how far each place is to be believed."""
    forward, backward = dis(first, second, how), dis(second, first, how)
    return Sides(
        forward,
        backward,
        belief(first, second, forward, backward),
        belief(second, first, backward, forward),
    )


def belief(here: Grey, there: Grey, way: Floats, back: Floats) -> Floats:
    """How far a flow is to be believed: it comes back to where it left, and arrives at what it left with."""
    stray = np.square(way + warp(back, way)).sum(axis=-1)
    unlike = np.square(here.astype(np.float32) - warp(there.astype(np.float32), way))
    far = np.square(way).sum(axis=-1)
    return np.exp(-stray / (STRAY**2 + 0.01 * far) - unlike / UNLIKE**2).astype(np.float32)


def mixed(first: Weighed, second: Weighed, sides: Sides, t: np.float32) -> Weighed:
    """The sheet at `t`: motion carried there, both sheets fetched along it, and mixed by who shows the place."""
    motion = motion_at(sides, t)
    to_first, to_second = -t * motion, (1 - t) * motion
    agrees_first = agreement(sides.forward, motion, to_first)
    agrees_second = agreement(-sides.backward, motion, to_second)
    share_first = (1 - t) * (agrees_first + BARELY)
    share_second = t * (agrees_second + BARELY)
    share = share_first / (share_first + share_second)
    height, width = first.shape[:2]
    share = cv2.resize(share, (width, height))[..., None]
    to_first, to_second = (resized_flow(way, width, height) for way in (to_first, to_second))
    both = warp(first, to_first) * share + warp(second, to_second) * (1 - share)
    return np.asarray(both, np.float32)


def agreement(way: Floats, motion: Floats, to: Floats) -> Floats:
    """Whether what is fetched from a frame does move as the place it is fetched for."""
    stray = np.square(warp(way, to) - motion).sum(axis=-1)
    return np.exp(-stray / (STRAY**2 + 0.01 * np.square(motion).sum(axis=-1))).astype(np.float32)


def motion_at(sides: Sides, t: np.float32) -> Floats:
    """Motion from the first frame to the second as it passes at `t`, `[h, w, 2]`."""
    height, width = sides.forward.shape[:2]
    sums = np.zeros((height * width, 3))
    for way, trust, part, nearness in (
        (sides.forward, sides.forward_belief, t, 1 - t),
        (-sides.backward, sides.backward_belief, t - 1, t),
    ):
        splat(sums, way, way * part, (trust + BARELY) * nearness)
    return filled(sums.reshape(height, width, 3).astype(np.float32))


def splat(sums: NDArray[np.float64], value: Floats, by: Floats, weight: Floats) -> None:
    """Lay each pixel's `value` and `weight` down where it is carried `by`, shared among the four pixels around."""
    height, width = weight.shape
    down, across = np.mgrid[0:height, 0:width].astype(np.float32)
    x, y = across + by[..., 0], down + by[..., 1]
    left, top = np.floor(x), np.floor(y)
    for right in (0, 1):
        for below in (0, 1):
            column, row = (left + right).astype(np.int64), (top + below).astype(np.int64)
            share = weight * (1 - np.abs(x - column)) * (1 - np.abs(y - row))
            inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
            index = (row * width + column)[inside]
            for channel, amount in enumerate((value[..., 0] * share, value[..., 1] * share, share)):
                sums[:, channel] += np.bincount(index, amount[inside], minlength=height * width)
