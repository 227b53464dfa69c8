"""Frames mixed with each other. Colours count as much as they can be seen, so nothing hidden ever shines through."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from media.frames import Frame

Weighed = NDArray[np.float32]
"""`[H, W, C]`, 0 … 255; with alpha, colours are multiplied by it."""


def weighed(frame: Frame) -> Weighed:
    """A frame, RGB or RGBA, to be added up with others."""
    levels = frame.astype(np.float32)
    if levels.shape[2] == 4:
        levels[..., :3] *= levels[..., 3:] / 255
    return levels


def unweighed(levels: NDArray[np.floating]) -> Frame:
    """The opposite of `weighed`, rounded."""
    if levels.shape[2] == 4:
        colour, alpha = levels[..., :3], levels[..., 3:]
        levels = np.concatenate([colour * (255 / np.maximum(alpha, 1)), alpha], axis=2)
    return np.clip(np.rint(levels), 0, 255).astype(np.uint8)


def mixed(parts: Iterable[tuple[Frame, float]]) -> Frame:
    """Frames by their parts, which sum to 1."""
    total: Weighed | None = None
    for frame, part in parts:
        share = np.asarray(weighed(frame) * part, np.float32)
        total = share if total is None else total + share
    if total is None:
        raise ValueError("nothing to mix")
    return unweighed(total)
