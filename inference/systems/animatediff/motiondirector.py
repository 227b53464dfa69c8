"""Learning how a clip moves, and not what it looks like.

Zhao et al. 2023, *MotionDirector* (arXiv 2310.08465), after showlab/MotionDirector's training script. Two sets of LoRAs
are learned side by side: the spatial one takes up the looks, from single frames, so that only the motion is left to the
temporal one. That one is kept, under MotionLoRA's names.

The networks are left as they are: a LoRA adds to what a layer gives, by a hook, for as long as `added` lasts. The job
around this is in `learning.py`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from torch import Tensor, nn
from torch.nn.functional import linear, mse_loss

from inference.systems.animatediff.learning_network import borrowed, differentiable, recomputing
from inference.systems.animatediff.learning_optimizer import Optimizer

Predict = Callable[[Tensor, Tensor], Tensor]
"""The UNet with its prompt: latents `[B, C, T, H, W]` and timesteps `[B]` → the noise in them, of the same shape."""

TEMPORAL = re.compile(r"motion_modules\.\d+\.transformer_blocks\.\d+\.(attn1|attn2|ff)\.")
SPATIAL = re.compile(r"\battentions\.\d+\.transformer_blocks\.\d+\.(attn1|ff)\.")
"""Layers that learn, by diffusers' names. The spatial cross-attention, which reads the prompt, does not."""
MOTION_LORA = re.compile(
    r"(?P<module>.+\.motion_modules\.\d+)\.(?P<block>transformer_blocks\.\d+)"
    r"\.(?:attn(?P<attention>[12])\.(?P<projection>to_[qkv]|to_out)(?:\.0)?|(?P<feed_forward>ff\..+))"
)


class Lora(nn.Module):
    """What is added to a linear layer W x: `up(down x) * scale`, with no factor for the rank."""

    def __init__(self, in_features: int, out_features: int, rank: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.down = nn.Linear(in_features, rank, bias=False)
        self.up = nn.Linear(rank, out_features, bias=False)
        self.dropout = nn.Dropout(dropout)
        self.scale = 1.0

    def drawn(self, generator: torch.Generator) -> Lora:
        """As learning starts: `down` from N(0, 1/rank) (its deviation), `up` zeros, so nothing is added yet."""
        rank, in_features = self.down.weight.shape
        self.down.weight.data = torch.randn((rank, in_features), generator=generator) / rank
        nn.init.zeros_(self.up.weight)
        return self

    def forward(self, x: Tensor) -> Tensor:
        """From weights in float32, in whatever type the layer computes in: as fast, and in as little memory."""
        low = linear(x, self.down.weight.to(x.dtype))
        return self.dropout(linear(low, self.up.weight.to(x.dtype))) * self.scale


Loras = Mapping[str, Lora]
"""By the name of the layer."""


def loras_for(network: nn.Module, layers: re.Pattern[str], rank: int, dropout: float, seed: int) -> dict[str, Lora]:
    """A fresh LoRA, on the CPU, for each linear layer below the names that match."""
    generator = torch.Generator("cpu").manual_seed(seed)
    return {
        name: Lora(layer.in_features, layer.out_features, rank, dropout).drawn(generator)
        for name, layer in network.named_modules()
        if isinstance(layer, nn.Linear) and layers.search(name)
    }


@contextmanager
def added(network: nn.Module, loras: Loras) -> Generator[None]:
    """While this lasts, the network's layers give what they gave and their LoRA's share."""

    def add(lora: Lora) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor]:
        return lambda _, args, output: output + lora(args[0])

    with ExitStack() as hooks:
        for name, lora in loras.items():
            hooks.callback(network.get_submodule(name).register_forward_hook(add(lora)).remove)
        yield


