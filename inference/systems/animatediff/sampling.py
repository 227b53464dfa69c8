"""From noise and words to the clip's latents, as `AnimationPipeline` of guoyww/AnimateDiff has it.

A `Denoiser` is one question to the networks: what is noise in these frames? It can be asked for all frames of the clip
or for a window of them, so long clips are a matter of whoever asks (`Ask`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_motion_model import UNetMotionModel
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from torch import Tensor

from inference.systems.animatediff import errors
from inference.systems.animatediff.motion_scale import MotionScale, scaled
from inference.systems.animatediff.sparsectrl import SparseControl

Ask = Callable[[Tensor, Tensor, int], Tensor]
"""Latents `[B, C, T, h, w]`, noise level, number of the step → noise in them, guided, of the same shape."""


def ddim() -> DDIMScheduler:
    """The original's sampler: betas LINEAR from 0.00085 to 0.012, where SD has their roots linear; no clipping.

    `leading` starts at 1 + 1000 - 1000 // steps, as diffusers did when AnimateDiff was made; today's examples say
    `linspace`, which starts at 999 and gives another clip.
    """
    return DDIMScheduler(
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="linear",
        steps_offset=1,
        clip_sample=False,
        set_alpha_to_one=True,
        timestep_spacing="leading",
        prediction_type="epsilon",
    )


def starting_noise(seed: int, num_frames: int, size: tuple[int, int], latent_channels: int = 4) -> Tensor:
    """`[1, C, T, H/8, W/8]` float32, drawn on the CPU so that it is the same everywhere.

    Args:
        seed: the request's.
        num_frames: frames to make.
        size: width and height in pixels.
        latent_channels: of the VAE.
    """
    width, height = size
    generator = torch.Generator("cpu").manual_seed(seed)
    return torch.randn((1, latent_channels, num_frames, height // 8, width // 8), generator=generator)


@dataclass(frozen=True)
class Words:
    """What the text encoder made of the prompts: its last hidden state, 77 tokens."""

    positive: Tensor
    """`[T, tokens, width]`, of each frame; or `[1, tokens, width]`, the same for all."""
    negative: Tensor
    """Likewise."""

    def context(self, frames: Sequence[int], *, guided: bool) -> Tensor:
        """`[B·T, tokens, width]` for the UNet: all frames of the negative branch, if guided, then of the positive."""
        branches = (self.negative, self.positive) if guided else (self.positive,)
        return torch.cat(
            [branch[list(frames)] if len(branch) > 1 else branch.expand(len(frames), -1, -1) for branch in branches]
        )


@dataclass(frozen=True)
class Denoiser:
    """UNet, words, guidance, and what else steers."""

    unet: UNetMotionModel
    words: Words
    guidance_scale: float
    """At 1 or less the negative branch is left out; Lightning and LCM are made for that."""
    controls: Sequence[SparseControl] = ()
    motion: MotionScale = field(default_factory=MotionScale)

    @property
    def guided(self) -> bool:
        """Whether the negative branch is computed."""
        return self.guidance_scale > 1

    def noise(self, latents: Tensor, timestep: Tensor, frames: Sequence[int]) -> Tensor:
        """What is noise in some of the clip's frames; guided.

        Args:
            latents: of these frames, `[B, C, T, h, w]`, scaled as the sampler wants it.
            timestep: the noise level.
            frames: their places in the clip, for what differs from frame to frame.
        """
        most = int(self.unet.config["motion_max_seq_length"])
        if len(frames) > most:
            raise errors.AnimateDiffTooLong(frames=len(frames), most=most)
        dtype = self.unet.dtype
        inputs = torch.cat([latents] * (2 if self.guided else 1)).to(dtype)
        context = self.words.context(frames, guided=self.guided).to(inputs.device, dtype)
        skips, middle = self._residuals(inputs, timestep, context, frames)
        with scaled(self.unet, self.motion.at(frames)):
            noise: Tensor = self.unet(
                inputs,
                timestep,
                encoder_hidden_states=context,
                down_block_additional_residuals=skips,
                mid_block_additional_residual=middle,
                return_dict=False,
            )[0].float()
        if not self.guided:
            return noise
        negative, positive = noise.chunk(2)
        return negative + self.guidance_scale * (positive - negative)

    def _residuals(
        self, inputs: Tensor, timestep: Tensor, context: Tensor, frames: Sequence[int]
    ) -> tuple[list[Tensor] | None, Tensor | None]:
        """All controls' residuals together, in the UNet's type; None where there are none."""
        if not self.controls:
            return None, None
        each = [control.at(frames).residuals(inputs, timestep, context) for control in self.controls]
        skips = [cast(Tensor, sum(level)).to(inputs.dtype) for level in zip(*(skips for skips, _ in each), strict=True)]
        return skips, cast(Tensor, sum(middle for _, middle in each)).to(inputs.dtype)

    def whole(self) -> Ask:
        """Asks for all frames at once."""

        def ask(latents: Tensor, timestep: Tensor, _step: int) -> Tensor:
            return self.noise(latents, timestep, range(latents.shape[2]))

        return ask


@torch.no_grad()
def denoise(ask: Ask, scheduler: Any, noise: Tensor, num_inference_steps: int) -> Iterator[Tensor]:
    """The latents after each step, `[1, C, T, h, w]` float32; the last ones are the clip's.

    The sampler's own arithmetic is float32 throughout; only the networks may be narrower.

    Args:
        ask: `Denoiser.whole()`, or windows around `Denoiser.noise`.
        scheduler: fresh, from `ddim`; or any other of diffusers' that is asked in the same way.
        noise: on the device where the UNet is.
        num_inference_steps: 25 in the original's scripts.
    """
    scheduler.set_timesteps(num_inference_steps, device=noise.device)
    latents = noise.float() * scheduler.init_noise_sigma
    for step, timestep in enumerate(scheduler.timesteps):
        predicted = ask(scheduler.scale_model_input(latents, timestep), timestep, step)
        latents = cast(Tensor, scheduler.step(predicted, timestep, latents, return_dict=False)[0])
        yield latents


@torch.no_grad()
def decode(vae: AutoencoderKL, latents: Tensor) -> Iterator[Tensor]:
    """Frames in -1 … 1 (and a little beyond), `[3, H, W]`, one by one as the original decodes them.

    Args:
        vae: the image model's.
        latents: `[1, C, T, h, w]`.
    """
    unscaled = latents[0].transpose(0, 1) / vae.config["scaling_factor"]
    for frame in unscaled.split(1):
        yield vae.decode(frame.to(vae.device, vae.dtype), return_dict=False)[0][0].float()
