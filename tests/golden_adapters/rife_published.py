"""Practical-RIFE's own way over a video, frame by frame: what our goldens were recorded from.

Our own way (`timeline.py`) looks ahead, tells cuts from fast motion, keeps what is no repeat, and reaches any rate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from inference.systems.base import Frame
from inference.systems.rife.timeline import CUT, SIDE, ssim

Make = Callable[[Tensor, Tensor, float], Tensor]
"""The frame at a moment between two padded ones, `[1, 3, H, W]` in 0 … 1."""
SMALLEST = 128
ALIKE = 0.996
"""Two thumbnails more alike than that are the same picture."""


def padded(frame: Frame, scale: float) -> Tensor:
    """`[1, 3, H, W]` in 0 … 1, black to the right and below up to a multiple of 128, or more at a smaller scale."""
    step = max(SMALLEST, int(SMALLEST / scale))
    height, width = frame.shape[:2]
    planes = torch.from_numpy(np.array(frame)).permute(2, 0, 1)[None].float() / 255
    return functional.pad(planes, (0, -width % step, 0, -height % step))


def likeness(first: Tensor, second: Tensor) -> float:
    """Of two padded frames, by their thumbnails."""
    small = [
        functional.interpolate(frame, (SIDE, SIDE), mode="bilinear", align_corners=False)[0].permute(1, 2, 0).numpy()
        for frame in (first, second)
    ]
    return ssim(small[0], small[1])


def as_published(frames: Sequence[Frame], make: Make, multi: int, scale: float) -> Iterator[Frame]:
    """`(n - 1) * multi + 1` frames, the originals among them but for those that repeat the one before.

    A frame that repeats the last one gives way to what lies between that and the next; over a cut nothing is mixed.
    """
    height, width = frames[0].shape[:2]

    def shown(planes: Tensor) -> Frame:
        return (planes[0] * 255).byte().permute(1, 2, 0).numpy()[:height, :width]

    before, last = padded(frames[0], scale), frames[0]
    for index in range(1, len(frames)):
        frame, after = frames[index], padded(frames[index], scale)
        alike = likeness(before, after)
        if alike > ALIKE:
            following = frames[index + 1] if index + 1 < len(frames) else last
            after = make(before, padded(following, scale), 0.5)
            alike = likeness(before, after)
            frame = shown(after)
        yield last
        for step in range(1, multi):
            yield shown(before) if alike < CUT else shown(make(before, after, step / multi))
        before, last = after, frame
    yield last
