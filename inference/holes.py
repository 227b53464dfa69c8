"""Fields that are known in places only: where nothing is known, values come from around."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
SURE = 0.05
"""Weight from which on a place has its own value; below, the less it weighs, the more it takes from around."""


def filled(sums: Floats) -> Floats:
    """`[H, W, C]` of `[H, W, C + 1]`, values times weight and then the weight: from as far around as it takes."""
    levels = [sums]
    while min(levels[-1].shape[:2]) > 2:
        half = cv2.resize(levels[-1], None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        levels.append(np.asarray(half, np.float32))
    known = levels[-1][..., :-1] / np.maximum(levels[-1][..., -1:], 1e-12)
    for level in reversed(levels[:-1]):
        height, width = level.shape[:2]
        around = cv2.resize(known, (width, height), interpolation=cv2.INTER_LINEAR)
        there = np.clip(level[..., -1:] / SURE, 0, 1)
        known = there * level[..., :-1] / np.maximum(level[..., -1:], 1e-12) + (1 - there) * around
    return np.asarray(known, np.float32)
