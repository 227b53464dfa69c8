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

from inference.systems.base import Frame

Field = NDArray[np.float32]
"""`[H, W]` or `[H, W, C]`."""

LONGEST_SIDE = 960
"""Motion is looked for in a picture of that size at most."""
SMALLEST_SIDE = 32
"""Below that there is no flow to be found, and frames are mixed as they are."""
STRAY = 1.0
"""Pixels by which there and back may miss and still be believed by about a third."""
UNLIKE = 25.0
"""Levels of grey that a place may change on its way and still be believed by about a third."""
BARELY = 1e-3
"""So much is any place believed, so that there is always something to mix."""
BACKDROP = 128.0


@dataclass(frozen=True)
class Dis:
    """How DIS looks: OpenCV's preset, and what is changed of it."""

    preset: int = cv2.DISOPTICAL_FLOW_PRESET_MEDIUM
    finest_scale: int | None = 0
    patch_stride: int | None = None
    iterations: int | None = None

    def build(self) -> cv2.DISOpticalFlow:
        """A fresh one: it remembers nothing, so that the same frames give the same flow."""
        dis = cv2.DISOpticalFlow.create(self.preset)
        if self.finest_scale is not None:
            dis.setFinestScale(self.finest_scale)
        if self.patch_stride is not None:
            dis.setPatchStride(self.patch_stride)
        if self.iterations is not None:
            dis.setVariationalRefinementIterations(self.iterations)
        return dis


MEASURED = Dis()


@dataclass(frozen=True)
class Sides:
    """What is known of a pair, from either end: `[h, w, 2]` flow in pixels and `[h, w]` belief in it, 0 … 1."""

    forward: Field
    backward: Field
    forward_belief: Field
    backward_belief: Field


class FlowMaker:
    """Interpolates by optical flow; the same on every machine with the same OpenCV."""

    label = "optical flow"

    def __init__(self, dis: Dis = MEASURED) -> None:
        self.dis = dis

    def between(self, first: Frame, second: Frame, times: Sequence[float]) -> Iterator[Frame]:
        """Flow once, then each moment."""
        sheets = [sheet_of(frame) for frame in (first, second)]
        if min(first.shape[:2]) < SMALLEST_SIDE:
            yield from (frame_of(np.asarray(sheets[0] * (1 - t) + sheets[1] * t, np.float32)) for t in times)
            return
        grey = [grey_of(sheet) for sheet in sheets]
        sides = seen(grey[0], grey[1], self.dis)
        for t in times:
            yield frame_of(mixed(sheets[0], sheets[1], sides, np.float32(t)))


# -- sheets: float32, colours multiplied by alpha --


def sheet_of(frame: Frame) -> Field:
    """`[H, W, 3 or 4]` in 0 … 255."""
    sheet = frame.astype(np.float32)
    if sheet.shape[2] == 4:
        sheet[..., :3] *= sheet[..., 3:] / 255
    return sheet


def frame_of(sheet: Field) -> Frame:
    """The frame again, rounded; where there is no alpha to speak of, black."""
    if sheet.shape[2] == 4:
        alpha = np.clip(sheet[..., 3:], 0, 255)
        sheet = np.concatenate([np.where(alpha > 0.5, sheet[..., :3] * 255 / np.maximum(alpha, 0.5), 0), alpha], axis=2)
    return np.clip(np.rint(sheet), 0, 255).astype(np.uint8)


def grey_of(sheet: Field) -> NDArray[np.uint8]:
    """What DIS sees, `[h, w]`: something transparent stands before mid-grey; reduced where it is large."""
    colour = sheet[..., :3]
    if sheet.shape[2] == 4:
        colour = colour + (255 - sheet[..., 3:]) * (BACKDROP / 255)
    grey = cv2.cvtColor(np.ascontiguousarray(colour), cv2.COLOR_RGB2GRAY)
    height, width = grey.shape
    reduction = LONGEST_SIDE / max(height, width)
    if reduction < 1:
        size = max(SMALLEST_SIDE, round(width * reduction)), max(SMALLEST_SIDE, round(height * reduction))
        grey = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
    return np.clip(np.rint(grey), 0, 255).astype(np.uint8)


# -- flow --


def seen(first: NDArray[np.uint8], second: NDArray[np.uint8], dis: Dis) -> Sides:
    """Flow from either frame to the other, and how far each place is to be believed."""
    forward, backward = (
        np.asarray(dis.build().calc(one, other, None), np.float32)  # pyright: ignore[reportCallIssue, reportArgumentType]
        for one, other in ((first, second), (second, first))
    )
    return Sides(
        forward,
        backward,
        belief(first, second, forward, backward),
        belief(second, first, backward, forward),
    )


