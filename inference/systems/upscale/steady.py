"""Detail that a network adds, held still: frame by frame it would be invented anew each time, and shimmer."""

from __future__ import annotations

import cv2
import numpy as np

from inference.flow import Floats, flow_between, resized_flow, warp

KEPT = 0.6
"""How much of the detail is the last frame's where that shows the same thing.

Measured on the scenes of `benchmarks.smooth` with noise for detail: half of the shimmer stays, a third with 0.9, which
costs 3 dB of detail that was right.
"""
SAME = 0.02
"""Difference of the small pictures, 0 … 1, at which the last frame's detail counts for a third.

Measured there: 0.01 leaves two thirds of the shimmer, 0.08 leaves 0.37 of it for 3 dB of detail that was right.
"""


class Steadier:
    """Remembers the last frame's detail, moved to where its things are now."""

    def __init__(self) -> None:
        self._small: Floats | None = None
        self._detail: Floats | None = None

    def steadied(self, small: Floats, large: Floats) -> Floats:
        """`large` `[fH, fW, 3]`, its detail averaged with the last one's; `small` `[H, W, 3]` is what it was made from.

        Both in 0 … 1. What is coarse stays as it is: it is the frame's own, and steady already.
        """
        height, width = large.shape[:2]
        coarse = np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC), np.float32)
        detail = large - coarse
        if self._small is not None and self._detail is not None:
            flow = flow_between(small * 255, self._small * 255)
            alike = np.abs(small - warp(self._small, flow)).max(axis=2)
            weight = cv2.GaussianBlur(KEPT * np.exp(-np.square(alike / SAME)).astype(np.float32), (0, 0), 1.0)
            weight = cv2.resize(weight, (width, height))[..., None]
            moved = warp(self._detail, resized_flow(flow, width, height))
            detail = np.asarray(weight * moved + (1 - weight) * detail, np.float32)
        self._small, self._detail = small, detail
        return coarse + detail