def motion_lora(loras: Loras) -> dict[str, Tensor]:
    """The temporal LoRAs as a MotionLoRA file names them, in float32 on the CPU.

    The feed-forward layers' stand beside them in the same manner, where the published files have none.
    """
    named: dict[str, Tensor] = {}
    for name, lora in loras.items():
        part = MOTION_LORA.fullmatch(name)
        if part is None:
            raise ValueError(f"{name} is in no motion module")
        layer = part["feed_forward"] or f"attention_blocks.{int(part['attention']) - 1}.processor.{part['projection']}"
        stem = f"{part['module']}.temporal_transformer.{part['block']}.{layer}_lora"
        for end, weight in (("down", lora.down.weight), ("up", lora.up.weight)):
            named[f"{stem}.{end}.weight"] = (weight * (lora.scale if end == "up" else 1)).detach().float().cpu()
    return named


class TemporalLoss(NamedTuple):
    """What the temporal LoRA is taught by."""

    mse: Tensor
    debiased: Tensor

    @property
    def total(self) -> Tensor:
        """Both weigh the same."""
        return self.mse + self.debiased


def temporal_loss(prediction: Tensor, target: Tensor, reference: int) -> TemporalLoss:
    """Of all frames, as they are and freed of what they look like.

    Args:
        prediction: the noise that the UNet sees, `[B, C, T, H, W]`.
        target: the noise that is there.
        reference: the frame whose look is taken from all others.
    """
    prediction, target = prediction.float(), target.float()
    return TemporalLoss(
        mse_loss(prediction, target),
        mse_loss(appearance_debiased(prediction, reference), appearance_debiased(target, reference)),
    )


def appearance_debiased(noise: Tensor, reference: int, beta: float = 1.0) -> Tensor:
    """`sqrt(beta² + 1) e_i - beta e_reference`, which keeps the variance of independent frames times 2 beta² + 1."""
    return (beta**2 + 1) ** 0.5 * noise - beta * noise[:, :, reference, None]


@dataclass(frozen=True)
class Recipe:
    """How long and how fast: for SD1.5 as ExponentialML/AnimateDiff-MotionDirector has it, else as MotionDirector."""

    rank: int = 32
    num_steps: int = 500
    """300 … 700."""
    temporal_rate: float = 5e-4
    spatial_rate: float = 1e-4
    weight_decay: float = 0.01
    dropout: float = 0.1
    spatial_skipped: float = 0.2
    """How often a step has no spatial half."""
    num_frames: int = 16
    """That are looked at together."""


@dataclass(frozen=True)
class Drawn:
    """All that is random in one step."""

    noise: Tensor
    timesteps: Tensor
    """`[B]`."""
    still: int | None
    """The frame that the spatial LoRA learns from; none, and it learns nothing in this step."""
    reference: int
    dropout_seed: int


