"""Random networks for `systems.py`, in the files in which they are published and in diffusers' own folders.

The numbers are the same in both, so both do the same work; what they are makes no difference to how long it takes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.autoencoders.autoencoder_kl_temporal_decoder import AutoencoderKLTemporalDecoder
from diffusers.models.controlnets.controlnet import ControlNetModel
from diffusers.models.controlnets.controlnet_sparsectrl import SparseControlNetModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.models.unets.unet_motion_model import MotionAdapter
from diffusers.models.unets.unet_spatio_temporal_condition import UNetSpatioTemporalConditionModel
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPVisionModelWithProjection
from transformers.models.clip.configuration_clip import CLIPVisionConfig

from inference.systems.animatediff.weights import BY_NAME
from inference.systems.svd.architecture import Architecture, ClipSizes, UNetSizes, VaeSizes
from inference.systems.svd.loader import configs_of
from tests.animating import half, original, with_tables
from tests.tiny_models.stable_diffusion import TinyModel, vocabulary, write_hub
from tests.tiny_models.svd import TinySvd
from tests.tiny_models.svd import write_hub as write_svd_hub

Tensors = dict[str, Tensor]

HEAD = 64
"""Channels of an attention head in SDXL, CLIP and SVD."""
BASES = {"sd15": "bench", "sdxl": "sdxl-bench"}
"""Names of the image models, as the owner's table `styles` has them."""
DIFFUSERS = "diffusers"
"""Below it, what only diffusers reads."""


@dataclass(frozen=True)
class Sizes:
    """How large the networks are and what is rendered with them."""

    channels: tuple[int, ...]
    """SD 1.5's UNet, level by level."""
    heads: int
    """Of its attentions. Where channels are few, 8 as published would be so narrow that a CPU does little else."""
    xl_channels: tuple[int, ...]
    xl_depths: tuple[int, ...]
    vae_channels: tuple[int, ...]
    vae_layers: int
    texts: tuple[tuple[int, int], tuple[int, int]]
    """Width and layers of the first text encoder, and of SDXL's second one."""
    vision: ClipSizes
    """What looks at pictures for IP-Adapter."""
    rank: int
    """Of a camera move's LoRA."""
    svd: Architecture
    num_frames: int
    svd_frames: int
    steps: int
    side: int
    """In pixels, of SD 1.5's clips."""
    restyle_side: int
    xl_side: int


FULL = Sizes(
    channels=(320, 640, 1280, 1280),
    heads=8,
    xl_channels=(320, 640, 1280),
    xl_depths=(1, 2, 10),
    vae_channels=(128, 256, 512, 512),
    vae_layers=2,
    texts=((768, 12), (1280, 32)),
    vision=ClipSizes(1280, 32, 5120, 14, 224, 1024),
    rank=64,
    svd=Architecture(
        unet=UNetSizes((320, 640, 1280, 1280), (True, True, True, False), 2, 1, 1024, 8, 4, 768),
        vae=VaeSizes((128, 256, 512, 512), 2, 4),
        clip=ClipSizes(1280, 32, 5120, 14, 224, 1024),
    ),
    num_frames=16,
    svd_frames=25,
    steps=25,
    side=512,
    restyle_side=512,
    xl_side=1024,
)
MIDDLE = Sizes(
    channels=(32, 64, 128, 128),
    heads=1,
    xl_channels=(64, 64, 128),
    xl_depths=(1, 1, 2),
    vae_channels=(32, 32, 32, 64),
    vae_layers=1,
    texts=((128, 4), (192, 4)),
    vision=ClipSizes(160, 4, 320, 28, 224, 64),
    rank=8,
    svd=Architecture(
        unet=UNetSizes((64, 64, 128), (True, True, False), 1, 1, 64, 8, 4, 96),
        vae=VaeSizes((32, 32, 32, 64), 1, 4),
        clip=ClipSizes(160, 4, 320, 28, 224, 64),
        sample_size=32,
    ),
    num_frames=4,
    svd_frames=4,
    steps=5,
    side=256,
    restyle_side=384,
    xl_side=256,
)
TINY = replace(
    MIDDLE,
    channels=(32, 32, 64, 64),
    xl_channels=(64, 64, 64),
    xl_depths=(1, 1, 1),
    vae_channels=(32, 32, 32, 32),
    texts=((64, 2), (64, 2)),
    num_frames=2,
    svd_frames=2,
)


