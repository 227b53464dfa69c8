"""Frames of a flat move: the picture seen through a homography, sharp at every zoom and free of shimmer."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import ceil, log
from typing import TypeVar

import cv2
import numpy as np
from PIL import Image

from inference.systems.base import Frame, Tick
from inference.systems.parallax.window import Matrix, Window, scale_in_middle

STEP = 1.35
"""Neighbouring levels differ by this factor at most: less than the eye sees as a change of sharpness when blended."""
OVERSAMPLING = 2.0
"""OpenCV's cubic (a = -0.75) bends positions by 5 % of a pixel and dims fine detail halfway between two pixels."""
LONGEST_LEVEL = 16_384
"""OpenCV counts source pixels in 16 bits."""

WORKERS = min(8, os.cpu_count() or 1)

V = TypeVar("V")


@dataclass(frozen=True)
class Level:
    """The picture, antialiased for a view in which one output pixel stands for `reduction` of its pixels."""

    reduction: float
    pixels: Frame
    from_picture: Matrix
    """Picture coordinates to this level's pixel indices."""


def planar_frames(picture: Image.Image, window: Window, matrices: Sequence[Matrix], tick: Tick) -> Iterator[Frame]:
    """One frame for each homography, made when it is read."""
    levels = levels_for(picture, [scale_in_middle(matrix, window) for matrix in matrices])
    return in_order(lambda matrix: _blended(levels, matrix, window), matrices, tick)


def in_order(frame_of: Callable[[V], Frame], views: Sequence[V], tick: Tick) -> Iterator[Frame]:
    """Every view's frame, made on all cores a little before it is read. OpenCV and numpy work without the GIL."""
    with ThreadPoolExecutor(WORKERS) as pool:
        ahead = deque(pool.submit(frame_of, view) for view in views[:WORKERS])
        for index in range(len(views)):
            if index + WORKERS < len(views):
                ahead.append(pool.submit(frame_of, views[index + WORKERS]))
            yield ahead.popleft().result()
            tick("moving", index + 1, len(views))


def levels_for(picture: Image.Image, scales: Sequence[float]) -> list[Level]:
    """As many reductions of the picture as the least and the greatest scale need; never an enlargement."""
    floor = max(1.0, max(picture.size) / LONGEST_LEVEL)
    least, greatest = max(floor, min(scales)), max(floor, *scales)
    steps = ceil(log(greatest / least) / log(STEP) - 0.1)  # a tenth of a step does not deserve a level
    if steps <= 0:
        return [reduced(picture, (least * greatest) ** 0.5)]
    return [reduced(picture, least * (greatest / least) ** (i / steps)) for i in range(steps + 1)]


def reduced(picture: Image.Image, reduction: float, oversampling: float = OVERSAMPLING) -> Level:
    """The picture without detail finer than `reduction` pixels, sampled `oversampling` times finer than that needs."""
    width, height = _divided(picture.size, reduction)
    smaller = picture if reduction == 1 else picture.resize((width, height), Image.Resampling.LANCZOS)
    width, height = _divided(picture.size, max(reduction / oversampling, max(picture.size) / LONGEST_LEVEL))
    pixels = np.asarray(smaller.resize((width, height), Image.Resampling.LANCZOS))
    x, y = width / picture.width, height / picture.height
    return Level(reduction, pixels, np.array([[x, 0, -0.5], [0, y, -0.5], [0, 0, 1]]))


def _divided(size: tuple[int, int], by: float) -> tuple[int, int]:
    return max(1, round(size[0] / by)), max(1, round(size[1] / by))


def _blended(levels: Sequence[Level], matrix: Matrix, window: Window) -> Frame:
    """The view, from the two levels whose sharpness lies around what it needs."""
    scale = scale_in_middle(matrix, window)
    above = next((i for i, level in enumerate(levels) if level.reduction >= scale), len(levels) - 1)
    if above == 0:
        return seen(levels[0], matrix, window)
    finer, coarser = levels[above - 1], levels[above]
    share = min(1.0, max(0.0, log(scale / finer.reduction) / log(coarser.reduction / finer.reduction)))
    fine, coarse = seen(finer, matrix, window), seen(coarser, matrix, window)
    return cv2.addWeighted(fine, 1 - share, coarse, share, 0).astype(np.uint8, copy=False)


def seen(level: Level, matrix: Matrix, window: Window) -> Frame:
    """One level through one homography, with cubic interpolation at exact (not quantised) positions."""
    centres = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
    return cv2.warpPerspective(
        level.pixels,
        level.from_picture @ matrix @ centres,
        (window.out_width, window.out_height),
        flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,  # the view stays inside; only the cubic's outer taps can reach over the rim
    ).astype(np.uint8, copy=False)
