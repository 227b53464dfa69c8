"""What CLIP sees of the pictures that IP-Adapter shows it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from inference.systems.animatediff import errors, loader

Kind = Literal["plain", "plus"]

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True)
class SeenPictures:
    """What the image encoder says of some pictures, for adapters of either kind."""

    embeds: Tensor
    """`[n, width]`, projected."""
    patches: Tensor
    """`[n, 1 + patches, width]`: the last layer but one."""
    blank: Tensor
    """`[1, 1 + patches, width]`: the same of a picture of zeros."""

    def branches(self, kind: Kind) -> Tensor:
        """`[2, n, …]`: of the negative branch, then of the positive one."""
        if kind == "plain":
            return torch.stack([torch.zeros_like(self.embeds), self.embeds])
        return torch.stack([self.blank.expand_as(self.patches), self.patches])


def open_image_encoder(folder: Path, model: str, dtype: torch.dtype) -> CLIPVisionModelWithProjection:
    """CLIP ViT-H from `config.json` and `model.safetensors`, as h94/IP-Adapter has it in `models/image_encoder`.

    Raises:
        Failure: it is missing, damaged or not what its config says.
    """
    file = loader.read(folder / "model.safetensors", model)
    # Written by older releases of transformers; computed, not learned.
    tensors = {name: tensor for name, tensor in file.tensors.items() if not name.endswith("embeddings.position_ids")}
    try:
        config = json.loads((folder / "config.json").read_text("utf-8"))
        with torch.device("meta"):
            encoder = CLIPVisionModelWithProjection(CLIPVisionConfig.from_dict(config))
    except (OSError, ValueError, TypeError, LookupError, AttributeError, ZeroDivisionError) as error:
        raise errors.AnimateDiffUnreadable(model=model, file="config.json") from error
    loader.compare(file, loader.shapes_of(tensors), loader.parameters_of(encoder))
    embeddings = encoder.vision_model.embeddings
    embeddings.register_buffer("position_ids", torch.arange(embeddings.num_positions)[None], persistent=False)
    loader.fill(encoder, tensors, dtype)
    return encoder


@torch.no_grad()
def encode_pictures(encoder: CLIPVisionModelWithProjection, pictures: Sequence[Image.Image]) -> SeenPictures:
    """Show pictures to CLIP, all in one pass, and a blank one with them.

    Args:
        encoder: where it is to run.
        pictures: one or more, of any size.
    """
    side = cast(int, encoder.config.image_size)
    pixels = torch.cat([*(clip_pixels(picture, side) for picture in pictures), torch.zeros(1, 3, side, side)])
    seen = encoder(pixels.to(encoder.device, encoder.dtype), output_hidden_states=True)
    patches = seen.hidden_states[-2]
    return SeenPictures(seen.image_embeds[:-1], patches[:-1], patches[-1:])


def clip_pixels(picture: Image.Image, side: int) -> Tensor:
    """The square in the middle, shrunk or grown to `side` (bicubic), normalised: `[1, 3, side, side]` float32.

    What lies outside the square is not seen: whoever needs the edges squeezes or pads the picture before.
    """
    scale = side / min(picture.size)
    width, height = (side if edge == min(picture.size) else int(edge * scale) for edge in picture.size)
    whole = picture.convert("RGB").resize((width, height), Image.Resampling.BICUBIC)
    left, top = (width - side) // 2, (height - side) // 2
    square = np.asarray(whole.crop((left, top, left + side, top + side)), dtype=np.float32) / 255
    normalised = (square - np.asarray(CLIP_MEAN, np.float32)) / np.asarray(CLIP_STD, np.float32)
    return torch.from_numpy(normalised).permute(2, 0, 1)[None]
