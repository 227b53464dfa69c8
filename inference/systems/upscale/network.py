"""Swin2SR (Conde et al. 2022) as transformers carries it: loaded strictly, and applied to pictures of any size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from transformers import Swin2SRForImageSuperResolution

from inference.systems.base import Place
from inference.systems.upscale.weights import SWIN2SR
from jobs.errors import Failure

Floats = NDArray[np.float32]

TIMES = 2
WINDOW = 8
"""The network pads to a multiple of its windows by mirroring, which a picture narrower than that cannot bear."""
TILE, SMALL_TILE = 192, 96
"""Pixels of a side; the second where memory is scarce."""
OVERLAP = 32
"""Pixels in which tiles lie over each other: four windows, beyond which hardly anything is looked at."""
WORKING_BYTES = 1_500_000_000
"""Beside the weights, for one tile of 192 × 192 in float32."""


class UpscaleUnreadable(Failure):
    """The checkpoint is damaged, or not the published one."""

    code = "upscale_unreadable"


class Doubler:
    """The network of one place, loaded when it is first asked."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.folder = place.models / SWIN2SR.name

    def doubled(self, frame: Floats, *, thrifty: bool = False) -> Floats:
        """RGB `[H, W, 3]` in 0 … 1 as `[2H, 2W, 3]`.

        Raises:
            UpscaleUnreadable: the checkpoint cannot be used.
        """
        residency = self.place.residency
        resident = residency.get(("upscale", SWIN2SR.name), lambda: load(self.folder))
        pixels = torch.from_numpy(np.ascontiguousarray(frame)).permute(2, 0, 1)[None]  # [1, 3, H, W]
        with residency.on_device(resident, WORKING_BYTES, alone=thrifty) as network, torch.inference_mode():
            larger = tiled(network, pixels.to(self.place.device), SMALL_TILE if thrifty else TILE)
        return larger[0].permute(1, 2, 0).float().cpu().numpy()


def load(folder: Path) -> nn.Module:
    """The published network in float32: in half precision its attention overflows.

    Raises:
        UpscaleUnreadable: a tensor is missing, foreign or of another shape, or the file cannot be read.
    """
    try:
        loaded: Any = Swin2SRForImageSuperResolution.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, dtype=torch.float32, output_loading_info=True
        )
    except Exception as error:  # what transformers meets in a damaged file may be anything
        raise UpscaleUnreadable(model=SWIN2SR.name) from error
    network, found = loaded
    # What is missing would be made up at random, and said in a log line only.
    if any(found[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys")):
        raise UpscaleUnreadable(model=SWIN2SR.name)
    if network.config.upscale != TIMES:
        raise UpscaleUnreadable(model=SWIN2SR.name)
    return network.eval()


def tiled(network: nn.Module, pixels: Tensor, tile: int) -> Tensor:
    """`[1, 3, H, W]` as `[1, 3, 2H, 2W]`, tile by tile; where they lie over each other they turn into each other."""
    height, width = pixels.shape[2:]
    padded = functional.pad(pixels, (0, -width % WINDOW, 0, -height % WINDOW), mode="replicate")
    rows, columns = (starts(length, tile) for length in padded.shape[2:])
    shape = [TIMES * length for length in padded.shape[2:]]
    total, weights = pixels.new_zeros(1, 3, *shape), pixels.new_zeros(1, 1, *shape)
    for top in rows:
        for left in columns:
            piece = padded[..., top : top + tile, left : left + tile]
            larger = network(pixel_values=piece).reconstruction
            weight = _ramp(larger.shape[2], pixels)[:, None] * _ramp(larger.shape[3], pixels)
            place = (
                ...,
                slice(TIMES * top, TIMES * top + larger.shape[2]),
                slice(TIMES * left, TIMES * left + larger.shape[3]),
            )
            total[place] += larger * weight
            weights[place] += weight
    return (total / weights)[..., : TIMES * height, : TIMES * width].clamp(0, 1)


def starts(length: int, tile: int) -> list[int]:
    """Where tiles begin: at multiples of the window, as few as overlap by enough, the last one at the end."""
    if length <= tile:
        return [0]
    count = -(-(length - OVERLAP) // (tile - OVERLAP))
    return [round((length - tile) * index / (count - 1) / WINDOW) * WINDOW for index in range(count)]


def _ramp(length: int, like: Tensor) -> Tensor:
    """Weights along a tile: rising over the overlap, falling again at the other end, never 0."""
    places = torch.arange(length, device=like.device, dtype=like.dtype) + 0.5
    return torch.minimum(places, length - places).clamp(max=TIMES * OVERLAP / 2)
