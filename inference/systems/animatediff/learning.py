"""The job of learning how a clip moves: from its latents to a file that every later clip can be made with.

```
chosen = choose(len(frames), fps, seconds, recipe.num_frames)
latents = torch.cat([*encode(vae, frames, chosen.indices, learning_size(width, height, side), seed)], dim=2)
learning = Learning(unet, words, latents, recipe, seed, device)
for step in learning.steps():
    tick("learning", step.number, step.total)
motion = learning.file("animatediff-v3").to_bytes()
```

Afterwards `MotionFile.parse(data, name).lora(module, name)` is merged like any other LoRA. What was learned shows best
in two clips of the same prompt and seed, one with it and one without.

It is less than MotionDirector does at one point: a clip's start noise is not kept (`learning_file.py` says why).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from statistics import fmean

import torch
from diffusers.models.unets.unet_motion_model import UNetMotionModel
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from torch import Tensor

from inference.systems.animatediff import errors, sampling
from inference.systems.animatediff.learning_file import MOST_RANK, About, MotionFile
from inference.systems.animatediff.motiondirector import MotionLearner, Recipe, added, motion_lora

SMOOTHING = 0.95
"""Of the loss that is shown: each timestep has its own, so single ones jump."""


@dataclass(frozen=True)
class Step:
    """One step, done."""

    number: int
    """From 1."""
    total: int
    spatial_loss: float | None
    """None in the steps without a spatial half."""
    temporal_loss: float
    """Smoothed, from the first step on."""


@dataclass
class Learning:
    """One clip's motion being learned.

    Whoever stops asking for steps has stopped it: between two steps the UNet is as it was, and can be used by others.
    """

    unet: UNetMotionModel
    """On the device, whole, in any floating type; with the image model's own LoRAs merged, if they are wanted."""
    words: sampling.Words
    """What the clip shows; only the first frame's positive ones are used."""
    latents: Tensor
    """The clip: `[1, C, T, h, w]` float32, best on the CPU. More frames than a window has are several windows."""
    recipe: Recipe
    seed: int
    device: torch.device
    scheduler: DDIMScheduler = field(default_factory=sampling.ddim)
    """Says how much noise a timestep has; linear betas are what the motion modules were trained with."""
    losses: list[float] = field(default_factory=list[float], init=False)
    """Temporal, of each step so far."""

    def __post_init__(self) -> None:
        if self.recipe.rank > MOST_RANK:
            raise ValueError(f"a rank of {self.recipe.rank} is more than the file may have")
        most = int(self.unet.config["motion_max_seq_length"])
        if self.window > most:
            raise errors.AnimateDiffTooLong(frames=self.window, most=most)
        self._learner = MotionLearner(self.unet, self.recipe, self.seed, self.device)
        self._generator = torch.Generator("cpu").manual_seed(self.seed + 2)

    @property
    def window(self) -> int:
        """Frames that are looked at together."""
        return min(self.recipe.num_frames, self.latents.shape[2])

    def steps(self) -> Iterator[Step]:
        """Learn, step by step; after a pause, from where it was left.

        Raises:
            LearningDiverged: the loss is no number any more.
        """
        smoothed, weight = 0.0, 0.0
        while len(self.losses) < self.recipe.num_steps:
            spatial, temporal = self._learner.step(self._predict, self._window(), self.scheduler)
            self.losses.append(temporal)
            smoothed = SMOOTHING * smoothed + (1 - SMOOTHING) * temporal
            weight = SMOOTHING * weight + (1 - SMOOTHING)
            yield Step(len(self.losses), self.recipe.num_steps, spatial, smoothed / weight)

    @torch.no_grad()
    def glance(self, timestep: int) -> Tensor:
        """What the network makes of the clip's middle frame under so much noise: its latents, `[C, h, w]`."""
        latents = self.latents[:, :, : self.window].to(self.device)
        level = torch.full((1,), timestep, device=self.device)
        noise = torch.randn(latents.shape, generator=torch.Generator("cpu").manual_seed(self.seed)).to(latents)
        noisy = self.scheduler.add_noise(latents, noise, level)  # pyright: ignore[reportArgumentType]
        with added(self.unet, self._learner.temporal):
            predicted = self._predict(noisy, level).float()
        kept = self.scheduler.alphas_cumprod[timestep]
        return ((noisy - (1 - kept) ** 0.5 * predicted) / kept**0.5)[0, :, self.window // 2]

    def file(self, module: str) -> MotionFile:
        """What has been learned so far: the temporal LoRAs, from at least one step.

        Args:
            module: the motion module in the UNet, by a name that tells it from all others.

        Raises:
            LearningDiverged: what was learned are no numbers.
        """
        tenth = -(-len(self.losses) // 10)
        about = About(
            module=module,
            rank=self.recipe.rank,
            steps=len(self.losses),
            frames=self.window,
            seed=self.seed,
            first_loss=round(fmean(self.losses[:tenth]), 5),
            last_loss=round(fmean(self.losses[-tenth:]), 5),
        )
        return MotionFile.of(about, motion_lora(self._learner.temporal))

    def _window(self) -> Tensor:
        """One of the clip's, drawn."""
        starts = self.latents.shape[2] - self.window + 1
        start = int(torch.randint(starts, (1,), generator=self._generator))
        return self.latents[:, :, start : start + self.window].to(self.device)

    def _predict(self, latents: Tensor, timesteps: Tensor) -> Tensor:
        """The noise that the UNet sees; every frame with the same words."""
        inputs = latents.to(self.unet.dtype)
        noise: Tensor = self.unet(
            inputs,
            timesteps,
            encoder_hidden_states=self.words.context([0] * latents.shape[2], guided=False).to(inputs),
            added_cond_kwargs=self.words.added(guided=False, like=inputs),
            return_dict=False,
        )[0]
        return noise
