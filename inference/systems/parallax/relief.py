"""A picture with depth, as what is seen and what lies behind it: made once, before the first frame.

Depth networks blur the rims of things. Here the depth map is drawn to the picture's own edges, its slopes at rims are
made steps, and behind every step the farther side is continued: its depth as it is, its colours mirrored at the rim.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from inference.systems.base import Frame

Field = NDArray[np.float32]
"""Disparity, 0 … 1, `[H, W]`."""

Index = NDArray[np.intp]
Mask = NDArray[np.bool_]

MIXED_PIXELS = 2
"""Around a thing's outline, where its colour and that of what is behind run into each other."""
STEP_OF_A_RIM = 0.06
"""A rise of disparity over two pixels that is taken for the rim of a thing, not for a slope."""


@dataclass(frozen=True)
class Relief:
    """Two layers at the same resolution: the surface that the picture shows, and what is behind its rims."""

    front: Frame
    near: Field
    back: Frame
    far: Field


def normalised(predicted: Field) -> Field | None:
    """Relative inverse depth, its 1st to 99th percentile made 0 … 1; None where the network sees no depth."""
    low, high = np.percentile(predicted, (1, 99))
    if not high - low > 1e-6 * max(1.0, abs(float(high))):
        return None
    return np.clip((predicted - low) / (high - low), 0, 1).astype(np.float32)


def pivot_of(disparity: Field) -> float:
    """The disparity that stays in place: what stands in the middle of the picture."""
    height, width = disparity.shape
    return float(np.median(disparity[height // 3 : height - height // 3, width // 3 : width - width // 3]))


def relief_of(pixels: Frame, disparity: Field, reach: int) -> Relief:
    """Both layers for a picture and its disparity (any resolution), good for rims that uncover up to `reach` pixels."""
    height, width = pixels.shape[:2]
    scaled = cv2.resize(disparity, (width, height), interpolation=cv2.INTER_CUBIC)
    near = stepped(drawn_to_edges(pixels, np.clip(scaled, 0, 1).astype(np.float32)))
    # A rim's outermost pixels mix both colours. They belong to the thing, or its outline would stay behind as a ghost.
    near = _array(cv2.dilate(cv2.medianBlur(near, 5), _square(1)))
    back, far = behind(pixels, near, reach)
    # Between two pixels a step is a line at an angle, not a staircase: a blur as wide as one pixel draws it.
    return Relief(pixels, _array(cv2.GaussianBlur(near, (0, 0), 0.7)), back, far)


def drawn_to_edges(pixels: Frame, disparity: Field, radius: int = 6, smoothness: float = 4e-4) -> Field:
    """The guided filter (He, Sun, Tang 2010), with the picture's brightness as guide: disparity follows its edges."""
    guide = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
    size = (2 * radius + 1, 2 * radius + 1)

    def mean(values: Any) -> Any:
        return cv2.blur(values, size, borderType=cv2.BORDER_REFLECT)

    mean_guide, mean_disparity = mean(guide), mean(disparity)
    covariance = mean(guide * disparity) - mean_guide * mean_disparity
    variance = mean(guide * guide) - mean_guide * mean_guide
    slope = covariance / (variance + smoothness)
    return _array(np.clip(mean(slope) * guide + mean(mean_disparity - slope * mean_guide), 0, 1))


def stepped(disparity: Field, rounds: int = 3) -> Field:
    """Slopes at rims made steps: each pixel there takes the nearer of its neighbourhood's extremes (toggle mapping)."""
    for _ in range(rounds):
        high, low = cv2.dilate(disparity, _square(2)), cv2.erode(disparity, _square(2))
        toggled = np.where(high - disparity < disparity - low, high, low)
        disparity = _array(np.where(high - low > 2 * STEP_OF_A_RIM, toggled, disparity))
    return disparity


def behind(pixels: Frame, near: Field, reach: int) -> tuple[Frame, Field]:
    """Colours and disparity with everything taken off that stands nearer than what is beside it.

    Twice `reach` is taken off, so that from within `reach` the nearest pixel that remains is one of the farther side.
    """
    # On the farther side it begins some mixed pixels after the rim, so the strip is that much wider on both.
    taken = _near_sides(near, 2 * (reach + 3 * MIXED_PIXELS))
    if not taken.any() or taken.all():
        return pixels, near
    rows, columns, _ = _nearest(~taken)
    back, far = pixels.copy(), near.copy()
    back[taken] = pixels[_mirrored(rows, columns, taken, near)]
    # Right beside a rim a blurred depth map has not come down yet; a few pixels on it has.
    far[taken] = cv2.erode(near, _square(2 * MIXED_PIXELS))[rows[taken], columns[taken]]
    soft_back, soft_far = cv2.GaussianBlur(back, (0, 0), 1.2), cv2.blur(far, (5, 5))
    return np.where(taken[..., None], soft_back, back).astype(np.uint8), _array(np.where(taken, soft_far, far))


def _near_sides(near: Field, width: int) -> Mask:
    """Strips of `width` along every rim, on its nearer side, and the mixed pixels beyond."""
    high, low = cv2.dilate(near, _square(MIXED_PIXELS)), cv2.erode(near, _square(MIXED_PIXELS))
    rims = (high - low) > STEP_OF_A_RIM
    if not rims.any():
        return rims
    rows, columns, distance = _nearest(rims)
    # Compared with the nearest rim's own two sides: a floor that comes nearer elsewhere is not in front of anything.
    nearer = near > (high + low)[rows, columns] / 2
    return cv2.dilate((nearer & (distance < width)).astype(np.uint8), _square(MIXED_PIXELS)).astype(np.bool_)


def _nearest(mask: Mask) -> tuple[Index, Index, Field]:
    """For every pixel the row and the column of the nearest one in the mask, and its distance: each `[H, W]`."""
    outside = (~mask).astype(np.uint8)
    distance, found = cv2.distanceTransformWithLabels(outside, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    labels = found.astype(np.intp)
    inside = np.flatnonzero(mask)
    of_label = np.zeros(labels.max() + 1, np.intp)
    of_label[labels.ravel()[inside]] = inside
    rows, columns = np.unravel_index(of_label[labels], mask.shape)
    return rows, columns, _array(distance)


def _mirrored(rows: Index, columns: Index, hidden: Mask, near: Field) -> tuple[Index, Index]:
    """Where each hidden pixel takes its colour: as far beyond the rim as it lies before it, else at the rim."""
    own_rows, own_columns = np.nonzero(hidden)
    rim_rows, rim_columns = rows[hidden], columns[hidden]
    beyond_rows, beyond_columns = 2 * rim_rows - own_rows, 2 * rim_columns - own_columns
    height, width = hidden.shape
    outside = (beyond_rows < 0) | (beyond_rows >= height) | (beyond_columns < 0) | (beyond_columns >= width)
    beyond_rows, beyond_columns = beyond_rows.clip(0, height - 1), beyond_columns.clip(0, width - 1)
    another_thing = near[beyond_rows, beyond_columns] > near[rim_rows, rim_columns] + STEP_OF_A_RIM
    fails = outside | hidden[beyond_rows, beyond_columns] | another_thing
    return np.where(fails, rim_rows, beyond_rows), np.where(fails, rim_columns, beyond_columns)


def _square(radius: int) -> NDArray[np.uint8]:
    return np.ones((2 * radius + 1, 2 * radius + 1), np.uint8)


def _array(values: Any) -> Field:
    return np.ascontiguousarray(values, np.float32)
