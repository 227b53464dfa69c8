"""The way from a picture to frames, step by step: starting noise → conditioning → denoised latents → frames.

Plain functions over diffusers' networks, after `simple_video_sample.py` of Stability-AI/generative-models. Each asks
nothing of where the networks lie: tensors go to the network's own device and type.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl_temporal_decoder import AutoencoderKLTemporalDecoder
from diffusers.models.modeling_outputs import AutoencoderKLOutput
from diffusers.models.unets.unet_spatio_temporal_condition import UNetSpatioTemporalConditionModel
from diffusers.schedulers.scheduling_euler_discrete import EulerDiscreteScheduler
from numpy.typing import NDArray
from torch import Tensor
from transformers import CLIPVisionModelWithProjection

from inference.systems.svd.pictures import LATENT, clip_pixels


@dataclass(frozen=True)
class StartingNoise:
    """All that is random in a clip, drawn on the CPU so that it is the same everywhere."""

    augmentation: Tensor
    """`[1, 3, H, W]`, put on the picture."""
    latents: Tensor
    """`[1, T, 4, H/8, W/8]`."""


def starting_noise(seed: int, num_frames: int, size: tuple[int, int], latent_channels: int = 4) -> StartingNoise:
    """Both noises from one generator, the picture's first, as the original and diffusers draw them.

    Args:
        seed: the request's.
        num_frames: frames to make.
        size: width and height in pixels.
        latent_channels: of the VAE.
    """
    width, height = size
    generator = torch.Generator("cpu").manual_seed(seed)
    augmentation = torch.randn((1, 3, height, width), generator=generator)
    latents = torch.randn((1, num_frames, latent_channels, height // LATENT, width // LATENT), generator=generator)
    return StartingNoise(augmentation, latents)


@torch.no_grad()
def embed_picture(encoder: CLIPVisionModelWithProjection, picture: Tensor) -> Tensor:
    """CLIP's embedding of the clean picture, `[1, 3, H, W]` in -1 … 1 → `[1, 1, width of the projection]`."""
    pixels = clip_pixels(picture, cast(int, encoder.config.image_size))
    return encoder(pixels.to(encoder.device, encoder.dtype)).image_embeds[:, None]


@torch.no_grad()
def encode_picture(vae: AutoencoderKLTemporalDecoder, picture: Tensor, noise: Tensor, strength: float) -> Tensor:
    """Latents of the picture with augmentation noise on it: the posterior's mode, not scaled. `[1, 4, H/8, W/8]`."""
    noisy = picture + strength * noise
    encoded = cast(AutoencoderKLOutput, vae.encode(noisy.to(vae.device, vae.dtype)))
    return encoded.latent_dist.mode()


@dataclass(frozen=True)
class Conditioning:
    """What the UNet is told about the clip, for the conditional branch."""

    embedding: Tensor
    """`[1, 1, D]`, from `embed_picture`."""
    latents: Tensor
    """`[1, 4, H/8, W/8]`, from `encode_picture`; the same beside every frame."""
    fps_id: int
    motion: int
    noise_aug_strength: float

    def time_ids(self) -> Tensor:
        """`[1, 3]`, in the order in which the vector is put together."""
        return torch.tensor([[float(self.fps_id), float(self.motion), self.noise_aug_strength]])


@dataclass(frozen=True)
class Guidance:
    """Classifier-free guidance that grows evenly from the first frame to the last."""

    low: float
    high: float

    @property
    def needed(self) -> bool:
        """At a scale of 1 throughout, the unconditional branch cancels out and is not computed."""
        return self.high > 1.0

    def scales(self, num_frames: int) -> Tensor:
        """`[1, T, 1, 1, 1]`."""
        return torch.linspace(self.low, self.high, num_frames)[None, :, None, None, None]


def _unseen(latents: Tensor) -> None:
    """Nobody looks."""


