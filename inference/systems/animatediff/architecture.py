"""How large the networks are, and of which version: told from the shapes in a file.

Shapes are under our names (`keymap.py`). Only the number of heads leaves no trace in them: 8 everywhere, as published.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Shapes = Mapping[str, tuple[int, ...]]
Config = dict[str, Any]
Version = Literal["v1", "v2", "v3", "sdxl"]

HEADS = 8
POSITIONS = 32
"""Of every file without tables of its own (AnimateLCM, Lightning), as their repositories' configs say."""
V1_POSITIONS = 24
"""Only version 1 for SD 1.5 has so few; Hotshot-XL has them too, on SDXL."""


@dataclass(frozen=True)
class MotionSizes:
    """The motion modules that go into one UNet."""

    channels: tuple[int, ...]
    """Of each level, finest first."""
    modules: int
    """In a down block; an up block has one more."""
    depth: int
    """Transformer blocks of one module: 1 in all published files."""
    mid: bool
    positions: int
    """Frames that can be told apart: the length of the tables of sines and cosines."""

    def config(self) -> Config:
        """For MotionAdapter."""
        return {
            "block_out_channels": self.channels,
            "motion_layers_per_block": self.modules,
            "motion_transformer_layers_per_block": self.depth,
            "motion_transformer_layers_per_mid_block": self.depth,
            "motion_num_attention_heads": HEADS,
            "motion_max_seq_length": self.positions,
            "use_motion_mid_block": self.mid,
        }


def motion_sizes(shapes: Shapes, positions: int | None) -> MotionSizes:
    """From the names and shapes of a file's motion modules.

    Args:
        shapes: under MotionAdapter's names.
        positions: the length of the file's own tables, where it has any.

    Raises:
        KeyError: a tensor by which a size is told is missing.
    """
    levels = _count(shapes, "down_blocks.{}.")
    first = "down_blocks.0.motion_modules."
    if not levels:
        raise KeyError(f"{first}0")
    return MotionSizes(
        channels=tuple(shapes[f"down_blocks.{level}.motion_modules.0.norm.weight"][0] for level in range(levels)),
        modules=_count(shapes, first + "{}."),
        depth=_count(shapes, f"{first}0.transformer_blocks.{{}}."),
        mid=any(name.startswith("mid_block.") for name in shapes),
        positions=positions or POSITIONS,
    )


def version_of(sizes: MotionSizes, has_tables: bool, file: str) -> Version:
    """Which version a file is: the place of its GroupNorms' statistics hangs on it (`norms.py`).

    Versions 1 and 3 differ in nothing but the length of the tables; a file without them is taken at its name.
    """
    if len(sizes.channels) == 3:
        return "sdxl"
    if sizes.mid:
        return "v2"
    first = sizes.positions == V1_POSITIONS if has_tables else re.search(r"sd_v1[45]\b", file) is not None
    return "v1" if first else "v3"


@dataclass(frozen=True)
class SparseSizes:
    """SparseCtrl: the down path and the middle of an SD 1.5 UNet, with one-attention motion modules."""

    channels: tuple[int, ...]
    attention: tuple[bool, ...]
    """Whether that level has spatial transformers."""
    layers: int
    context: int
    """Width of a text token."""
    positions: int
    condition_channels: int
    """Of the picture, without the mask: 4 of latents (rgb), 3 of pixels (scribble)."""
    condition_layers: tuple[int, ...]
    """Widths of the convolutions that bring pixels down to an eighth; none where the condition is latents."""

    @property
    def kind(self) -> Literal["rgb", "scribble"]:
        """What a condition is made of."""
        return "scribble" if self.condition_layers else "rgb"

    def config(self) -> Config:
        """For SparseControlNetModel."""
        return {
            "conditioning_channels": self.condition_channels,
            "down_block_types": tuple(
                "CrossAttnDownBlockMotion" if attends else "DownBlockMotion" for attends in self.attention
            ),
            "block_out_channels": self.channels,
            "layers_per_block": self.layers,
            "cross_attention_dim": self.context,
            "attention_head_dim": HEADS,  # diffusers means their number
            "conditioning_embedding_out_channels": self.condition_layers or None,
            "motion_max_seq_length": self.positions,
            "motion_num_attention_heads": HEADS,
            "concat_conditioning_mask": True,
            "use_simplified_condition_embedding": not self.condition_layers,
        }


def sparse_sizes(shapes: Shapes, positions: int | None) -> SparseSizes:
    """From the names and shapes of a SparseCtrl file.

    Raises:
        KeyError: a tensor by which a size is told is missing.
    """
    levels = range(_count(shapes, "down_blocks.{}."))
    embedding = "controlnet_cond_embedding."
    pixels = f"{embedding}conv_in.weight" in shapes
    condition = shapes[f"{embedding}conv_in.weight" if pixels else f"{embedding}weight"]
    stages = [embedding + "conv_in.weight"] if pixels else []
    # Two convolutions to a stage: the second one halves the picture and widens.
    stages += [f"{embedding}blocks.{2 * i + 1}.weight" for i in range(_count(shapes, embedding + "blocks.{}.") // 2)]
    return SparseSizes(
        channels=tuple(shapes[f"down_blocks.{level}.resnets.0.conv1.weight"][0] for level in levels),
        attention=tuple(f"down_blocks.{level}.attentions.0.norm.weight" in shapes for level in levels),
        layers=_count(shapes, "down_blocks.0.resnets.{}."),
        context=shapes["mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight"][1],
        positions=positions or POSITIONS,
        condition_channels=condition[1] - 1,
        condition_layers=tuple(shapes[stage][0] for stage in stages),
    )


def _count(shapes: Shapes, pattern: str) -> int:
    """How many numbered parts there are, counted from 0 without a gap."""
    number = 0
    while any(name.startswith(pattern.format(number)) for name in shapes):
        number += 1
    return number