def belief(here: NDArray[np.uint8], there: NDArray[np.uint8], way: Field, back: Field) -> Field:
    """How far a flow is to be believed: it comes back to where it left, and arrives at what it left with."""
    stray = np.square(way + moved(back, way)).sum(axis=-1)
    unlike = np.square(here.astype(np.float32) - moved(there.astype(np.float32), way))
    far = np.square(way).sum(axis=-1)
    return np.exp(-stray / (STRAY**2 + 0.01 * far) - unlike / UNLIKE**2).astype(np.float32)


def places(height: int, width: int) -> tuple[Field, Field]:
    """Column and row of every pixel, `[height, width]` each."""
    down, across = np.mgrid[0:height, 0:width].astype(np.float32)
    return across, down


def moved(sheet: Field, way: Field) -> Field:
    """The sheet seen at each pixel plus `way`; beyond the border, the border."""
    across, down = places(*way.shape[:2])
    across, down = across + way[..., 0], down + way[..., 1]
    seen_there = cv2.remap(sheet, across, down, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(seen_there, np.float32)


def mixed(first: Field, second: Field, sides: Sides, t: np.float32) -> Field:
    """The sheet at `t`: motion carried there, both sheets fetched along it, and mixed by who shows the place."""
    motion = motion_at(sides, t)
    to_first, to_second = -t * motion, (1 - t) * motion
    agrees_first = agreement(sides.forward, motion, to_first)
    agrees_second = agreement(-sides.backward, motion, to_second)
    share_first = (1 - t) * (agrees_first + BARELY)
    share_second = t * (agrees_second + BARELY)
    share = share_first / (share_first + share_second)
    height, width = first.shape[:2]
    share, to_first, to_second = (enlarged(field, width, height) for field in (share, to_first, to_second))
    ratio = np.array([width / motion.shape[1], height / motion.shape[0]], np.float32)
    share = share[..., None]
    both = moved(first, to_first * ratio) * share + moved(second, to_second * ratio) * (1 - share)
    return np.asarray(both, np.float32)


def agreement(way: Field, motion: Field, to: Field) -> Field:
    """Whether what is fetched from a frame does move as the place it is fetched for."""
    stray = np.square(moved(way, to) - motion).sum(axis=-1)
    return np.exp(-stray / (STRAY**2 + 0.01 * np.square(motion).sum(axis=-1))).astype(np.float32)


def enlarged(field: Field, width: int, height: int) -> Field:
    """To the size of the frame."""
    if field.shape[:2] == (height, width):
        return field
    return np.asarray(cv2.resize(field, (width, height)), np.float32)


def motion_at(sides: Sides, t: np.float32) -> Field:
    """Motion from the first frame to the second as it passes at `t`, `[h, w, 2]`."""
    height, width = sides.forward.shape[:2]
    sums = np.zeros((height * width, 3))
    for way, trust, part, nearness in (
        (sides.forward, sides.forward_belief, t, 1 - t),
        (-sides.backward, sides.backward_belief, t - 1, t),
    ):
        splat(sums, way, way * part, (trust + BARELY) * nearness)
    return filled(sums.reshape(height, width, 3).astype(np.float32))


def splat(sums: NDArray[np.float64], value: Field, by: Field, weight: Field) -> None:
    """Lay each pixel's `value` and `weight` down where it is carried `by`, shared among the four pixels around."""
    height, width = weight.shape
    across, down = places(height, width)
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


def filled(sums: Field) -> Field:
    """Divide by the weight; where none came to lie, motion comes from around, from as far as it takes."""
    levels = [sums]
    while min(levels[-1].shape[:2]) > 2:
        half = cv2.resize(levels[-1], None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        levels.append(np.asarray(half, np.float32))
    motion = levels[-1][..., :2] / np.maximum(levels[-1][..., 2:], 1e-12)
    for level in reversed(levels[:-1]):
        height, width = level.shape[:2]
        around = cv2.resize(motion, (width, height), interpolation=cv2.INTER_LINEAR)
        there = np.clip(level[..., 2:] / 0.05, 0, 1)
        motion = there * level[..., :2] / np.maximum(level[..., 2:], 1e-12) + (1 - there) * around
    return np.asarray(motion, np.float32)
