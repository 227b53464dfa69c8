"""From the person's picture to what the networks see: shape, framing, and CLIP's own view of it."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import torch
from PIL import Image, ImageFilter, ImageOps
from torch import Tensor
from torch.nn import functional

LATENT = 8
"""Pixels to a side of one latent."""

Shape = Literal["landscape", "portrait", "square"]
RATIOS: dict[Shape, float] = {"landscape": 16 / 9, "portrait": 9 / 16, "square": 1.0}

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


def clip_size(shape: Shape, sample_size: int) -> tuple[int, int]:
    """Width and height in pixels: 16:9, 9:16 or 1:1 on the area that the checkpoint was trained on.

    The published `sample_size` 96 gives 1024 × 576, 576 × 1024 and 768 × 768.
    """
    side = sample_size * LATENT
    ratio = RATIOS[shape]
    return _to_latents(side * math.sqrt(ratio)), _to_latents(side / math.sqrt(ratio))


def _to_latents(pixels: float) -> int:
    return max(1, round(pixels / LATENT)) * LATENT


def closest_shape(size: tuple[int, int]) -> Shape:
    """The shape that loses least of a picture of this width and height."""
    ratio = size[0] / size[1]
    return min(RATIOS, key=lambda shape: abs(math.log(ratio / RATIOS[shape])))


def crop(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Fill the size, cutting off equally at both ends of the longer side."""
    return ImageOps.fit(picture, size, Image.Resampling.LANCZOS)


def letterbox(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The whole picture, over a blurred copy of itself that fills the size."""
    whole = ImageOps.contain(picture, size, Image.Resampling.LANCZOS)
    framed = crop(picture, size).filter(ImageFilter.GaussianBlur(radius=max(size) / 32))
    framed.paste(whole, ((size[0] - whole.width) // 2, (size[1] - whole.height) // 2))
    return framed


def to_tensor(picture: Image.Image) -> Tensor:
    """RGB picture → `[1, 3, H, W]` float32 in -1 … 1."""
    values = torch.from_numpy(np.asarray(picture.convert("RGB"), dtype=np.float32)[None] / 255.0)
    # Left channels-last in memory, as diffusers leaves it: convolutions round differently in another layout.
    return values.permute(0, 3, 1, 2) * 2.0 - 1.0


def clip_pixels(picture: Tensor, size: int) -> Tensor:
    """What CLIP sees: squeezed to a square whatever the aspect, then normalised.

    The original blurs against aliasing and resizes in -1 … 1 (kornia's `resize(antialias=True)`, which takes its sigma
    from scikit-image), and only then goes to 0 … 1 and CLIP's mean and deviation.

    Args:
        picture: `[B, 3, H, W]` in -1 … 1.
        size: side of the square, 224 for the published encoder.

    Returns:
        `[B, 3, size, size]`.
    """
    height, width = picture.shape[-2:]
    blurred = _blur(_blur(picture, width / size, axis=3), height / size, axis=2)
    small = functional.interpolate(blurred, size=(size, size), mode="bicubic", align_corners=True)
    mean = torch.tensor(CLIP_MEAN, device=picture.device)[:, None, None]
    deviation = torch.tensor(CLIP_STD, device=picture.device)[:, None, None]
    return (((small + 1.0) / 2.0 - mean) / deviation).contiguous()


def _blur(picture: Tensor, factor: float, axis: Literal[2, 3]) -> Tensor:
    """Gaussian blur along one axis, as wide as shrinking by `factor` asks for; edges are mirrored."""
    sigma = max((factor - 1.0) / 2.0, 0.001)
    taps = int(max(4.0 * sigma, 3)) | 1
    offsets = torch.arange(taps, dtype=picture.dtype, device=picture.device) - taps // 2
    weights = torch.exp(-offsets.pow(2.0) / (2 * torch.tensor(sigma, dtype=picture.dtype).pow(2.0)))
    weights = weights / weights.sum()
    channels, reach = picture.shape[1], taps // 2
    padding = (reach, reach, 0, 0) if axis == 3 else (0, 0, reach, reach)
    kernel = weights.view((1, 1, 1, -1) if axis == 3 else (1, 1, -1, 1)).expand(channels, -1, -1, -1)
    return functional.conv2d(functional.pad(picture, padding, mode="reflect"), kernel, groups=channels)
