"""From noise and words to the clip's latents, as `AnimationPipeline` of guoyww/AnimateDiff has it.

A `Denoiser` is one question to the networks: what is noise in these frames? It can be asked for all frames of the clip
(`whole`) or window by window (`windowed`), so that memory is a window's, however long the clip.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_motion_model import UNetMotionModel
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from torch import Tensor

from inference.systems.animatediff import errors
from inference.systems.animatediff.blending import Mixture
from inference.systems.animatediff.contexts import Windowing, fuse
from inference.systems.animatediff.controls.frame_control import Control, steering
from inference.systems.animatediff.motion_scale import MotionScale, scaled
from inference.systems.animatediff.pia import PiaCondition
from inference.systems.animatediff.views import viewing

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

    positive: Tensor | Mixture
    """`[T, tokens, width]`, of each frame; or `[1, tokens, width]`, the same for all."""
    negative: Tensor | Mixture
    """Likewise."""
    pooled: tuple[Tensor, Tensor] | None = None
    """SDXL's second encoder's, `[1, width]`: of the positive prompt and of the negative one."""
    time_ids: tuple[float, ...] = ()
    """SDXL's: original height and width, top and left of the crop, target height and width."""

    def context(self, frames: Sequence[int], *, guided: bool) -> Tensor:
        """`[B·T, tokens, width]` for the UNet: all frames of the negative branch, if guided, then of the positive."""
        branches = (self.negative, self.positive) if guided else (self.positive,)
        return torch.cat([_at(branch, frames) for branch in branches])

    def added(self, *, guided: bool, like: Tensor) -> dict[str, Any] | None:
        """What SDXL is told beside the words, in the order of the branches; None for SD 1.5."""
        if self.pooled is None:
            return None
        positive, negative = self.pooled
        text = torch.cat([negative, positive]) if guided else positive
        ids = torch.tensor([self.time_ids] * len(text))
        return {"text_embeds": text.to(like), "time_ids": ids.to(like)}


def _at(branch: Tensor | Mixture, frames: Sequence[int]) -> Tensor:
    if isinstance(branch, Mixture):
        return branch.at(frames)
    return branch[list(frames)] if len(branch) > 1 else branch.expand(len(frames), -1, -1)


@dataclass(frozen=True)
class Denoiser:
    """UNet, words, guidance, and what else steers."""

    unet: UNetMotionModel
    words: Words
    guidance_scale: float
    """At 1 or less the negative branch is left out; Lightning and LCM are made for that."""
    controls: Sequence[Control] = ()
    motion: MotionScale = field(default_factory=MotionScale)
    pia: PiaCondition | None = None
    """What PIA's UNet sees beside the latents."""
    num_steps: int = 1
    """Of the whole run: controls may steer for a part of it."""
    branch_by_branch: bool = False
    """The negative branch before the positive one, not both at once: half the memory, other roundings."""

    @property
    def guided(self) -> bool:
        """Whether the negative branch is computed."""
        return self.guidance_scale > 1

    def noise(self, latents: Tensor, timestep: Tensor, frames: Sequence[int], step: int = 0) -> Tensor:
        """What is noise in some of the clip's frames; guided.

        Args:
            latents: of these frames, `[B, C, T, h, w]`, scaled as the sampler wants it.
            timestep: the noise level.
            frames: their places in the clip, for what differs from frame to frame.
            step: of the run, counted from 0.
        """
        branches = 2 if self.guided else 1
        dtype = self.unet.dtype
        inputs = torch.cat([latents] * branches).to(dtype)
        context = self.words.context(frames, guided=self.guided).to(inputs.device, dtype)
        added = self.words.added(guided=self.guided, like=inputs)
        skips, middle = self._residuals(inputs, timestep, context, frames, step)
        seen = self.pia.at(frames).beside(inputs) if self.pia else inputs
        pieces = [slice(i, i + 1) for i in range(branches)] if self.branch_by_branch else [slice(0, branches)]
        with scaled(self.unet, self.motion.at(frames)):
            noise = torch.cat(
                [
                    self._pass(
                        seen[piece],
                        timestep,
                        _part(context, piece, branches),
                        [_part(level, piece, branches) for level in skips] if skips else None,
                        None if middle is None else _part(middle, piece, branches),
                        added and {name: value[piece] for name, value in added.items()},
                    )
                    for piece in pieces
                ]
            )
        if not self.guided:
            return noise
        negative, positive = noise.chunk(2)
        return negative + self.guidance_scale * (positive - negative)

    def _pass(
        self,
        seen: Tensor,
        timestep: Tensor,
        context: Tensor,
        skips: list[Tensor] | None,
        middle: Tensor | None,
        added: dict[str, Tensor] | None,
    ) -> Tensor:
        """One pass of the UNet, float32."""
        return self.unet(
            seen,
            timestep,
            encoder_hidden_states=context,
            down_block_additional_residuals=skips,
            mid_block_additional_residual=middle,
            added_cond_kwargs=added,
            return_dict=False,
        )[0].float()

    def _residuals(
        self, inputs: Tensor, timestep: Tensor, context: Tensor, frames: Sequence[int], step: int
    ) -> tuple[list[Tensor] | None, Tensor | None]:
        """All controls' residuals together, in the UNet's type; None where there are none."""
        controls = steering(self.controls, step, self.num_steps)
        if not controls:
            return None, None
        each = [control.at(frames).residuals(inputs, timestep, context) for control in controls]
        skips = [cast(Tensor, sum(level)).to(inputs.dtype) for level in zip(*(skips for skips, _ in each), strict=True)]
        return skips, cast(Tensor, sum(middle for _, middle in each)).to(inputs.dtype)

    def _most(self, num_frames: int) -> None:
        most = int(self.unet.config["motion_max_seq_length"])
        if num_frames > most:
            raise errors.AnimateDiffTooLong(frames=num_frames, most=most)

    def whole(self) -> Ask:
        """Asks for all frames at once."""

        def ask(latents: Tensor, timestep: Tensor, step: int) -> Tensor:
            self._most(latents.shape[2])
            return self.noise(latents, timestep, range(latents.shape[2]), step)

        return ask

    def windowed(self, windowing: Windowing) -> Ask:
        """Asks window by window, and takes the mean where they overlap."""

        def ask(latents: Tensor, timestep: Tensor, step: int) -> Tensor:
            num_frames = latents.shape[2]
            placed = windowing.at(num_frames, step)
            views = windowing.views(num_frames)
            self._most(max(map(len, views if len(views) > 1 else placed)))
            with viewing(self.unet, windowing, num_frames):
                parts = (self.noise(latents[:, :, list(window)], timestep, window, step) for window in placed)
                return fuse(windowing, placed, num_frames, parts, dim=2)

        return ask


