"""How much a file looks like the footage it was made from, measured on a few frames of it."""

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

from media.bt709 import LUMA
from media.frames import Footage, Frame
from media.passes import frames_at, resized

LOOKED_AT = 6
"""Frames that are compared."""
BACKDROP = 128.0
"""What shows through alpha on both sides: on grey neither dark nor bright outlines vanish."""


def ssim(one: Frame, other: Frame) -> float:
    """Structural similarity (Wang et al. 2004) of luma over 8 × 8 blocks, 1 for equal frames of one size."""
    blocks = [_blocks(frame) for frame in (one, other)]
    means = [block.mean((1, 3), keepdims=True) for block in blocks]
    a, b = (block - mean for block, mean in zip(blocks, means, strict=True))
    (mean_a, mean_b), c1, c2 = means, (0.01 * 255) ** 2, (0.03 * 255) ** 2
    variance_a, variance_b, covariance = ((x * y).mean((1, 3), keepdims=True) for x, y in ((a, a), (b, b), (a, b)))
    top = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    return float((top / ((mean_a**2 + mean_b**2 + c1) * (variance_a + variance_b + c2))).mean())


def psnr(one: Frame, other: Frame) -> float:
    """Peak signal to noise of RGB, in dB; 99 for equal frames."""
    error = float(np.mean((one[..., :3].astype(np.float32) - other[..., :3]) ** 2))
    return 99.0 if error == 0 else min(99.0, 10 * float(np.log10(255**2 / error)))


def likeness(footage: Footage, places: list[int], read: Callable[[int], Iterable[Frame]]) -> float | None:
    """Mean SSIM of a file's frames, one for each of `places`, to the footage's own there; None for no frame.

    `read(step)` gives every `step`-th of them, from the first on. A smaller picture is compared at the footage's size:
    what was given up counts.
    """
    step = max(1, -(-len(places) // LOOKED_AT))
    found: list[float] = []
    for original, frame in zip(frames_at(footage, places[::step]), read(step), strict=False):
        seen = resized(frame[: footage.height, : footage.width], footage.width, footage.height)
        found.append(ssim(original, seen))
    return round(sum(found) / len(found), 4) if found else None


def _blocks(frame: Frame) -> NDArray[np.float32]:
    """Luma over the backdrop in whole blocks, `[rows, 8, columns, 8]`; a picture below 8 pixels repeats its edge."""
    luma = frame[..., :3] @ LUMA
    if frame.shape[2] == 4:
        luma = BACKDROP + (luma - BACKDROP) * (frame[..., 3].astype(np.float32) / 255)
    height, width = luma.shape
    luma = np.pad(luma, ((0, max(0, 8 - height)), (0, max(0, 8 - width))), mode="edge")
    rows, columns = luma.shape[0] // 8, luma.shape[1] // 8
    return luma[: rows * 8, : columns * 8].reshape(rows, 8, columns, 8)
