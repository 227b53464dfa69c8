"""Starting noise for clips longer than a window: the first window's own, and then the same frames in another order.

Windows that start from the same noise make pictures that belong together, and the new order keeps the motion from
repeating. Qiu et al. 2023, *FreeNoise* (arXiv 2310.15169), as in AnimateDiff-Evolved.
"""

from __future__ import annotations

import torch
from torch import Tensor


def freenoise_order(num_frames: int, length: int, overlap: int, seed: int) -> Tensor:
    """Which of the frames of noise that were drawn each frame starts from: `[T]` int64.

    The frames that a window adds to the one before it get the noise of the frames that this one leaves behind,
    shuffled. So each window that starts at a multiple of `length - overlap` holds the first window's noise, all of it.

    Args:
        num_frames: of the clip; up to `length` of them keep their order.
        length: of a window.
        overlap: of windows, less than `length`.
        seed: for all shuffles, from one generator on the CPU: the same order on any device.
    """
    if not 0 <= overlap < length:
        raise ValueError(f"windows of {length} frames with an overlap of {overlap}")
    generator = torch.Generator("cpu").manual_seed(seed)
    order = torch.arange(num_frames)
    added = length - overlap
    for start in range(0, num_frames - length, added):
        place = start + length
        count = min(added, num_frames - place)
        order[place : place + count] = order[start : start + count][torch.randperm(count, generator=generator)]
    return order


def rearranged(noise: Tensor, order: Tensor, dim: int = 2) -> Tensor:
    """Noise in that order; its frames are along `dim`, as in `[B, C, T, H, W]`."""
    return noise.index_select(dim, order.to(noise.device))
