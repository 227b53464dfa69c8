"""SparseCtrl: pictures that a few frames of the clip shall look like; the others are filled in.

The network sees no noisy clip (zeros in its place), only the condition, the words and the noise level. With `rgb` the
pictures are latents, with `scribble` they are drawings in 0 … 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.controlnets.controlnet_sparsectrl import SparseControlNetModel
from diffusers.models.modeling_outputs import AutoencoderKLOutput
from torch import Tensor

Residuals = tuple[Sequence[Tensor], Tensor]
"""What is added to the UNet's skips, and to its middle; each `[B·T, C, h, w]`."""


@dataclass(frozen=True)
class SparseCondition:
    """Pictures in their places, nothing in the others, and a mask that says which is which."""

    pictures: Tensor
    """`[1, C, T, H, W]`: latents, or pixels at 8 times their size."""
    mask: Tensor
    """`[1, 1, T, H, W]`, 1 where there is a picture."""

    @classmethod
    def place(cls, pictures: Tensor, places: Sequence[int], num_frames: int) -> SparseCondition:
        """One picture for each of some frames.

        Args:
            pictures: `[1, C, n, H, W]`.
            places: frame of each, counted from 0; -1 is the last one.
            num_frames: of the clip.

        Raises:
            IndexError: a place is beyond the clip.
        """
        batch, channels, _, height, width = pictures.shape
        placed = pictures.new_zeros(batch, channels, num_frames, height, width)
        mask = pictures.new_zeros(batch, 1, num_frames, height, width)
        for picture, place in zip(pictures.unbind(2), places, strict=True):
            placed[:, :, place] = picture
            mask[:, :, place] = 1
        return cls(placed, mask)

    def at(self, frames: Sequence[int]) -> SparseCondition:
        """Some of the clip's frames: a context window's."""
        chosen = torch.as_tensor(frames, device=self.pictures.device)
        return SparseCondition(self.pictures.index_select(2, chosen), self.mask.index_select(2, chosen))


@dataclass(frozen=True)
class SparseControl:
    """A network, what it is shown, and how strongly it steers."""

    network: SparseControlNetModel
    condition: SparseCondition
    scale: float = 1.0

    def at(self, frames: Sequence[int]) -> SparseControl:
        """For some of the clip's frames."""
        return SparseControl(self.network, self.condition.at(frames), self.scale)

    def residuals(self, latents: Tensor, timestep: Tensor | int, context: Tensor) -> Residuals:
        """For one pass of the UNet.

        Args:
            latents: `[B, C, T, h, w]`; only their shape counts.
            timestep: the noise level.
            context: words of each frame, `[B·T, tokens, width]`.
        """
        device, dtype = latents.device, self.network.dtype
        skips, middle = self.network(
            latents.to(dtype),
            timestep,
            encoder_hidden_states=context.to(dtype),
            controlnet_cond=self.condition.pictures.to(device, dtype),
            conditioning_mask=self.condition.mask.to(device, dtype),
            conditioning_scale=self.scale,
            return_dict=False,
        )
        return skips, middle


@torch.no_grad()
def encode_pictures(vae: AutoencoderKL, pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Latents for `rgb`: a sample of the posterior, scaled (0.18215 for SD 1.5), as the original draws it.

    Args:
        vae: the image model's.
        pictures: `[n, 3, H, W]` in -1 … 1.
        generator: on the CPU, so that the same noise is drawn everywhere.

    Returns:
        `[1, 4, n, H/8, W/8]`.
    """
    encoded = cast(AutoencoderKLOutput, vae.encode(pictures.to(vae.device, vae.dtype))).latent_dist
    noise = torch.randn(encoded.mean.shape, generator=generator).to(encoded.mean)
    latents = (encoded.mean + encoded.std * noise) * vae.config["scaling_factor"]
    return latents.transpose(0, 1)[None]


def spread(pictures: Tensor) -> Tensor:
    """Drawings from their darkest to their lightest value, each by itself: `[n, 3, H, W]` → the same, in 0 … 1.

    The original's scripts do so on request. A drawing of one single value becomes black.
    """
    flat = pictures.flatten(1)
    low, high = (edge[:, None, None, None] for edge in (flat.amin(1), flat.amax(1)))
    return (pictures - low) / (high - low).clamp(min=1e-6)
