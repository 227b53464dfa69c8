"""Frames of a move through a picture with depth.

For each output pixel the first surface on its line of sight is found, from near to far (relief mapping: Policarpo,
Oliveira, Comba 2005). Where that line runs into a rim's side, which no picture shows, the layer behind is seen instead.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import ceil
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from inference.systems.base import Frame, Tick
from inference.systems.parallax.planar import in_order, reduced
from inference.systems.parallax.relief import STEP_OF_A_RIM, Field, Relief, relief_of
from inference.systems.parallax.trip import View
from inference.systems.parallax.window import Matrix, Window

LEVELS = 250
"""Disparity in 8 bits while surfaces are searched for: finer than the search's own steps."""
FEWEST_STEPS, MOST_STEPS = 8, 48
PIXELS_A_STEP = 1.25
"""How far a line of sight goes between two looks; thinner things could be missed."""
COLUMNS = 1024
"""Scattered pixels are sampled as rows of this length: OpenCV counts either side of its output in 16 bits."""


def deep_frames(
    picture: Image.Image, disparity: Field, window: Window, views: Sequence[View], tick: Tick
) -> Iterator[Frame]:
    """One frame for each view, made when it is read; `disparity` of the whole picture, at any resolution."""
    level = reduced(
        picture, max(1.0, 0.9 * window.scale), oversampling=1
    )  # a little finer than needed: parts of a dolly come nearer
    views = [_on_level(view, level.from_picture) for view in views]
    reach = ceil(max(displacement(view, window) for view in views))
    relief = relief_of(level.pixels, disparity, reach + 2)
    search = np.round(relief.near * LEVELS).astype(np.uint8)
    return in_order(lambda view: _seen(relief, search, view, window), views, tick)


def _on_level(view: View, from_picture: Matrix) -> View:
    """The view in pixel indices of a level and of the output, both counted from pixel centres."""
    centres = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
    size, offset = from_picture[:2, :2], np.pad(from_picture[:2, 2:], ((0, 0), (2, 0)))
    return View(size @ view.at_zero @ centres + offset, size @ view.per_disparity @ centres)


def displacement(view: View, window: Window) -> float:
    """How far apart, at most, a line of sight meets the nearest and the farthest: in picture pixels."""
    w, h = window.out_width, window.out_height
    corners = view.per_disparity @ np.array([[0, w, w, 0], [0, 0, h, h], [1, 1, 1, 1]])
    return float(np.hypot(*corners).max())


def _seen(relief: Relief, search: NDArray[np.uint8], view: View, window: Window) -> Frame:
    reach = displacement(view, window)
    steps = min(MOST_STEPS, max(FEWEST_STEPS, ceil(reach / PIXELS_A_STEP)))
    lines = _Lines(view, window)
    coarse = first_surface(search, view, window, steps)
    disparity, side = refined(relief.near, lines, coarse, 1 / steps)
    frame = _sampled(relief.front, *lines.at(disparity), cv2.INTER_CUBIC)
    # One pixel of stretch is an edge as soft as a photograph's; from the second on the layer behind is seen.
    opacity = np.clip(2 - side * max(reach, 1), 0, 1)
    opacity = cv2.blur(cv2.medianBlur(opacity.astype(np.float32), 3), (3, 3))
    return softened(_over_back(frame, opacity, relief, lines, disparity), disparity)


class _Lines:
    """Every output pixel's line of sight through the picture. No view is rolled, so columns and rows come apart."""

    def __init__(self, view: View, window: Window) -> None:
        self.x0, self.x1 = (_along(matrix[0, 0], matrix[0, 2], window.out_width) for matrix in view)
        self.y0, self.y1 = (_along(matrix[1, 1], matrix[1, 2], window.out_height) for matrix in view)

    def at(self, q: Field) -> tuple[Field, Field]:
        """Where each line meets disparity `q`, `[H, W]`: columns and rows in the picture."""
        return q * self.x1 + self.x0, q * self.y1[:, None] + self.y0[:, None]

    def at_some(self, q: Field, rows: NDArray[np.intp], columns: NDArray[np.intp]) -> tuple[Field, Field]:
        """The same for some output pixels only; all four of one shape."""
        return q * self.x1[columns] + self.x0[columns], q * self.y1[rows] + self.y0[rows]


def _along(step: float, start: float, count: int) -> Field:
    return (step * np.arange(count) + start).astype(np.float32)


def first_surface(search: NDArray[np.uint8], view: View, window: Window, steps: int) -> Field:
    """For each output pixel the nearest of `steps` disparities at which its line is inside something: `[H, W]`.

    A whole plane of equal disparity is looked at in one affine warp, from far to near.
    """
    found: Any = np.zeros((window.out_height, window.out_width), np.uint8)
    for step in range(1, steps):
        plane = cv2.warpAffine(
            search,
            view.at(step / steps),
            (window.out_width, window.out_height),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )
        _, inside = cv2.threshold(plane, ceil(step / steps * LEVELS) - 1, step, cv2.THRESH_BINARY)
        found = cv2.max(found, inside)
    return found.astype(np.float32) / np.float32(steps)


def refined(near: Field, lines: _Lines, coarse: Field, step: float) -> tuple[Field, Field]:
    """The surface between two steps by linear interpolation, and how deep below a rim the line came in."""
    above = coarse + step
    inside = _sampled(near, *lines.at(coarse), cv2.INTER_LINEAR) - coarse
    outside = _sampled(near, *lines.at(above), cv2.INTER_LINEAR) - above
    share = np.clip(inside / np.maximum(inside - outside, 1e-6), 0, 1)
    return coarse + step * share, np.maximum(inside - step, 0)


def _over_back(frame: Frame, opacity: Any, relief: Relief, lines: _Lines, disparity: Field) -> Frame:
    """The frame over the layer behind, which is worked out only where it shows."""
    rows, columns = np.nonzero(opacity < 0.996)
    if not len(rows):
        return frame
    count = len(rows)
    rows, columns = (np.resize(index, (ceil(count / COLUMNS), COLUMNS)) for index in (rows, columns))
    q = _sampled(relief.far, *lines.at_some(disparity[rows, columns], rows, columns), cv2.INTER_LINEAR)
    for _ in range(3):  # the layer behind is smooth, so looking again where it was found comes to rest
        q = _sampled(relief.far, *lines.at_some(q, rows, columns), cv2.INTER_LINEAR)
    back = _sampled(relief.back, *lines.at_some(q, rows, columns), cv2.INTER_LINEAR)
    share = opacity[rows, columns, None]
    frame[rows, columns] = np.round(frame[rows, columns] * share + back * (1 - share)).astype(np.uint8)
    return frame


def softened(frame: Frame, disparity: Field) -> Frame:
    """The frame with near things' outlines antialiased: each pixel has seen one surface, never a share of two."""
    ring = np.ones((3, 3), np.uint8)
    rows, columns = np.nonzero(
        cv2.dilate(disparity, ring) - disparity > STEP_OF_A_RIM
    )  # the farther side of an outline
    frame[rows, columns] = cv2.GaussianBlur(frame, (3, 3), 0)[rows, columns]
    return frame


def _sampled(values: Any, columns: Field, rows: Field, interpolation: int) -> Any:
    return cv2.remap(values, columns, rows, interpolation, borderMode=cv2.BORDER_REPLICATE)
