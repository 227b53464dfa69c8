"""How far everything in a picture is: Depth Anything V2 (Yang et al. 2024), as transformers carries it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn
from transformers import AutoConfig, AutoImageProcessor, AutoModelForDepthEstimation

from inference.depth_weights import DEPTH
from inference.systems.base import Place

Disparity = NDArray[np.float32]
"""Inverse depth, `[h, w]` at the network's resolution: more is nearer, up to a scale and a shift that nobody knows."""

LONGEST_ASPECT = 3
"""A longer picture is squeezed for the network, which would otherwise be given a strip of a few patches."""
WORKING_BYTES = 10**9
"""Beside the weights, for 518 × 1554 pixels in float32."""


class Depth:
    """The network of one place, loaded when it is first asked."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.folder = place.models / DEPTH.name

    def predict(self, picture: Image.Image, *, alone: bool = False) -> Disparity:
        """Of one picture; see `each`."""
        (found,) = self.each((picture,), alone=alone)
        return found

    def each(self, pictures: Iterable[Image.Image], *, alone: bool = False) -> Iterator[Disparity]:
        """Of every picture, one by one; the network is held until the last one is through.

        Args:
            pictures: RGB.
            alone: every other network makes way first.
        """
        processor: Any = AutoImageProcessor.from_pretrained(self.folder, local_files_only=True)
        resident = self.place.residency.get(("depth", DEPTH.name), lambda: _load(self.folder))
        with self.place.residency.on_device(resident, WORKING_BYTES, alone=alone) as network:
            for picture in pictures:
                pixels = processor(images=_squeezed(picture), return_tensors="pt")["pixel_values"]
                with torch.inference_mode():
                    predicted = network(pixel_values=pixels.to(self.place.device)).predicted_depth[0]
                yield predicted.float().cpu().numpy()


def _load(folder: Path) -> nn.Module:
    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    if config.max_depth is None:  # as older versions of transformers wrote it; the newer multiply by it
        config.max_depth = 1
    # Small, and depth decides where edges tear: always float32.
    return AutoModelForDepthEstimation.from_pretrained(
        folder, config=config, local_files_only=True, use_safetensors=True, dtype=torch.float32
    ).eval()


def _squeezed(picture: Image.Image) -> Image.Image:
    width, height = picture.size
    return picture.resize((min(width, LONGEST_ASPECT * height), min(height, LONGEST_ASPECT * width)), reducing_gap=2.0)
