"""How large the four networks are, read off a single file's shapes.

Three things leave no trace in a shape and are the published ones: heads of attention (8 everywhere in SD 1.5, 64
channels each in SDXL and in CLIP), what a latent is multiplied by, and that 8 pixels are one latent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from inference.systems.animatediff.base.kinds import Family

Shapes = Mapping[str, tuple[int, ...]]
Config = dict[str, Any]

HEADS = 8
HEAD_WIDTH = 64
SCALING: Mapping[Family, float] = {"sd15": 0.18215, "sdxl": 0.13025}
NATIVE_SIDE: Mapping[Family, int] = {"sd15": 512, "sdxl": 1024}
"""In pixels: what it was trained on, as a square."""
LATENT = 8
SIZES_OF_PICTURE = 6
"""SDXL is told height and width of the original, of the crop's corner, and of the target."""


@dataclass(frozen=True)
class UNetSizes:
    """UNetModel of CompVis and Stability."""

    channels: tuple[int, ...]
    """Of each level, finest first."""
    depths: tuple[int, ...]
    """Transformer blocks in each spatial transformer of that level; 0 where it has none."""
    res_blocks: int
    context: int
    """Width of a text token."""
    in_channels: int
    out_channels: int
    linear: bool
    """Whether the spatial transformers' projections are matrices, as in SDXL, or 1 × 1 convolutions."""
    vector: int | None
    """Width of what SDXL is told beside the text: the pooled output and six sizes."""

    def config(self, family: Family, pooled: int | None) -> Config:
        """For UNet2DConditionModel.

        Args:
            family: whose UNet it is.
            pooled: width of the second text encoder's pooled output.
        """
        down = ["CrossAttnDownBlock2D" if depth else "DownBlock2D" for depth in self.depths]
        up = ["CrossAttnUpBlock2D" if depth else "UpBlock2D" for depth in reversed(self.depths)]
        config: Config = {
            "sample_size": NATIVE_SIDE[family] // LATENT,
            "in_channels": self.in_channels,
            "out_channels": self.out_channels,
            "down_block_types": down,
            "up_block_types": up,
            "block_out_channels": list(self.channels),
            "layers_per_block": self.res_blocks,
            "cross_attention_dim": self.context,
            "transformer_layers_per_block": [depth or 1 for depth in self.depths],
            "use_linear_projection": self.linear,
            # diffusers means the number of heads
            "attention_head_dim": HEADS if family == "sd15" else [max(1, at // HEAD_WIDTH) for at in self.channels],
        }
        if self.vector is not None and pooled is not None:
            config |= {
                "addition_embed_type": "text_time",
                "addition_time_embed_dim": (self.vector - pooled) // SIZES_OF_PICTURE,
                "projection_class_embeddings_input_dim": self.vector,
            }
        return config


@dataclass(frozen=True)
class VaeSizes:
    """AutoencoderKL, whose decoder mirrors its encoder."""

    channels: tuple[int, ...]
    res_blocks: int
    latent_channels: int

    def config(self, family: Family) -> Config:
        """For AutoencoderKL."""
        return {
            "block_out_channels": list(self.channels),
            "down_block_types": ["DownEncoderBlock2D"] * len(self.channels),
            "up_block_types": ["UpDecoderBlock2D"] * len(self.channels),
            "layers_per_block": self.res_blocks,
            "latent_channels": self.latent_channels,
            "sample_size": NATIVE_SIDE[family],
            "scaling_factor": SCALING[family],
            "force_upcast": family == "sdxl",
        }


def unet_sizes(shapes: Shapes) -> UNetSizes:
    """From `input_blocks.…`, where a block with `op` ends a level.

    Raises:
        LookupError: a tensor by which a size is told is missing.
    """
    levels: list[list[int]] = [[]]
    for index in range(1, _count(shapes, "input_blocks.{}.0.")):
        if f"input_blocks.{index}.0.op.weight" in shapes:
            levels.append([])
        else:
            levels[-1].append(index)
    firsts = [level[0] for level in levels]
    middle = "middle_block.1."
    return UNetSizes(
        channels=tuple(shapes[f"input_blocks.{index}.0.in_layers.2.weight"][0] for index in firsts),
        depths=tuple(_count(shapes, f"input_blocks.{index}.1.transformer_blocks.{{}}.") for index in firsts),
        res_blocks=len(levels[0]),
        context=shapes[f"{middle}transformer_blocks.0.attn2.to_k.weight"][1],
        in_channels=shapes["input_blocks.0.0.weight"][1],
        out_channels=shapes["out.2.weight"][0],
        linear=len(shapes[f"{middle}proj_in.weight"]) == 2,
        vector=shapes["label_emb.0.0.weight"][1] if "label_emb.0.0.weight" in shapes else None,
    )


def vae_sizes(shapes: Shapes) -> VaeSizes:
    """From the encoder.

    Raises:
        LookupError: a tensor by which a size is told is missing.
    """
    levels = range(_count(shapes, "encoder.down.{}."))
    return VaeSizes(
        channels=tuple(shapes[f"encoder.down.{level}.block.0.conv1.weight"][0] for level in levels),
        res_blocks=_count(shapes, "encoder.down.0.block.{}."),
        latent_channels=shapes["post_quant_conv.weight"][0],
    )


def clip_config(shapes: Shapes, prefix: str, activation: str) -> Config:
    """For CLIPTextConfig, from names and shapes under our own names.

    Args:
        shapes: of one text encoder.
        prefix: before its names.
        activation: OpenAI trained with a quick approximation of GELU, OpenCLIP with GELU.

    Raises:
        LookupError: a tensor by which a size is told is missing.
    """
    words, width = shapes[f"{prefix}embeddings.token_embedding.weight"]
    config: Config = {
        "vocab_size": words,
        "hidden_size": width,
        "max_position_embeddings": shapes[f"{prefix}embeddings.position_embedding.weight"][0],
        "num_hidden_layers": _count(shapes, prefix + "encoder.layers.{}."),
        "intermediate_size": shapes[f"{prefix}encoder.layers.0.mlp.fc1.weight"][0],
        "num_attention_heads": max(1, width // HEAD_WIDTH),
        "hidden_act": activation,
        # CLIP's vocabulary ends with the marks of beginning and end.
        "bos_token_id": words - 2,
        "eos_token_id": words - 1,
        "projection_dim": width,
    }
    if "text_projection.weight" in shapes:
        config["projection_dim"] = shapes["text_projection.weight"][0]
    return config


def _count(shapes: Shapes, pattern: str) -> int:
    """How many numbered parts there are, counted from 0 without a gap."""
    number = 0
    while any(name.startswith(pattern.format(number)) for name in shapes):
        number += 1
    return number
