"""Small pictures of a clip that is still being made, drawn only when it is time for the next one."""

from __future__ import annotations

import io
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE = 256
"""Their longest side, in pixels: latents are scaled up to it, frames down."""
QUALITY = 60
"""A preview of pure noise, the worst there is, takes 56 KB; Redis is asked to hold 64 KB at most."""

Frame = NDArray[np.uint8]


class Previews:
    """Sends one now and then, the first not before `seconds` into a job."""

    def __init__(self, seconds: float | None, send: Callable[[bytes], None]) -> None:
        """`seconds` is the pause between two; None: nobody wants any."""
        self.seconds = seconds
        self.send = send
        self.due = 0.0

    def begin(self) -> None:
        """Another job begins."""
        self.due = time.monotonic() + (self.seconds or 0)

    def show(self, draw: Callable[[], Frame]) -> None:
        """Offer a preview."""
        if self.seconds is None or time.monotonic() < self.due:
            return
        self.send(webp(draw()))
        self.due = time.monotonic() + self.seconds


def webp(frame: Frame) -> bytes:
    """A frame `[H, W, 3]`, or with alpha `[H, W, 4]`, as a small WebP file."""
    picture = Image.fromarray(frame)
    scale = SIDE / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    picture = picture.resize(size, Image.Resampling.BICUBIC, reducing_gap=2.0)
    data = io.BytesIO()
    picture.save(data, "WEBP", quality=QUALITY, method=2)
    return data.getvalue()
