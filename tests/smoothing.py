"""Small clips that move, and the place in which they are made smoother."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from benchmarks.smooth import scene
from inference.residency import Residency
from inference.systems.base import Frame, Place

CPU = torch.device("cpu")


def keep_going(stage: str, step: int, total: int) -> None:
    """A tick of a job that nobody cancels."""


def place(models: Path = Path("none"), **options: Any) -> Place:
    return Place(models=models, device=CPU, dtype=torch.float32, residency=Residency(CPU), options=options)


def small(at: Callable[[float], Frame], moments: Sequence[float], size: tuple[int, int] = (96, 64)) -> list[Frame]:
    """A few frames of a benchmark scene, small."""
    return [np.asarray(cv2.resize(at(moment), size, interpolation=cv2.INTER_AREA), np.uint8) for moment in moments]


def moving(count: int, size: tuple[int, int] = (96, 64), seed: int = 1) -> list[Frame]:
    return small(scene(seed, 6, 3, 10), range(count), size)


def with_alpha(frames: Sequence[Frame]) -> list[Frame]:
    """A disc that travels over nothing."""
    given: list[Frame] = []
    for index, frame in enumerate(frames):
        alpha = np.zeros(frame.shape[:2], np.uint8)
        cv2.circle(alpha, (30 + 4 * index, 30), 18, 255, -1, cv2.LINE_AA)
        given.append(np.dstack([frame, alpha]))
    return given
