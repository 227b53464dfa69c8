"""Between pictures and tensors: framing, previews, pixels."""

from __future__ import annotations

from collections.abc import Generator, Hashable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor

from inference import latent_colours
from inference.latent_colours import LATENT
from inference.memory import ran_out
from inference.systems.animatediff.base.model import Base
from inference.systems.animatediff.engine import Engine, decode_bytes
from inference.systems.animatediff.sampling import decode
from inference.systems.animatediff.sparsectrl import encode_pictures
from inference.systems.base import Frame, Thrift, Tick

Size = tuple[int, int]
"""Width and height in pixels."""


def filled(picture: Image.Image, size: Size) -> Image.Image:
    """By cropping equally at both ends of the longer side."""
    return ImageOps.fit(picture.convert("RGB"), size, Image.Resampling.LANCZOS)


def framed(picture: Image.Image, size: Size) -> Tensor:
    """Filled by cropping: `[1, 3, H, W]` in -1 … 1."""
    return torch.from_numpy(np.asarray(filled(picture, size), dtype=np.float32) / 127.5 - 1).permute(2, 0, 1)[None]


def white_on_black(drawing: Tensor) -> Tensor:
    """A drawing as SparseCtrl's scribbles were: light lines on a dark ground. On paper it is the other way round.

    `[n, 3, H, W]` in 0 … 1.
    """
    return torch.where(drawing.mean((1, 2, 3), keepdim=True) > 0.5, 1 - drawing, drawing)


def to_pixels(frame: Tensor) -> NDArray[np.uint8]:
    """`[3, H, W]` in -1 … 1 → `[H, W, 3]` bytes; fractions are cut off, as the original does."""
    values = (frame / 2 + 0.5).clamp(0, 1).permute(1, 2, 0).cpu().numpy() * 255
    return values.astype(np.uint8)


class Colours:
    """A look at latents without the decoder, where there may be no picture: the map is fitted to a chart of colours."""

    def __init__(self) -> None:
        self._maps: dict[str, Tensor] = {}

    def fit(self, base: Base, vae: AutoencoderKL) -> None:
        """Once for each image model; the VAE is on its device."""
        if base.name in self._maps:
            return
        chart = _chart()
        with torch.no_grad():
            latents = encode_pictures(vae, chart, torch.Generator("cpu").manual_seed(0))[:, :, 0]
        self._maps[base.name] = latent_colours.fit_colours(latents, chart)

    def look(self, base: Base, latents: Tensor) -> Frame:
        """One frame's latents, `[C, h, w]` → `[h, w, 3]` bytes."""
        return latent_colours.look(self._maps[base.name], latents)


def _chart() -> Tensor:
    """All corners of the colour cube and what lies between, in 16 × 16 tiles: `[1, 3, 128, 128]` in -1 … 1."""
    steps = torch.linspace(-1, 1, 8)
    red, green, blue = torch.meshgrid(steps, steps, torch.tensor([-1.0, -0.33, 0.33, 1.0]), indexing="ij")
    tiles = torch.stack([red, green, blue]).reshape(3, 16, 16)
    return tiles.repeat_interleave(LATENT, 1).repeat_interleave(LATENT, 2)[None]


class Undecoded:
    """Latents whose decoding ran out of memory: the next try need not make them again."""

    def __init__(self) -> None:
        self._kept: tuple[Hashable, Tensor] | None = None

    def take(self, key: Hashable) -> Tensor | None:
        """Those of this very request, once."""
        kept, self._kept = self._kept, None
        return kept[1] if kept is not None and kept[0] == key else None

    def decoded(
        self, engine: Engine, base: Base, latents: Tensor, key: Hashable, tick: Tick, thrift: Thrift
    ) -> Iterator[Frame]:
        """Frames, one by one."""
        size = latents.shape[-1] * LATENT, latents.shape[-2] * LATENT
        vae, total = engine.vae(base), latents.shape[2]
        working = decode_bytes(size, base.vae_dtype(engine.place.dtype))
        try:
            with engine.place.residency.on_device(vae, working, alone=thrift.offload) as network:
                tick("decoding", 0, total)
                with tiled(network, thrift.decode_chunk_size is not None):
                    for done, frame in enumerate(decode(network, latents), start=1):
                        tick("decoding", done, total)
                        yield to_pixels(frame)
        except Exception as error:
            if ran_out(error):
                self._kept = key, latents.cpu()
            raise


@contextmanager
def tiled(vae: AutoencoderKL, wanted: bool) -> Generator[None]:
    """Within this, a large frame is decoded in tiles that overlap: little memory, and faint seams."""
    if wanted:
        vae.enable_tiling()
    try:
        yield
    finally:
        if wanted:
            vae.disable_tiling()
