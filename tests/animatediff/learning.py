# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportPrivateUsage=false
"""A small network that moves pictures, what it learns of a small clip, and what of it could have changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.models.unets.unet_motion_model import UNetMotionModel
from torch import Tensor, nn

from inference.systems.animatediff import sampling
from inference.systems.animatediff.learning import Learning
from inference.systems.animatediff.learning_file import MotionFile
from inference.systems.animatediff.loader import open_motion, put_into
from inference.systems.animatediff.motiondirector import Recipe
from tests.animating import CHANNELS, modules, original, write

CPU = torch.device("cpu")
SHORT = Recipe(rank=4, num_steps=2, num_frames=8)
PATH = "down_blocks.0.motion_modules.0.temporal_transformer.transformer_blocks.0.attention_blocks.0.processor.to_q_lora"


def image_unet(channels: tuple[int, ...] = CHANNELS) -> UNet2DConditionModel:
    """As it comes, not as random as may be: what there is to learn must not drown in noise."""
    return UNet2DConditionModel(
        block_out_channels=channels,
        layers_per_block=1,
        cross_attention_dim=16,
        attention_head_dim=8,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
    ).eval()


def animating(
    tmp_path: Path, dtype: torch.dtype = torch.float32, *, mid: bool = False
) -> tuple[UNet2DConditionModel, UNetMotionModel]:
    """An image model, and the same with motion modules out of a file."""
    base: Any = image_unet()
    base.to(dtype)
    motion = open_motion(write(tmp_path / "v3_sd15_mm.ckpt", original(modules(mid=mid), 32)), "mine")
    return base, put_into(base, motion)


def moving(num_frames: int = 10) -> Tensor:
    """Latents `[1, 4, T, 8, 8]`: the same thing, a little further in each frame."""
    still = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(7))
    return torch.stack([still.roll(frame, dims=-1) for frame in range(num_frames)], dim=2)


def prompt(seed: int) -> sampling.Words:
    words = torch.randn(1, 5, 16, generator=torch.Generator().manual_seed(seed))
    return sampling.Words(positive=words, negative=words)


def learning(unet: UNetMotionModel, recipe: Recipe = SHORT, seed: int = 3) -> Learning:
    return Learning(unet, prompt(6), moving(), recipe, seed, CPU)


def learned(unet: UNetMotionModel, recipe: Recipe = SHORT, seed: int = 3) -> MotionFile:
    job = learning(unet, recipe, seed)
    for _ in job.steps():
        pass
    return job.file("v3")


def traces(network: nn.Module) -> dict[str, Any]:
    """Everything about it that learning could have changed; the tensors themselves by where they are."""
    return {
        "parameters": [(name, id(at), at.data_ptr(), at.requires_grad) for name, at in network.named_parameters()],
        "tables": [(name, id(at)) for name, at in network.named_buffers()],
        "training": [module.training for module in network.modules()],
        "hooks": [len(module._forward_hooks) + len(module._forward_pre_hooks) for module in network.modules()],
        "attributes": [sorted(vars(module)) for module in network.modules()],
        "gradients": [name for name, at in network.named_parameters() if at.grad is not None],
    }


def numbers(network: nn.Module) -> dict[str, Tensor]:
    return {name: at.clone() for name, at in network.state_dict().items()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    """Bit for bit."""
    return one.keys() == other.keys() and all(torch.equal(at, other[name]) for name, at in one.items())
