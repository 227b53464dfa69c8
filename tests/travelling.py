"""Pictures to travel over, and the clips that parallax makes of them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image

from inference.residency import Residency
from inference.systems.base import Clip, Frame, Place, Sources
from inference.systems.parallax.system import Parallax
from jobs.requests.parallax import ParallaxRequest

CPU = torch.device("cpu")


def keep_going(stage: str, step: int, total: int) -> None:
    """A tick of a job that nobody cancels."""


def place(models: Path) -> Place:
    return Place(models=models, device=CPU, dtype=torch.float32, residency=Residency(CPU))


def clip_of(picture: Image.Image, models: Path = Path("none"), **fields: object) -> Clip:
    request = ParallaxRequest.model_validate({"image": "image", **fields})
    return Parallax(place(models)).render(request, Sources({"image": picture}), keep_going)


def frames_of(picture: Image.Image, **fields: object) -> list[Frame]:
    return list(clip_of(picture, Path("none"), **fields).frames)


def texture(width: int, height: int, seed: int = 0) -> Image.Image:
    """A soft random picture: something to follow at every point, nothing finer than 4 pixels."""
    noise = np.random.default_rng(seed).integers(60, 255, (height // 8 + 2, width // 8 + 2, 3), np.uint8)
    return Image.fromarray(cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC))


def travel(before: Frame, after: Frame) -> tuple[float, float]:
    """How far the content moved, right and down, in pixels (phase correlation)."""
    gray = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY).astype(np.float32) for frame in (before, after)]
    window = cv2.createHanningWindow(gray[0].shape[::-1], cv2.CV_32F)
    (right, down), _ = cv2.phaseCorrelate(gray[0], gray[1], window)
    return right, down
