"""Small ControlNets, and small networks that draw their conditions: random numbers in the published files' layouts."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers.models.controlnets.controlnet import ControlNetModel
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import RTDetrConfig, RTDetrForObjectDetection, VitPoseConfig, VitPoseForPoseEstimation

from inference.systems.animatediff.controls.hed import FILE, HolisticEdges
from inference.systems.animatediff.controls.kinds import CONTROL_WEIGHTS
from inference.systems.animatediff.controls.lineart import COARSE, FINE, LineDrawing

Tensors = dict[str, Tensor]

CONTROL: dict[str, Any] = {
    "_class_name": "ControlNetModel",
    "_diffusers_version": "0.16.0.dev0",
    "_name_or_path": "/home/patrick/controlnet_v1_1/control_v11p_sd15_openpose",
    "act_fn": "silu",
    "attention_head_dim": 8,
    "block_out_channels": [32, 32, 64, 64],
    "class_embed_type": None,
    "conditioning_embedding_out_channels": [16, 32, 96, 256],
    "controlnet_conditioning_channel_order": "rgb",
    "cross_attention_dim": 32,
    "down_block_types": ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
    "downsample_padding": 1,
    "flip_sin_to_cos": True,
    "freq_shift": 0,
    "in_channels": 4,
    "layers_per_block": 2,
    "mid_block_scale_factor": 1,
    "norm_eps": 1e-05,
    "norm_num_groups": 32,
    "num_class_embeds": None,
    "only_cross_attention": False,
    "projection_class_embeddings_input_dim": None,
    "resnet_time_scale_shift": "default",
    "upcast_attention": False,
    "use_linear_projection": False,
}
"""The published config but for two sizes, which are a tiny SD 1.5's."""

JOINTS = (
    "Nose", "L_Eye", "R_Eye", "L_Ear", "R_Ear", "L_Shoulder", "R_Shoulder", "L_Elbow", "R_Elbow", "L_Wrist", "R_Wrist",
    "L_Hip", "R_Hip", "L_Knee", "R_Knee", "L_Ankle", "R_Ankle",
)  # fmt: skip


def drawn(network: nn.Module, seed: int, spread: float = 1.0) -> Tensors:
    """What a network has learned: nothing in particular, but its answers hang on what it is asked."""
    generator = torch.Generator("cpu").manual_seed(seed)
    return {
        name: torch.randn(at.shape, generator=generator) * spread * (at[0].numel() ** -0.5 if at.dim() > 1 else 0.1)
        + (1.0 if at.dim() == 1 and "norm" in name and name.endswith("weight") else 0.0)
        for name, at in network.named_parameters()
    }


def control_tensors(seed: int = 0) -> Tensors:
    """A ControlNet's, under diffusers' names."""
    return drawn(ControlNetModel.from_config(CONTROL), seed)


RES_BLOCK = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}


def original(tensors: Mapping[str, Tensor], prefix: str = "control_model.") -> Tensors:
    """A ControlNet's tensors under the names of lllyasviel/ControlNet-v1-1."""
    return {f"{prefix}{_original(name)}": tensor for name, tensor in tensors.items()}


def _original(name: str) -> str:
    first, *rest = name.split(".")
    if first == "conv_in":
        return ".".join(("input_blocks.0.0", *rest))
    if first == "time_embedding":
        return ".".join(("time_embed", {"linear_1": "0", "linear_2": "2"}[rest[0]], *rest[1:]))
    if first == "controlnet_down_blocks":
        return ".".join(("zero_convs", rest[0], "0", *rest[1:]))
    if first == "controlnet_mid_block":
        return ".".join(("middle_block_out.0", *rest))
    if first == "controlnet_cond_embedding":
        place = 2 * int(rest[1]) + 2 if rest[0] == "blocks" else {"conv_in": 0, "conv_out": 14}[rest[0]]
        return f"input_hint_block.{place}.{rest[-1]}"
    if first == "mid_block":
        place = {("resnets", "0"): 0, ("attentions", "0"): 1, ("resnets", "1"): 2}[rest[0], rest[1]]
        return ".".join((f"middle_block.{place}", *_within(rest[2:])))
    level, kind, layer = int(rest[0]), rest[1], int(rest[2])
    if kind == "downsamplers":
        return ".".join((f"input_blocks.{3 + 3 * level}.0.op", rest[4]))
    return ".".join((f"input_blocks.{1 + 3 * level + layer}", str(int(kind == "attentions")), *_within(rest[3:])))


def _within(rest: list[str]) -> list[str]:
    return [RES_BLOCK.get(rest[0], rest[0]), *rest[1:]]


