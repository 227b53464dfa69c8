"""How large the networks are: read off a single file's tensor shapes, or from the configs of a diffusers folder.

Three things leave no trace in a shape and are the published ones: attention heads 64 wide in the UNet and 80 wide in
CLIP, and the 768 × 768 pixels of the training area. A file may say otherwise in its header's metadata under `zoetrope`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

Shapes = Mapping[str, tuple[int, ...]]
Config = dict[str, Any]

SAMPLE_SIZE = 96
"""Of the published UNet config: an area of 96 × 96 latents, 768 × 768 or 1024 × 576 pixels."""


@dataclass(frozen=True)
class UNetSizes:
    """VideoUNet."""

    channels: tuple[int, ...]
    """Of each level, finest first."""
    attention: tuple[bool, ...]
    """Whether that level has transformers."""
    res_blocks: int
    transformer_depth: int
    context: int
    in_channels: int
    out_channels: int
    vector: int
    """Width of the three sinusoidal embeddings together: fps, motion bucket, augmentation."""
    head_width: int = 64

    def config(self, num_frames: int, sample_size: int) -> Config:
        """For UNetSpatioTemporalConditionModel."""
        return {
            "sample_size": sample_size,
            "num_frames": num_frames,
            "in_channels": self.in_channels,
            "out_channels": self.out_channels,
            "block_out_channels": self.channels,
            "down_block_types": tuple(
                "CrossAttnDownBlockSpatioTemporal" if attends else "DownBlockSpatioTemporal"
                for attends in self.attention
            ),
            "up_block_types": tuple(
                "CrossAttnUpBlockSpatioTemporal" if attends else "UpBlockSpatioTemporal"
                for attends in reversed(self.attention)
            ),
            "layers_per_block": self.res_blocks,
            "transformer_layers_per_block": self.transformer_depth,
            "cross_attention_dim": self.context,
            "num_attention_heads": tuple(channels // self.head_width for channels in self.channels),
            "addition_time_embed_dim": self.vector // 3,
            "projection_class_embeddings_input_dim": self.vector,
        }


@dataclass(frozen=True)
class VaeSizes:
    """The image encoder and the temporal decoder."""

    channels: tuple[int, ...]
    res_blocks: int
    latent_channels: int

    def config(self) -> Config:
        """For AutoencoderKLTemporalDecoder."""
        return {
            "block_out_channels": self.channels,
            "down_block_types": ("DownEncoderBlock2D",) * len(self.channels),
            "layers_per_block": self.res_blocks,
            "latent_channels": self.latent_channels,
        }


@dataclass(frozen=True)
class ClipSizes:
    """OpenCLIP's visual tower."""

    width: int
    layers: int
    mlp: int
    patch: int
    image_size: int
    projection: int
    head_width: int = 80

    def config(self) -> Config:
        """For CLIPVisionConfig. OpenCLIP's ViT-H uses the exact GELU."""
        return {
            "hidden_size": self.width,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.width // self.head_width,
            "intermediate_size": self.mlp,
            "patch_size": self.patch,
            "image_size": self.image_size,
            "projection_dim": self.projection,
            "hidden_act": "gelu",
        }


@dataclass(frozen=True)
class Architecture:
    """One whole checkpoint."""

    unet: UNetSizes
    vae: VaeSizes
    clip: ClipSizes
    sample_size: int = SAMPLE_SIZE

    def with_notes(self, metadata: Mapping[str, str] | None) -> Architecture:
        """What a file's own header adds (`{"zoetrope": '{"sample_size": 12}'}`, in the tests' small checkpoints)."""
        notes = json.loads((metadata or {}).get("zoetrope", "{}"))
        return replace(self, sample_size=int(notes.get("sample_size", self.sample_size)))


def architecture_of(shapes: Shapes) -> Architecture:
    """The sizes that a single file's shapes imply.

    Raises:
        LookupError: a tensor by which a size is told is missing; this is no SVD checkpoint.
    """
    return Architecture(
        unet=unet_sizes(_below(shapes, "model.diffusion_model.")),
        vae=vae_sizes(_below(shapes, "conditioner.embedders.3.encoder.")),
        clip=clip_sizes(_below(shapes, "conditioner.embedders.0.open_clip.model.visual.")),
    )


def unet_sizes(shapes: Shapes) -> UNetSizes:
    """VideoUNet's, from `input_blocks.…`: a block with `op` ends a level."""
    levels: list[list[int]] = [[]]
    for index in range(1, _count(shapes, "input_blocks.{}.0.")):
        if f"input_blocks.{index}.0.op.weight" in shapes:
            levels.append([])
        else:
            levels[-1].append(index)
    firsts = [level[0] for level in levels]
    transformer = "middle_block.1."
    return UNetSizes(
        channels=tuple(shapes[f"input_blocks.{index}.0.in_layers.2.weight"][0] for index in firsts),
        attention=tuple(f"input_blocks.{index}.1.proj_in.weight" in shapes for index in firsts),
        res_blocks=len(levels[0]),
        transformer_depth=_count(shapes, transformer + "transformer_blocks.{}."),
        context=shapes[transformer + "transformer_blocks.0.attn2.to_k.weight"][1],
        in_channels=shapes["input_blocks.0.0.weight"][1],
        out_channels=shapes["out.2.weight"][0],
        vector=shapes["label_emb.0.0.weight"][1],
    )


def vae_sizes(shapes: Shapes) -> VaeSizes:
    """The image encoder's, which the decoder mirrors."""
    levels = _count(shapes, "encoder.down.{}.")
    return VaeSizes(
        channels=tuple(shapes[f"encoder.down.{level}.block.0.conv1.weight"][0] for level in range(levels)),
        res_blocks=_count(shapes, "encoder.down.0.block.{}."),
        latent_channels=shapes["encoder.conv_out.weight"][0] // 2,
    )


def clip_sizes(shapes: Shapes) -> ClipSizes:
    """The visual tower's. Of the positions, the first belongs to the class token."""
    width, _, patch, _ = shapes["conv1.weight"]
    grid = math.isqrt(shapes["positional_embedding"][0] - 1)
    return ClipSizes(
        width=width,
        layers=_count(shapes, "transformer.resblocks.{}."),
        mlp=shapes["transformer.resblocks.0.mlp.c_fc.weight"][0],
        patch=patch,
        image_size=grid * patch,
        projection=shapes["proj"][1],
    )


def _below(shapes: Shapes, prefix: str) -> Shapes:
    return {name.removeprefix(prefix): shape for name, shape in shapes.items() if name.startswith(prefix)}


def _count(shapes: Shapes, pattern: str) -> int:
    """How many numbered parts there are, counted from 0 without a gap."""
    number = 0
    while any(name.startswith(pattern.format(number)) for name in shapes):
        number += 1
    return number
