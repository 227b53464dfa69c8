"""Small files of the AnimateDiff family, in every layout in which they are published."""

from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from diffusers.models.controlnets.controlnet_sparsectrl import SparseControlNetModel
from diffusers.models.unets.unet_motion_model import MotionAdapter
from torch import Tensor

Tensors = dict[str, Tensor]

CHANNELS = (32, 64)
TO_ORIGINAL = {
    "transformer_blocks.0.norm1": "transformer_blocks.0.norms.0",
    "transformer_blocks.0.norm2": "transformer_blocks.0.norms.1",
    "transformer_blocks.0.norm3": "transformer_blocks.0.ff_norm",
    ".attn1.": ".attention_blocks.0.",
    ".attn2.": ".attention_blocks.1.",
}


def random(network: torch.nn.Module) -> Tensors:
    """What a network has learned: nothing in particular, and no zeros."""
    return {name: torch.randn(at.shape) * 0.2 for name, at in network.named_parameters()}


def modules(channels: tuple[int, ...] = CHANNELS, mid: bool = True) -> Tensors:
    """Motion modules under diffusers' names."""
    return random(MotionAdapter(channels, motion_layers_per_block=1, use_motion_mid_block=mid))


def original(tensors: Tensors, positions: int | None = None, holder: str = ".temporal_transformer") -> Tensors:
    """Under the original's names, with tables of positions if asked for. Other parts of a SparseCtrl stay."""
    renamed: Tensors = {}
    for name, tensor in tensors.items():
        key = name
        if ".motion_modules." in name:
            for ours, theirs in TO_ORIGINAL.items():
                key = key.replace(ours, theirs)
            block, _, rest = key.partition(".motion_modules.")
            number, _, rest = rest.partition(".")
            key = f"{block}.motion_modules.{number}{holder}.{rest}"
            if positions and key.endswith("to_q.weight"):
                renamed[key.replace("to_q.weight", "pos_encoder.pe")] = torch.zeros(1, positions, tensor.shape[0])
        renamed[key] = tensor
    return renamed


def hotshot(tensors: Tensors) -> Tensors:
    return {
        name.replace("motion_modules", "temporal_attentions").replace(".pe", ".positional_encoding"): tensor
        for name, tensor in original(tensors, 24, holder="").items()
    }


def with_tables(tensors: Tensors) -> Tensors:
    """As diffusers writes a MotionAdapter."""
    tables = {
        name.replace("attn1.to_q.weight", "pos_embed.pe"): torch.zeros(1, 32, tensor.shape[0])
        for name, tensor in tensors.items()
        if name.endswith("attn1.to_q.weight") and ".motion_modules." in name
    }
    return {**tensors, **tables}


def half(tensors: Tensors) -> Tensors:
    return {name: tensor.half() for name, tensor in tensors.items()}


def write(path: Path, held: Any) -> Path:
    if path.suffix == ".safetensors":
        safetensors.torch.save_file({name: tensor.contiguous() for name, tensor in held.items()}, path)  # pyright: ignore[reportUnknownMemberType]
    else:
        torch.save(held, path)
    return path


CONFIG = {"unet_additional_kwargs": {"use_motion_module": True}}


def sparse(kind: str) -> SparseControlNetModel:
    network = SparseControlNetModel(
        conditioning_channels=4 if kind == "rgb" else 3,
        down_block_types=("CrossAttnDownBlockMotion", "DownBlockMotion"),
        block_out_channels=CHANNELS,
        layers_per_block=1,
        cross_attention_dim=16,
        conditioning_embedding_out_channels=(8, 8, 16, 16),
        use_simplified_condition_embedding=kind == "rgb",
    )
    network.load_state_dict(random(network), strict=False)
    return network