def write_controlnets(models: Path) -> None:
    """`models/controlnet-…/`: config.json, diffusion_pytorch_model.fp16.safetensors, of each kind."""
    for seed, name in enumerate(CONTROL_WEIGHTS.values()):
        folder = models / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(json.dumps(CONTROL, indent=2) + "\n", "utf-8")
        half = {key: tensor.half() for key, tensor in control_tensors(seed).items()}
        save_file(half, folder / "diffusion_pytorch_model.fp16.safetensors", {"format": "pt"})


def hed_tensors(widths: tuple[int, ...] = (8, 8, 16, 16, 16)) -> Tensors:
    """Under the published names."""
    ours = drawn(HolisticEdges(widths), seed=1, spread=1.5)
    ours["mean"] = torch.full((1, 3, 1, 1), 120.0)
    return {
        "norm" if name == "mean" else _hed(name): tensor * (0.02 if name.startswith("blocks.0.convolutions.0") else 1)
        for name, tensor in ours.items()
    }


def _hed(name: str) -> str:
    _, block, kind, *rest = name.split(".")
    return ".".join((f"block{int(block) + 1}", {"convolutions": "convs", "edges": "projection"}[kind], *rest))


def write_hed(models: Path) -> None:
    """`models/hed/ControlNetHED.pth`, a pickle of float16 as the published one."""
    folder = models / "hed"
    folder.mkdir(parents=True, exist_ok=True)
    torch.save({name: tensor.half() for name, tensor in hed_tensors().items()}, folder / FILE)


LINEART = {
    "begin": "model0.1",
    "down.0": "model1.0",
    "down.1": "model1.3",
    "up.0": "model3.0",
    "up.1": "model3.3",
    "end": "model4.1",
    **{
        f"residuals.{block}.{ours}": f"model2.{block}.conv_block.{published}"
        for block in range(3)
        for ours, published in {"first": 1, "second": 5}.items()
    },
}


def lineart_tensors(seed: int, width: int = 8) -> Tensors:
    """Under the published names."""
    ours = drawn(LineDrawing(width, 3), seed, spread=2.0)
    return {f"{LINEART[name.rpartition('.')[0]]}.{name.rpartition('.')[2]}": tensor for name, tensor in ours.items()}


def write_lineart(models: Path) -> None:
    """`models/lineart/sk_model.pth` and `sk_model2.pth`, pickles."""
    folder = models / "lineart"
    folder.mkdir(parents=True, exist_ok=True)
    for seed, file in enumerate((FINE, COARSE)):
        torch.save(lineart_tensors(seed), folder / file)


def _written(build: Callable[[], nn.Module], folder: Path, change: Callable[[Any], None]) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network: Any = build()
    with torch.no_grad():
        change(network)
    network.save_pretrained(folder)


def write_rtdetr(models: Path) -> None:
    """`models/rtdetr-r50/`: config.json, model.safetensors. It is sure that most of what it sees are persons."""
    labels = {0: "person", 1: "bicycle", 2: "car"}
    config = RTDetrConfig(
        backbone_config={
            "model_type": "rt_detr_resnet",
            "embedding_size": 8,
            "hidden_sizes": [8, 16, 16, 16],
            "depths": [1, 1, 1, 1],
            "layer_type": "bottleneck",
            "out_features": ["stage2", "stage3", "stage4"],
            "out_indices": [2, 3, 4],
        },
        encoder_hidden_dim=16,
        encoder_in_channels=[16, 16, 16],
        encoder_ffn_dim=16,
        encoder_attention_heads=2,
        d_model=16,
        num_queries=10,
        decoder_in_channels=[16, 16, 16],
        decoder_ffn_dim=16,
        decoder_layers=2,
        decoder_attention_heads=2,
        id2label=labels,
        label2id={label: number for number, label in labels.items()},
    )

    def sure(network: Any) -> None:
        for head in network.model.decoder.class_embed:
            head.bias.copy_(torch.tensor((1.0, -3.0, -3.0)))

    _written(lambda: RTDetrForObjectDetection(config), models / "rtdetr-r50", sure)


def write_vitpose(models: Path) -> None:
    """`models/vitpose-base/`: config.json, model.safetensors. Its heat maps have peaks, each its own."""
    config = VitPoseConfig(
        backbone_config={
            "model_type": "vitpose_backbone",
            "hidden_size": 16,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "out_features": ["stage2"],
            "out_indices": [2],
        },
        id2label=dict(enumerate(JOINTS)),
        label2id={label: number for number, label in enumerate(JOINTS)},
        scale_factor=4,
        use_simple_decoder=True,
    )

    def peaked(network: Any) -> None:
        network.backbone.embeddings.position_embeddings.normal_()
        network.head.conv.weight.normal_(std=0.1)
        network.head.conv.bias.zero_()

    _written(lambda: VitPoseForPoseEstimation(config), models / "vitpose-base", peaked)


def write_controls(models: Path) -> None:
    """Everything of this file."""
    for write in (write_controlnets, write_hed, write_lineart, write_rtdetr, write_vitpose):
        write(models)
