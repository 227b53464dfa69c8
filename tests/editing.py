"""Clips to edit, and what a step makes of them."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from inference.residency import Residency
from inference.systems.base import Clip, Frame, Place, Sources
from jobs.requests.base import Finishing, Shape
from media.frames import SOUND_RATE, FrameSpool, Sound

CPU = torch.device("cpu")
ROOMS = {
    "loop": "Loop", "speed": "Speed", "trim": "Trim", "crop": "Crop", "stitch": "Stitch",
    "convert": "Convert", "sticker": "Sticker", "emoji": "Emoji",
}  # fmt: skip


def go_on(stage: str, step: int, total: int) -> None:
    """A tick of a job that nobody cancels."""


def noise(seconds: float, seed: int = 0) -> Sound:
    return np.random.default_rng(seed).integers(-8000, 8000, (round(seconds * SOUND_RATE), 2), np.int16)


def numbered(count: int, width: int = 32, height: int = 24, channels: int = 3) -> list[Frame]:
    """Frame `i` is of colour `i`."""
    return [np.full((height, width, channels), i, np.uint8) for i in range(count)]


def drifting(count: int, step: int, width: int = 160, height: int = 96, channels: int = 3) -> list[Frame]:
    """A soft random world, seen through a window that moves right by `step` pixels a frame; with alpha, round."""
    random, size = np.random.default_rng(5), (2 * width, height)
    world = np.zeros((height, 2 * width, 3), np.uint8)
    for cell in (24, 8):  # coarse things, and detail on them
        noise_ = random.integers(0, 128, (height // cell, 2 * width // cell, 3), np.uint8)
        world += np.asarray(Image.fromarray(noise_).resize(size, Image.Resampling.BILINEAR))
    frames = [world[:, step * i : step * i + width].copy() for i in range(count)]
    if channels == 3:
        return frames
    y, x = np.indices((height, width))
    alpha = np.where(np.hypot(x - width / 2, y - height / 2) < height / 3, 255, 0).astype(np.uint8)
    return [np.dstack([frame, alpha]) for frame in frames]


def rendered(request: Finishing, *spools: FrameSpool, tick: Callable[[str, int, int], None] = go_on) -> Clip:
    place = Place(models=Path("none"), device=CPU, dtype=torch.float32, residency=Residency(CPU))
    room: Any = getattr(import_module(f"inference.systems.{request.name()}.system"), ROOMS[request.name()])
    return room(place).render(request, Sources({}, dict(zip(("clip", "second"), spools, strict=False))), tick)


def colours(clip: Clip) -> list[int]:
    return [int(frame[0, 0, 0]) for frame in clip.frames]


def shape(width: int = 640, height: int = 360, frames: int = 24, fps: int = 8, **more: bool) -> Shape:
    return Shape(width, height, frames, Fraction(fps), **more)