def _part(frames: Tensor, piece: slice, branches: int) -> Tensor:
    """Of `[B·T, …]` some branches."""
    each = len(frames) // branches
    return frames[piece.start * each : piece.stop * each]


@dataclass(frozen=True)
class Beginning:
    """A clip that is there already, to begin from instead of noise alone (video to video)."""

    latents: Tensor
    """`[1, C, T, h, w]`, scaled."""
    strength: float
    """0 … 1: so much of the steps is taken, and so much noise is put on it."""
    keep: Tensor | None = None
    """`[1, 1, 1, h, w]` or `[1, 1, T, h, w]`, 1 where it is to stay as it is."""


def _unseen(latents: Tensor) -> None:
    """Nobody looks."""


@torch.no_grad()
def denoise(
    ask: Ask,
    scheduler: Any,
    noise: Tensor,
    num_inference_steps: int,
    *,
    generator: torch.Generator | None = None,
    beginning: Beginning | None = None,
    seen: Callable[[Tensor], None] = _unseen,
) -> Iterator[Tensor]:
    """The latents after each step, `[1, C, T, h, w]` float32; the last ones are the clip's.

    The sampler's own arithmetic is float32 throughout; only the networks may be narrower.

    Args:
        ask: `Denoiser.whole()`, or windows around `Denoiser.noise`.
        scheduler: fresh, from `ddim`; or any other of diffusers' that is asked in the same way.
        noise: on the device where the UNet is.
        num_inference_steps: 25 in the original's scripts.
        generator: on the CPU, for samplers that add noise at each step.
        beginning: what to begin from; only the last steps are taken then (`steps_taken`).
        seen: shown at each step what the clip would be if there was no noise left in it.
    """
    scheduler.set_timesteps(num_inference_steps, device=noise.device)
    timesteps, noise = scheduler.timesteps, noise.float()
    latents = noise * scheduler.init_noise_sigma
    if beginning is not None:
        first = len(timesteps) - steps_taken(len(timesteps), beginning.strength)
        timesteps = timesteps[first:]
        if hasattr(scheduler, "set_begin_index"):
            scheduler.set_begin_index(first)
        latents = scheduler.add_noise(beginning.latents.float(), noise, timesteps[:1])
    draws = "generator" in inspect.signature(scheduler.step).parameters
    how: dict[str, Any] = {"generator": generator} if draws else {}
    for step, timestep in enumerate(timesteps):
        predicted = ask(scheduler.scale_model_input(latents, timestep), timestep, step)
        latents, *clean = scheduler.step(predicted, timestep, latents, return_dict=False, **how)
        if beginning is not None and beginning.keep is not None:
            latents = _kept(scheduler, latents, beginning, noise, timesteps[step + 1 : step + 2])
        seen(cast(Tensor, clean[0]) if clean else latents)
        yield latents


def steps_taken(num_inference_steps: int, strength: float) -> int:
    """Of all steps, at least one."""
    return max(1, min(num_inference_steps, round(num_inference_steps * strength)))


def _kept(scheduler: Any, latents: Tensor, beginning: Beginning, noise: Tensor, following: Tensor) -> Tensor:
    """With what is to stay put in its place again, under as much noise as the rest will have at the next step."""
    there = beginning.latents.float()
    if len(following):
        there = scheduler.add_noise(there, noise, following)
    keep = cast(Tensor, beginning.keep)
    return keep * there + (1 - keep) * latents


@torch.no_grad()
def decode(vae: AutoencoderKL, latents: Tensor) -> Iterator[Tensor]:
    """Frames in -1 … 1 (and a little beyond), `[3, H, W]`, one by one as the original decodes them.

    Args:
        vae: the image model's.
        latents: `[1, C, T, h, w]`.
    """
    device, dtype = vae.device, vae.dtype
    unscaled = latents[0].transpose(0, 1) / vae.config["scaling_factor"]
    for frame in unscaled.split(1):
        yield vae.decode(frame.to(device, dtype), return_dict=False)[0][0].float()