@dataclass(frozen=True)
class Sparing:
    """How the UNet computes where memory is short, and where it does so."""

    device: torch.device
    """Its weights may wait elsewhere."""
    branch_by_branch: bool = False
    """The unconditional branch before the conditional one, not both at once: half the memory, other roundings."""


@torch.no_grad()
def denoise(
    unet: UNetSpatioTemporalConditionModel,
    scheduler: EulerDiscreteScheduler,
    noise: Tensor,
    conditioning: Conditioning,
    guidance: Guidance,
    num_inference_steps: int,
    *,
    sparing: Sparing | None = None,
    seen: Callable[[Tensor], None] = _unseen,
) -> Iterator[Tensor]:
    """The latents after each step, `[1, T, 4, H/8, W/8]` float32; the last ones are the clip's.

    The sampler's own arithmetic is float32 throughout, as in the original under autocast; only the UNet may be
    narrower. In the unconditional branch the picture's embedding and latents are zeros; fps, motion and augmentation
    stay. `seen` is shown at each step what the clip would be if there was no noise left in it.
    """
    sparing = sparing or Sparing(unet.device)
    device, dtype = sparing.device, unet.dtype
    scheduler.set_timesteps(num_inference_steps, device=device)
    latents = noise.to(device) * scheduler.init_noise_sigma
    branches = 2 if guidance.needed else 1
    embedding = _with_zeros(conditioning.embedding, branches).to(device, dtype)
    beside = _with_zeros(conditioning.latents, branches).to(device)
    beside = beside[:, None].repeat(1, noise.shape[1], 1, 1, 1)
    time_ids = conditioning.time_ids().repeat(branches, 1).to(device)
    scales = guidance.scales(noise.shape[1]).to(device)
    for timestep in scheduler.timesteps:
        scaled = scheduler.scale_model_input(torch.cat([latents] * branches), timestep)
        inputs = torch.cat([scaled, beside], dim=2).to(dtype)
        velocity = torch.cat(
            [
                unet(
                    inputs[branch],
                    timestep,
                    encoder_hidden_states=embedding[branch],
                    added_time_ids=time_ids[branch],
                    return_dict=False,
                )[0].float()
                for branch in ([slice(0, 1), slice(1, 2)][:branches] if sparing.branch_by_branch else [slice(None)])
            ]
        )
        if guidance.needed:
            unconditional, conditional = velocity.chunk(2)
            velocity = unconditional + scales * (conditional - unconditional)
        latents, clean = scheduler.step(velocity, timestep, latents, return_dict=False)
        seen(clean)
        yield latents


def _with_zeros(conditional: Tensor, branches: int) -> Tensor:
    """The unconditional branch before the conditional one, where there are two."""
    return torch.cat([torch.zeros_like(conditional), conditional]) if branches == 2 else conditional


@torch.no_grad()
def decode(vae: AutoencoderKLTemporalDecoder, latents: Tensor, chunk_size: int) -> Iterator[Tensor]:
    """Frames in -1 … 1 (and a little beyond), `[n, 3, H, W]`, chunk by chunk.

    The decoder mixes neighbouring frames and sees nothing beyond its chunk, so the chunk size changes pixels.

    Args:
        vae: in float32.
        latents: `[1, T, 4, H/8, W/8]`.
        chunk_size: frames to decode at a time.
    """
    unscaled = 1 / vae.config["scaling_factor"] * latents.flatten(0, 1).to(vae.device, vae.dtype)
    for chunk in unscaled.split(chunk_size):
        yield vae.decode(chunk, num_frames=len(chunk), return_dict=False)[0].float()


def to_pixels(frames: Tensor, rounded: bool) -> NDArray[np.uint8]:
    """`[n, 3, H, W]` in -1 … 1 → `[n, H, W, 3]` bytes. The original cuts fractions off; diffusers rounds them."""
    values = (frames * 0.5 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).cpu().numpy() * 255
    return (values.round() if rounded else values).astype(np.uint8)
