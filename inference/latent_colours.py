"""A look at latents without the decoder: a linear map to colours, fitted to a picture that was just encoded.

The VAE has just encoded the picture, so both sides of the map are known: its latents, and its colours in tiles of
8 × 8 pixels. Least squares over some thousand tiles gives the map of this very checkpoint, with no constant from
elsewhere and no pass of any network. It shows a clip's layout and colours; what the picture lacks, it can only guess.
"""

from __future__ import annotations

from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

LATENT = 8
"""Pixels to a side of one latent."""


def fit_colours(latents: Tensor, picture: Tensor) -> Tensor:
    """The map, `[C + 1, 3]`; its last row is the offset.

    Args:
        latents: of the picture, not scaled, `[1, C, H/8, W/8]`.
        picture: as it was encoded, `[1, 3, H, W]` in -1 … 1.
    """
    colours = functional.avg_pool2d(picture.float().cpu(), LATENT)
    # A picture of one colour leaves the map open; gelsd takes the smallest one then.
    return torch.linalg.lstsq(_with_one(latents), colours[0].flatten(1).T, driver="gelsd").solution


def look(colours: Tensor, latents: Tensor) -> NDArray[np.uint8]:
    """One frame's latents, not scaled, `[C, h, w]` → `[h, w, 3]` bytes."""
    height, width = latents.shape[-2:]
    seen = (_with_one(latents[None]) @ colours).clamp(-1, 1)
    return cast(NDArray[np.uint8], ((seen * 0.5 + 0.5) * 255).byte().reshape(height, width, 3).numpy())


def _with_one(latents: Tensor) -> Tensor:
    """`[1, C, h, w]` → `[h · w, C + 1]`, float32 on the CPU, ones in the last column."""
    flat = latents[0].float().cpu().flatten(1).T
    return torch.cat([flat, torch.ones(len(flat), 1)], dim=1)
