"""Made clips whose motion and true colours are known, and the flicker that is put on them.

Frames are float32 `[T, H, W, 3]` in 0..1. What moves is drawn at sub-pixel places from smooth textures, so the flows
are exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from media.frames import Frame, FrameSpool

Floats = NDArray[np.float32]
Kind = Literal["exposure", "colour", "local", "mixed"]
HEIGHT, WIDTH = 72, 96
"""Of the clips of `made`."""
KINDS: tuple[Kind, ...] = ("exposure", "colour", "local", "mixed")


@dataclass(frozen=True)
class Made:
    """A clean clip, and for each frame but the last its flows to the next and back."""

    frames: Floats
    flows: Sequence[tuple[Floats, Floats]]


def texture(height: int, width: int, seed: int) -> Floats:
    """Colours with coarse shapes and fine grain, 0.1..0.9."""
    draw = np.random.default_rng(seed).random
    layers = [
        weight * cv2.GaussianBlur(draw((height, width, 3)).astype(np.float32), (0, 0), size) * size
        for size, weight in ((1.2, 0.5), (4, 0.7), (14, 1.0))
    ]
    mixed = np.sum(layers, axis=0)
    mixed = (mixed - mixed.mean((0, 1))) / mixed.std((0, 1))
    return (0.5 + 0.16 * mixed).clip(0.1, 0.9).astype(np.float32)


def shifted(picture: Floats, x: float, y: float, height: int, width: int) -> Floats:
    """A window into `picture` whose corner lies at (x, y)."""
    move = np.array([[1, 0, -x], [0, 1, -y]], np.float32)
    return np.asarray(cv2.warpAffine(picture, move, (width, height), flags=cv2.INTER_CUBIC), np.float32)


def parallax(count: int = 24, height: int = 144, width: int = 192, seed: int = 3, pace: float = 1.0) -> Made:
    """A background that pans slowly behind a disc that goes the other way."""
    margin = int(3 * count * pace) + 8
    behind = texture(height + 16, width + margin, seed)
    before = texture(height, width, seed + 1) * np.array([1.1, 0.8, 0.6], np.float32)
    rows, columns = np.mgrid[:height, :width]

    def centre(t: int) -> tuple[float, float]:
        return width * 0.65 - 1.5 * pace * t, height * 0.5 + 0.5 * pace * t

    def cover(t: int) -> Floats:
        x, y = centre(t)
        distance = np.hypot(columns - x, rows - y)
        return (height * 0.22 - distance + 0.5).clip(0, 1)[..., None].astype(np.float32)

    frames, flows = list[Floats](), list[tuple[Floats, Floats]]()
    pan, disc = (np.array([-0.8 * pace, -0.1 * pace], np.float32), np.array([-1.5 * pace, 0.5 * pace], np.float32))
    for t in range(count):
        x, y = centre(t)
        near = shifted(before, width * 0.5 - x, height * 0.5 - y, height, width)
        far = shifted(behind, 0.8 * pace * t, 0.1 * pace * t, height, width)
        frames.append((far + cover(t) * (near - far)).clip(0, 1))
        there, back = pan + (cover(t) > 0.5) * (disc - pan), -pan + (cover(t + 1) > 0.5) * (pan - disc)
        flows.append((there.astype(np.float32), back.astype(np.float32)))
    return Made(
        np.stack(frames).astype(np.float32), [(a.astype(np.float32), b.astype(np.float32)) for a, b in flows[:-1]]
    )


@cache
def made(count: int = 20, seed: int = 3) -> Made:
    """A small one, made once for all tests."""
    return parallax(count, HEIGHT, WIDTH, seed, pace=0.7)


def brightness(*levels: float) -> Floats:
    """A factor for each frame."""
    return np.array(levels, np.float32)[:, None, None, None]


def flickered(frames: Floats, kind: Kind, seed: int = 5) -> Floats:
    """The clip with random flicker of one kind, as an eight-bit file would hold it."""
    rng = np.random.default_rng(seed)
    count, height, width = frames.shape[:3]
    shaken = frames.astype(np.float32)
    if kind in ("exposure", "mixed"):
        shaken = shaken * rng.uniform(0.85, 1.15, (count, 1, 1, 1))
    if kind in ("colour", "mixed"):
        shaken = shaken * rng.uniform(0.92, 1.08, (count, 1, 1, 3)) + rng.uniform(-0.03, 0.03, (count, 1, 1, 3))
    if kind in ("local", "mixed"):
        coarse = rng.uniform(-0.25, 0.25, (count, 4, 5, 1)).astype(np.float32)
        fields = [
            np.asarray(cv2.resize(field, (width, height), interpolation=cv2.INTER_CUBIC), np.float32)
            for field in coarse
        ]
        shaken = shaken * (1 + np.stack(fields)[..., None])
    return floats(eight_bit(shaken.astype(np.float32)))


def eight_bit(frames: Floats) -> NDArray[np.uint8]:
    """0..1 as 0..255, rounded."""
    return (frames * 255 + 0.5).clip(0, 255).astype(np.uint8)


def floats(frames: NDArray[np.uint8] | Sequence[Frame]) -> Floats:
    """0..255 as 0..1."""
    return np.asarray(frames, np.uint8).astype(np.float32) / np.float32(255)


def spooled(frames: Floats, fps: int = 24, alpha: NDArray[np.uint8] | None = None) -> FrameSpool:
    """As a step finds a clip: eight bits, with `alpha` `[T, H, W]` where there is some."""
    data = eight_bit(frames)
    if alpha is not None:
        data = np.concatenate([data, alpha[..., None]], -1)
    return FrameSpool.filled(iter(data), data.shape[2], data.shape[1], Fraction(fps), channels=data.shape[3])
