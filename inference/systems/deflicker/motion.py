"""Where things go from one frame to another: dense flows in pixels (x, y), told by pictures without their exposure."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from inference.flow import Floats, Grey, dis, warp

Mask = NDArray[np.bool_]

LUMA = np.array([0.299, 0.587, 0.114], np.float32)
"""Rec. 601, as the published metrics have it."""


def luma(rgb: Floats) -> Floats:
    """Luma `[H, W]` of RGB `[H, W, 3]`, in the same range."""
    return rgb @ LUMA


def blurred(picture: Floats, size: float) -> Floats:
    """`picture` `[H, W, ...]` behind a Gaussian of `size` pixels."""
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), size), np.float32)


def chained(first: Floats, second: Floats) -> Floats:
    """The flow a → c of a → b and b → c."""
    return first + warp(second, first)


def flow_between(first: Floats, second: Floats) -> Floats:
    """Flow `[H, W, 2]` from one RGB picture 0..1 to another of its size."""
    return dis(_unexposed(first), _unexposed(second))


def _unexposed(rgb: Floats) -> Grey:
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
