"""Where things go from one frame to another: dense flows in pixels (x, y), told by pictures without their exposure."""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]

LUMA = np.array([0.299, 0.587, 0.114], np.float32)
"""Rec. 601, as the published metrics have it."""
LEAST_SIDE = 12
"""OpenCV's DIS refuses smaller pictures; there, nothing is taken to move."""


def luma(rgb: Floats) -> Floats:
    """Luma `[H, W]` of RGB `[H, W, 3]`, in the same range."""
    return rgb @ LUMA


def blurred(picture: Floats, size: float) -> Floats:
    """`picture` `[H, W, ...]` behind a Gaussian of `size` pixels."""
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), size), np.float32)


@cache
def _grid(height: int, width: int) -> Floats:
    """Each pixel's own place, `[H, W, 2]`."""
    return np.stack(np.meshgrid(np.arange(width), np.arange(height)), -1).astype(np.float32)


def warp(picture: Floats, flow: Floats) -> Floats:
    """`picture` `[H, W, ...]` as seen from where `flow` `[H, W, 2]` starts; the border repeats outward."""
    places = _grid(flow.shape[0], flow.shape[1]) + flow
    moved = cv2.remap(picture, places[..., 0], places[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(moved, np.float32)


def chained(first: Floats, second: Floats) -> Floats:
    """The flow a → c of a → b and b → c."""
    return first + warp(second, first)


def flow_between(first: Floats, second: Floats, quality: int = cv2.DISOPTICAL_FLOW_PRESET_MEDIUM) -> Floats:
    """Flow `[H, W, 2]` from one RGB picture 0..1 to another of its size (Kroeger et al. 2016, in OpenCV)."""
    if min(first.shape[:2]) < LEAST_SIDE:
        return np.zeros((*first.shape[:2], 2), np.float32)
    # A new estimator each time keeps no state between calls, so the same pictures give the same flow.
    estimator = cv2.DISOpticalFlow.create(quality)
    return np.asarray(estimator.calc(_unexposed(first), _unexposed(second), np.empty(0)), np.float32)


def _unexposed(rgb: Floats) -> NDArray[np.uint8]:
    """Luma with its mean and spread made much the same everywhere, so that flicker is not taken for motion.

    Everywhere, not only on the whole: bands of light that roll over a picture would else be followed.
    """
    grey = luma(rgb)
    grey = (grey - grey.mean()) / (grey.std() + 1e-4)
    size = max(2.0, min(grey.shape) / 8)
    grey = grey - 0.8 * blurred(grey, size)
    spread = np.sqrt(blurred(np.square(grey), size))
    return (grey / (spread + 0.25) * 45 + 128).clip(0, 255).astype(np.uint8)


def unmatched(there: Floats, back: Floats) -> Mask:
    """Pixels whose flow `there` is not undone by the flow `back`: hidden there (Sundaram et al. 2010)."""
    returned = warp(back, there)
    error = np.square(there + returned).sum(-1)
    return error > 0.01 * (np.square(there).sum(-1) + np.square(returned).sum(-1)) + 0.5


def at_motion_edge(flow: Floats) -> Mask:
    """Pixels where the flow changes abruptly, which no warp gets right (Ruder et al. 2016)."""
    down, across = np.gradient(flow, axis=(0, 1))
    change = np.square(across).sum(-1) + np.square(down).sum(-1)
    return change > 0.01 * np.square(flow).sum(-1) + 0.002
