"""A ControlNet that is shown a condition for every frame of the clip, in the place where a SparseControl may stand."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, Self, TypeVar

import numpy as np
import torch
from diffusers.models.controlnets.controlnet import ControlNetModel
from torch import Tensor

from inference.systems.animatediff.sparsectrl import Residuals
from inference.systems.base import Frame


class Control(Protocol):
    """What a Denoiser asks of whatever steers; SparseControl and FrameControl both answer."""

    def at(self, frames: Sequence[int]) -> Self:
        """For some of the clip's frames: a context window's."""
        ...

    def residuals(self, latents: Tensor, timestep: Tensor | int, context: Tensor) -> Residuals:
        """What is added to the UNet's skips and to its middle, `[B·T, C, h, w]` each."""
        ...


@dataclass(frozen=True)
class FrameControl:
    """A network, what it is shown of each frame, how strongly and during which steps it steers."""

    network: ControlNetModel
    conditions: Tensor
    """`[T, 3, H, W]`, at 8 times the latents' size: numbers in 0 … 1, or bytes (`stacked`), a quarter of the memory."""
    scale: float = 1.0
    begin: float = 0.0
    """Share of the steps before it begins to steer, 0 … 1."""
    end: float = 1.0
    """Share of the steps after which it lets go, 0 … 1."""

    def at(self, frames: Sequence[int]) -> FrameControl:
        """For some of the clip's frames."""
        chosen = torch.as_tensor(frames, device=self.conditions.device)
        return replace(self, conditions=self.conditions.index_select(0, chosen))

    def steers(self, step: int, num_steps: int) -> bool:
        """Whether it steers in a step, counted from 0: only in those that lie wholly between `begin` and `end`.

        As diffusers' ControlNet pipelines count it (`control_guidance_start`, `control_guidance_end`).
        """
        return self.begin <= step / num_steps and (step + 1) / num_steps <= self.end

    def residuals(self, latents: Tensor, timestep: Tensor | int, context: Tensor) -> Residuals:
        """For one pass of the UNet. Frames know nothing of each other here.

        Args:
            latents: noisy, as the UNet is given them, `[B, C, T, h, w]`.
            timestep: the noise level.
            context: words of each frame, `[B·T, tokens, width]`.
        """
        device, dtype = latents.device, self.network.dtype
        branches = latents.shape[0]
        skips, middle = self.network(
            latents.transpose(1, 2).flatten(0, 1).to(dtype),  # [B·T, C, h, w], a branch's frames in a row
            timestep,
            encoder_hidden_states=context.to(dtype),
            controlnet_cond=_unit(self.conditions.to(device)).to(dtype).repeat(branches, 1, 1, 1),
            conditioning_scale=self.scale,
            return_dict=False,
        )
        return skips, middle


C = TypeVar("C", bound=Control)


def steering(controls: Iterable[C], step: int, num_steps: int) -> list[C]:
    """Those that steer in a step, counted from 0. What has no begin and no end always does."""
    return [control for control in controls if not isinstance(control, FrameControl) or control.steers(step, num_steps)]


def stacked(pictures: Iterable[Frame]) -> Tensor:
    """Condition pictures `[H, W, 3]` of equal size, one for each frame, as bytes `[T, 3, H, W]`."""
    return torch.from_numpy(np.stack([np.moveaxis(picture, 2, 0) for picture in pictures]))


def _unit(conditions: Tensor) -> Tensor:
    return conditions.float() / 255 if conditions.dtype == torch.uint8 else conditions
