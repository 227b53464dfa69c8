"""Where things go from one picture to another, by OpenCV's dense inverse search (Kroeger et al. 2016)."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

LEAST_SIDE = 16
"""OpenCV refuses smaller pictures; there nothing is taken to move."""


def flow_between(start: Floats, end: Floats) -> Floats:
    """Where each pixel of `start` is in `end`, `[H, W, 2]`, right and down in pixels; both RGB `[H, W, 3]`, 0 … 255."""
    if min(start.shape[:2]) < LEAST_SIDE:
        return np.zeros((*start.shape[:2], 2), np.float32)
    dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    return np.asarray(dis.calc(_grey(start), _grey(end), None), np.float32)  # pyright: ignore[reportCallIssue, reportArgumentType]


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


def _grey(picture: Floats) -> NDArray[np.uint8]:
    levels = np.ascontiguousarray(np.clip(picture[..., :3], 0, 255).astype(np.uint8))
    return np.asarray(cv2.cvtColor(levels, cv2.COLOR_RGB2GRAY), np.uint8)
