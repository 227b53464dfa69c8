"""Where things go from one picture to another, by OpenCV's dense inverse search (DIS, Kroeger et al. 2016).

Rooms differ in what they take for grey and in whom they believe; how flow is looked for and followed is said here once.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Grey = NDArray[np.uint8]
"""`[H, W]`."""

LEAST_SIDE = 16
"""Two of DIS's patches. OpenCV 5 ends the process at pictures of 12 to 15 pixels; in what is smaller nothing moves."""


@dataclass(frozen=True)
class Dis:
    """How DIS looks: OpenCV's preset, and what is changed of it."""

    preset: int = cv2.DISOPTICAL_FLOW_PRESET_MEDIUM
    finest_scale: int | None = None
    """From 2 on, pictures must be larger than `LEAST_SIDE`: a side is halved so often, and holds a patch even then."""
    patch_stride: int | None = None
    iterations: int | None = None

    def build(self) -> cv2.DISOpticalFlow:
        """A fresh one: it remembers nothing, so that the same pictures give the same flow."""
        dis = cv2.DISOpticalFlow.create(self.preset)
        if self.finest_scale is not None:
            dis.setFinestScale(self.finest_scale)
        if self.patch_stride is not None:
            dis.setPatchStride(self.patch_stride)
        if self.iterations is not None:
            dis.setVariationalRefinementIterations(self.iterations)
        return dis


USUAL = Dis()


def dis(start: Grey, end: Grey, how: Dis = USUAL) -> Floats:
    """Where each pixel of `start` is in `end`, `[H, W, 2]`, right and down in pixels."""
    if min(start.shape) < LEAST_SIDE:
        return np.zeros((*start.shape, 2), np.float32)
    return np.asarray(how.build().calc(start, end, None), np.float32)  # pyright: ignore[reportCallIssue, reportArgumentType]


def flow_between(start: Floats, end: Floats) -> Floats:
    """`dis` of two RGB pictures `[H, W, 3]`, 0 … 255."""
    return dis(_grey(start), _grey(end))


def warp(picture: Floats, flow: NDArray[np.floating]) -> Floats:
    """`picture` `[H, W, …]` as seen from where `flow` `[H, W, 2]` starts; its border repeats outward."""
    height, width = flow.shape[:2]
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    x, y = (np.asarray(axis + way, np.float32) for axis, way in zip((x, y), np.moveaxis(flow, 2, 0), strict=True))
    moved = cv2.remap(picture, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(moved, np.float32)


def resized_flow(flow: Floats, width: int, height: int) -> Floats:
    """The same motion in a picture of another size."""
    stretch = np.array([width / flow.shape[1], height / flow.shape[0]], np.float32)
    return np.asarray(cv2.resize(flow, (width, height)) * stretch, np.float32)


def _grey(picture: Floats) -> Grey:
    levels = np.ascontiguousarray(np.clip(picture[..., :3], 0, 255).astype(np.uint8))
    return np.asarray(cv2.cvtColor(levels, cv2.COLOR_RGB2GRAY), np.uint8)
