"""Small files for pictures in AnimateDiff: IP-Adapters with their image encoder, and PIA; for an SD 1.5 this narrow.

As published in names, types and layout: IP-Adapter in float16 safetensors, the encoder in float32 with an old
transformers' `position_ids`, PIA a plain pickle with tables of 32 positions.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.models.unets.unet_motion_model import MotionAdapter
from torch import Tensor
from transformers import CLIPVisionModelWithProjection
from transformers.models.clip.configuration_clip import CLIPVisionConfig

from tests.animating import original, write

Tensors = dict[str, Tensor]

CHANNELS = (32, 32, 64, 64)
CONTEXT = 32
"""Width of a text token: 768 in SD 1.5."""
HIDDEN = 64
"""Of the resampler: 768, twelve heads of 64."""

ENCODER: dict[str, Any] = {
    "_name_or_path": "./image_encoder",
    "architectures": ["CLIPVisionModelWithProjection"],
    "attention_dropout": 0.0,
    "dropout": 0.0,
    "hidden_act": "gelu",
    "hidden_size": 48,
    "image_size": 224,
    "initializer_factor": 1.0,
    "initializer_range": 0.02,
    "intermediate_size": 96,
    "layer_norm_eps": 1e-05,
    "model_type": "clip_vision_model",
    "num_attention_heads": 2,
    "num_channels": 3,
    "num_hidden_layers": 3,
    "patch_size": 56,
    "projection_dim": 40,
    "torch_dtype": "float16",
    "transformers_version": "4.28.0.dev0",
}


def sd15_unet_config() -> dict[str, Any]:
    """SD 1.5's UNet: its blocks and heads, a tenth as wide."""
    return {
        "block_out_channels": CHANNELS,
        "layers_per_block": 2,
        "cross_attention_dim": CONTEXT,
        "attention_head_dim": 8,  # their number, in SD 1.5
        "down_block_types": (*["CrossAttnDownBlock2D"] * 3, "DownBlock2D"),
        "up_block_types": ("UpBlock2D", *["CrossAttnUpBlock2D"] * 3),
    }


def drawn(shapes: dict[str, tuple[int, ...]], seed: int) -> Tensors:
    """Numbers of unit gain, so that signals neither die nor explode; norms near 1, biases near 0."""
    generator = torch.Generator().manual_seed(seed)
    tensors: Tensors = {}
    for name, shape in shapes.items():
        noise = torch.randn(shape, generator=generator)
        if len(shape) > 1:
            tensors[name] = noise * noise[0].numel() ** -0.5
        else:
            tensors[name] = 0.1 * noise + (1.0 if name.endswith("weight") else 0.0)
    return tensors


def _matrices(config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """`ip_adapter.1.to_k_ip.weight` and so on: attentions are counted through, self-attentions too."""
    with torch.device("meta"):
        unet = UNet2DConditionModel(**config)
    shapes: dict[str, tuple[int, ...]] = {}
    for number, name in enumerate(unet.attn_processors):
        if name.endswith("attn2.processor"):
            keys = tuple(unet.get_submodule(name.removesuffix(".processor")).get_parameter("to_k.weight").shape)
            shapes |= {f"ip_adapter.{number}.{matrix}.weight": keys for matrix in ("to_k_ip", "to_v_ip")}
    return shapes


def plain_shapes() -> dict[str, tuple[int, ...]]:
    """`ip-adapter_sd15`."""
    return {
        "image_proj.norm.bias": (CONTEXT,),
        "image_proj.norm.weight": (CONTEXT,),
        "image_proj.proj.bias": (4 * CONTEXT,),
        "image_proj.proj.weight": (4 * CONTEXT, ENCODER["projection_dim"]),
        **_matrices(sd15_unet_config()),
    }


def plus_shapes() -> dict[str, tuple[int, ...]]:
    """`ip-adapter-plus_sd15`, and plus-face: a resampler four layers deep, whose linears have no biases."""
    shapes: dict[str, tuple[int, ...]] = {
        "image_proj.latents": (1, 16, HIDDEN),
        "image_proj.proj_in.weight": (HIDDEN, ENCODER["hidden_size"]),
        "image_proj.proj_in.bias": (HIDDEN,),
        "image_proj.proj_out.weight": (CONTEXT, HIDDEN),
        "image_proj.proj_out.bias": (CONTEXT,),
        "image_proj.norm_out.weight": (CONTEXT,),
        "image_proj.norm_out.bias": (CONTEXT,),
    }
    for layer in range(4):
        here = f"image_proj.layers.{layer}"
        for norm in ("0.norm1", "0.norm2", "1.0"):
            shapes |= {f"{here}.{norm}.{side}": (HIDDEN,) for side in ("weight", "bias")}
        shapes |= {
            f"{here}.0.to_q.weight": (HIDDEN, HIDDEN),
            f"{here}.0.to_kv.weight": (2 * HIDDEN, HIDDEN),
            f"{here}.0.to_out.weight": (HIDDEN, HIDDEN),
            f"{here}.1.1.weight": (4 * HIDDEN, HIDDEN),
            f"{here}.1.3.weight": (HIDDEN, 4 * HIDDEN),
        }
    return {**shapes, **_matrices(sd15_unet_config())}


def ip_adapter(kind: str) -> Tensors:
    """Of kind "plain" or "plus"; the same numbers every time."""
    shapes, seed = (plain_shapes(), 21) if kind == "plain" else (plus_shapes(), 22)
    return {name: tensor.half() for name, tensor in drawn(shapes, seed).items()}


def write_ip_adapters(folder: Path) -> None:
    """`ip-adapter-sd15` and `ip-adapter-plus-sd15`."""
    for kind, name, file in (
        ("plain", "ip-adapter-sd15", "ip-adapter_sd15.safetensors"),
        ("plus", "ip-adapter-plus-sd15", "ip-adapter-plus_sd15.safetensors"),
    ):
        (folder / name).mkdir(parents=True, exist_ok=True)
        write(folder / name / file, ip_adapter(kind))


def write_image_encoder(folder: Path) -> None:
    """`clip-vit-h`: `models/image_encoder` of h94/IP-Adapter."""
    there = folder / "clip-vit-h"
    there.mkdir(parents=True, exist_ok=True)
    with torch.device("meta"):
        encoder = CLIPVisionModelWithProjection(CLIPVisionConfig(**ENCODER))
    tensors = drawn({name: tuple(at.shape) for name, at in encoder.named_parameters()}, seed=23)
    patches = (224 // ENCODER["patch_size"]) ** 2
    tensors["vision_model.embeddings.position_ids"] = torch.arange(patches + 1)[None]
    write(there / "model.safetensors", tensors)
    (there / "config.json").write_text(json.dumps(ENCODER, indent=2))


def pia(*, conv_in: bool = True) -> Tensors:
    """Under MotionAdapter's names, with the first convolution of nine channels."""
    with torch.device("meta"):
        adapter = MotionAdapter(
            CHANNELS,  # pyright: ignore[reportArgumentType]
            use_motion_mid_block=False,
            conv_in_channels=9 if conv_in else None,
        )
    return drawn({name: tuple(at.shape) for name, at in adapter.named_parameters()}, seed=24)


def write_pia(folder: Path) -> None:
    """`pia/pia.ckpt`, float32."""
    (folder / "pia").mkdir(parents=True, exist_ok=True)
    write(folder / "pia" / "pia.ckpt", original(pia(), 32))


def write_pictures(folder: Path) -> None:
    """All of them."""
    write_ip_adapters(folder)
    write_image_encoder(folder)
    write_pia(folder)