@dataclass
class MotionLearner:
    """A network on its device, with two sets of LoRAs that learn from one clip; the network itself does not learn.

    It is lent for each step and is as before between them, so nothing has to be put right whenever learning ends. It
    may be in any floating type; the LoRAs are in float32 (`learning_optimizer.py`).
    """

    network: nn.Module
    recipe: Recipe
    seed: int
    device: torch.device
    spatial: dict[str, Lora] = field(init=False)
    temporal: dict[str, Lora] = field(init=False)

    def __post_init__(self) -> None:
        recipe, dtype = self.recipe, next(self.network.parameters()).dtype

        def optimizer(loras: Loras, rate: float) -> Optimizer:
            return Optimizer((lora.to(self.device) for lora in loras.values()), rate, recipe.weight_decay, dtype)

        with differentiable():
            self.spatial = loras_for(self.network, SPATIAL, recipe.rank, recipe.dropout, self.seed)
            # MotionDirector drops out here as well; its port to AnimateDiff, whose recipe this is, does not.
            self.temporal = loras_for(self.network, TEMPORAL, recipe.rank, 0.0, self.seed + 1)
            self._spatial_optimizer = optimizer(self.spatial, recipe.spatial_rate)
            self._temporal_optimizer = optimizer(self.temporal, recipe.temporal_rate)
        self._generator = torch.Generator("cpu").manual_seed(self.seed)

    def step(self, predict: Predict, latents: Tensor, scheduler: DDIMScheduler) -> tuple[float | None, float]:
        """Learn once; the spatial loss, where there was one, and the temporal one.

        One half after the other, so that memory holds one graph at a time; MotionDirector computes both, and then
        learns from both.

        Args:
            predict: by the network, with the clip's prompt.
            latents: the clip, `[B, C, T, H, W]`, best in float32.
            scheduler: says how much noise a timestep has; the UNet must predict noise.

        Raises:
            LearningDiverged: the loss is no number any more.
        """
        cuda = [self.device] if self.device.type == "cuda" else []
        spatial: float | None = None
        # Dropout knows no generator but the device's own; what others draw from that one is not to be disturbed.
        # Gradients are taken inside as well: what is recomputed for them runs again with what is added to it.
        with (
            differentiable(),
            borrowed(self.network),
            recomputing(self.network),
            torch.random.fork_rng(cuda),
            added(self.network, self.spatial),
        ):
            drawn = self._draw(latents, scheduler.config["num_train_timesteps"])
            timesteps, noise = drawn.timesteps.to(self.device), drawn.noise.to(self.device, latents.dtype)
            noisy = scheduler.add_noise(latents.to(self.device), noise, timesteps)  # pyright: ignore[reportArgumentType]
            if drawn.still is not None:
                frame = slice(drawn.still, drawn.still + 1)

                def looks() -> Tensor:
                    self._seed_dropout(drawn.dropout_seed)
                    return mse_loss(predict(noisy[:, :, frame], timesteps).float(), noise[:, :, frame].float())

                spatial = self._spatial_optimizer.learn(looks)

            def motion() -> Tensor:
                self._seed_dropout(drawn.dropout_seed + 1)
                return temporal_loss(predict(noisy, timesteps), noise, drawn.reference).total

            with added(self.network, self.temporal):
                temporal = self._temporal_optimizer.learn(motion)
        return spatial, temporal

    def _seed_dropout(self, seed: int) -> None:
        torch.default_generator.manual_seed(seed)
        if self.device.type == "cuda":
            with torch.cuda.device(self.device):
                torch.cuda.manual_seed(seed)

    def _draw(self, latents: Tensor, num_timesteps: int) -> Drawn:
        """From one generator on the CPU, always equally many numbers."""

        def below(limit: int, count: int = 1) -> Tensor:
            return torch.randint(limit, (count,), generator=self._generator)

        num_clips, _, num_frames, *_ = latents.shape
        skipped = float(torch.rand(1, generator=self._generator)) < self.recipe.spatial_skipped
        still, reference = int(below(num_frames)), int(below(num_frames))
        return Drawn(
            noise=torch.randn(latents.shape, generator=self._generator),
            timesteps=below(num_timesteps, num_clips),
            still=None if skipped else still,
            reference=reference,
            dropout_seed=int(below(2**31)),
        )


@torch.no_grad()
def invert(
    predict: Predict, latents: Tensor, scheduler: DDIMScheduler, num_inference_steps: int
) -> Iterator[tuple[int, Tensor]]:
    """DDIM backwards, from a clip to the noise that it would come from: each timestep with the latents there.

    With an empty prompt and no guidance. The last latents are the clip's noise; `start_latents` makes use of them.
    """
    scheduler.set_timesteps(num_inference_steps)
    stride = scheduler.config["num_train_timesteps"] // num_inference_steps
    for timestep in scheduler.timesteps.flip(0).tolist():
        noise = predict(latents, torch.full((len(latents),), timestep, device=latents.device))
        source = timestep - stride
        here = scheduler.alphas_cumprod[source] if source >= 0 else scheduler.final_alpha_cumprod
        there = scheduler.alphas_cumprod[timestep]
        clean = (latents - (1 - here) ** 0.5 * noise) / here**0.5
        latents = there**0.5 * clean + (1 - there) ** 0.5 * noise
        yield timestep, latents


def start_latents(inverted: Tensor, noise: Tensor, prior: float) -> Tensor:
    """Noise with a part of the clip's own in it, 0 … 0.5: what is made then begins as the clip was laid out."""
    return prior**0.5 * inverted + (1 - prior) ** 0.5 * noise