def write(name: str, models: Path, sizes: Sizes) -> None:
    """One checkpoint, unless it is there.

    Args:
        name: a published one's, `sd15` or `sdxl` for an image model.
        models: folder of the checkpoints; diffusers' own are in a folder below.
        sizes: of the networks.
    """
    done = models / f"{name}.done"
    if done.exists():
        return
    models.mkdir(parents=True, exist_ok=True)
    WRITERS[name](name, models, sizes)
    done.touch()


def filled(build: Callable[[], Any], seed: int) -> Any:
    """A network with numbers of unit gain, so that signals neither die nor explode on the way through."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network: nn.Module = build()
        for name, parameter in network.named_parameters():
            if name.endswith("mix_factor"):
                parameter.data.normal_()
            elif parameter.ndim > 1:
                parameter.data.normal_(std=parameter[0].numel() ** -0.5)
    return network.eval()


def _image_model(name: str, models: Path, sizes: Sizes) -> None:
    """As the hub holds it, in float16; ours and diffusers read the same folder."""
    xl = name == "sdxl"
    (width, layers), (width_2, layers_2) = sizes.texts
    networks = {
        "unet": filled(lambda: UNet2DConditionModel(**(_xl_unet(sizes) if xl else _unet(sizes))), 1),
        "vae": filled(lambda: AutoencoderKL(**_vae(sizes, xl=xl)), 2),
        "text_encoder": filled(lambda: CLIPTextModel(_text(width, layers, "quick_gelu")), 3),
    }
    if xl:
        networks["text_encoder_2"] = filled(lambda: CLIPTextModelWithProjection(_text(width_2, layers_2, "gelu")), 4)
    write_hub(models / BASES[name], TinyModel("sdxl" if xl else "sd15", networks))


def _unet(sizes: Sizes) -> dict[str, Any]:
    return {
        "sample_size": sizes.side // 8,
        "block_out_channels": sizes.channels,
        "layers_per_block": 2,
        "cross_attention_dim": sizes.texts[0][0],
        "attention_head_dim": sizes.heads,  # their number, in SD 1.5
    }


def _xl_unet(sizes: Sizes) -> dict[str, Any]:
    (width, _), (width_2, _) = sizes.texts
    return {
        "sample_size": sizes.xl_side // 8,
        "block_out_channels": sizes.xl_channels,
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        "layers_per_block": 2,
        "cross_attention_dim": width + width_2,
        "attention_head_dim": tuple(channels // HEAD for channels in sizes.xl_channels),
        "transformer_layers_per_block": sizes.xl_depths,
        "use_linear_projection": True,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": width_2 + 6 * 256,
    }


def _vae(sizes: Sizes, *, xl: bool) -> dict[str, Any]:
    return {
        "block_out_channels": sizes.vae_channels,
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
        "layers_per_block": sizes.vae_layers,
        "sample_size": sizes.xl_side if xl else sizes.side,
        "scaling_factor": 0.13025 if xl else 0.18215,
        "force_upcast": xl,
    }


def _text(width: int, layers: int, activation: str) -> CLIPTextConfig:
    words = len(vocabulary()[0])
    return CLIPTextConfig(
        vocab_size=words,
        hidden_size=width,
        intermediate_size=4 * width,
        projection_dim=width,
        num_hidden_layers=layers,
        num_attention_heads=width // HEAD,
        hidden_act=activation,
        bos_token_id=words - 2,
        eos_token_id=words - 1,
    )


def _motion(name: str, models: Path, sizes: Sizes) -> None:
    channels = sizes.xl_channels if name == "animatediff-sdxl" else sizes.channels
    adapter = filled(
        lambda: MotionAdapter(
            channels,  # pyright: ignore[reportArgumentType]
            use_motion_mid_block=name == "animatediff-v15-v2" or "lightning" in name,
            conv_in_channels=9 if name == "pia" else None,
        ),
        5,
    )
    adapter.save_pretrained(models / DIFFUSERS / name)
    tensors = dict(adapter.named_parameters())
    _save(name, models, half(with_tables(tensors)) if "lightning" in name else original(tensors, 32))


def _camera(name: str, models: Path, sizes: Sizes) -> None:
    """On all attentions of version 2."""
    with torch.device("meta"):
        adapter = MotionAdapter(sizes.channels, use_motion_mid_block=True)  # pyright: ignore[reportArgumentType]
    tensors: Tensors = {}
    for parameter, weight in adapter.named_parameters():
        path, found, matrix = parameter.partition(".attn")
        if found and matrix.endswith(("to_q.weight", "to_k.weight", "to_v.weight", "to_out.0.weight")):
            place = path.replace(".transformer_blocks.", ".temporal_transformer.transformer_blocks.", 1)
            part = matrix[2:].removesuffix(".weight").removesuffix(".0")
            key = f"{place}.attention_blocks.{int(matrix[0]) - 1}.processor.{part}_lora"
            tensors[f"{key}.down.weight"] = torch.randn(sizes.rank, weight.shape[1]) * weight.shape[1] ** -0.5
            tensors[f"{key}.up.weight"] = torch.randn(weight.shape[0], sizes.rank) * 0.1
    _save(name, models, {"state_dict": tensors})


def _sparse(name: str, models: Path, sizes: Sizes) -> None:
    network = filled(
        lambda: SparseControlNetModel(
            conditioning_channels=4,
            down_block_types=("CrossAttnDownBlockMotion",) * 3 + ("DownBlockMotion",),
            block_out_channels=sizes.channels,
            layers_per_block=2,
            cross_attention_dim=sizes.texts[0][0],
            attention_head_dim=8,
            use_simplified_condition_embedding=True,
        ),
        6,
    )
    network.save_pretrained(models / DIFFUSERS / name)
    _save(name, models, {"controlnet": original(dict(network.named_parameters()), 32)})


def _control(name: str, models: Path, sizes: Sizes) -> None:
    """Ours and diffusers read the same folder."""
    network = filled(
        lambda: ControlNetModel(
            block_out_channels=sizes.channels,
            cross_attention_dim=sizes.texts[0][0],
            attention_head_dim=sizes.heads,
        ),
        7,
    )
    network.half().save_pretrained(models / name, variant="fp16")


def _adapter(name: str, models: Path, sizes: Sizes) -> None:
    """IP-Adapter, the plain one; ours and diffusers read the same file."""
    context, tokens = sizes.texts[0][0], 4
    shapes: dict[str, tuple[int, ...]] = {
        "image_proj.norm.weight": (context,),
        "image_proj.norm.bias": (context,),
        "image_proj.proj.weight": (tokens * context, sizes.vision.projection),
        "image_proj.proj.bias": (tokens * context,),
    }
    with torch.device("meta"):
        unet = UNet2DConditionModel(**_unet(sizes))
    for number, processor in enumerate(unet.attn_processors):
        if processor.endswith("attn2.processor"):
            keys = tuple(unet.get_submodule(processor.removesuffix(".processor")).get_parameter("to_k.weight").shape)
            shapes |= {f"ip_adapter.{number}.{matrix}.weight": keys for matrix in ("to_k_ip", "to_v_ip")}
    tensors = {
        key: torch.randn(shape) * (shape[-1] ** -0.5 if len(shape) > 1 else 0.1) for key, shape in shapes.items()
    }
    _save(name, models, half(tensors))


def _vision(name: str, models: Path, sizes: Sizes) -> None:
    """As h94/IP-Adapter has it; ours and diffusers read the same folder."""
    config = CLIPVisionConfig(**sizes.vision.config())
    filled(lambda: CLIPVisionModelWithProjection(config), 8).save_pretrained(models / name)


def _svd(name: str, models: Path, sizes: Sizes) -> None:
    """Ours and diffusers read the same folder."""
    configs = configs_of(sizes.svd, sizes.svd_frames)
    svd = TinySvd(
        filled(lambda: UNetSpatioTemporalConditionModel(**configs["unet"]), 9).half(),
        filled(lambda: AutoencoderKLTemporalDecoder(**configs["vae"]), 10).half(),
        filled(lambda: CLIPVisionModelWithProjection(CLIPVisionConfig(**configs["image_encoder"])), 11).half(),
    )
    write_svd_hub(models / name, svd)


def _save(name: str, models: Path, held: Mapping[str, Any]) -> None:
    """Under its published name."""
    path = models / name / next(iter(BY_NAME[name].layouts[0].files))
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".safetensors":
        save_file({key: tensor.contiguous() for key, tensor in held.items()}, path)
    else:
        torch.save(held, path)


WRITERS: Mapping[str, Callable[[str, Path, Sizes], None]] = {
    "sd15": _image_model,
    "sdxl": _image_model,
    **dict.fromkeys(("animatediff-v3", "animatediff-v15-v2", "animatediff-lightning-2", "animatediff-sdxl"), _motion),
    **dict.fromkeys(("animatediff-lightning-1", "pia"), _motion),
    "motion-lora-zoom-in": _camera,
    "sparsectrl-rgb": _sparse,
    "controlnet-tile": _control,
    "ip-adapter-sd15": _adapter,
    "clip-vit-h": _vision,
    "svd": _svd,
}
