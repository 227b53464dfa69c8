"""Small SD 1.5 and SDXL: the real classes with random numbers, in every layout in which image models are published.

The names of a single file are made here by rules of their own, not by the loader's key map, which they test.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection
from transformers.convert_slow_tokenizer import bytes_to_unicode

from inference.systems.animatediff.base.kinds import Family

Tensors = dict[str, Tensor]

TOKENIZER = "clip-tokenizer"
SD15_FILE = "stable-diffusion-v1-5/v1-5-pruned-emaonly.safetensors"
SDXL_FILE = "sdxl-base/sd_xl_base_1.0.safetensors"

SENTENCE = """
a an and are at best blue boat by cat city cloud dark dog fire forest from girl gold green high house in is light man
masterpiece moon mountain night of old on painting photo quality red river sea sky snow star sun the to tree walks water
white wind with woman , . !
"""

SD15_UNET: dict[str, Any] = {
    "sample_size": 64,
    "block_out_channels": (32, 32, 64, 64),
    "layers_per_block": 2,
    "cross_attention_dim": 32,
    "attention_head_dim": 8,
}
SDXL_UNET: dict[str, Any] = {
    "sample_size": 128,
    "block_out_channels": (64, 64, 64),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "layers_per_block": 2,
    "cross_attention_dim": 32 + 64,
    "attention_head_dim": (1, 1, 1),
    "transformer_layers_per_block": (1, 1, 2),
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 8,
    "projection_class_embeddings_input_dim": 64 + 6 * 8,
}
VAE: dict[str, Any] = {
    "block_out_channels": (32, 32, 32, 32),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 1,
    "latent_channels": 4,
}
SCHEDULER = {
    "_class_name": "PNDMScheduler",
    "_diffusers_version": "0.6.0",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000,
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "steps_offset": 1,
    "clip_sample": False,
}


@dataclass(frozen=True)
class TinyModel:
    """An image model in main memory."""

    family: Family
    networks: Mapping[str, Any]
    """By their names in a diffusers folder."""


def random_model(family: Family, seed: int = 1) -> TinyModel:
    """The same numbers for the same seed, in float32 that float16 holds exactly; lively: what goes in comes out."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        scaling = 0.18215 if family == "sd15" else 0.13025
        networks: dict[str, Any] = {
            "unet": UNet2DConditionModel(**(SD15_UNET if family == "sd15" else SDXL_UNET)),
            "vae": AutoencoderKL(**VAE, scaling_factor=scaling, force_upcast=family == "sdxl"),
            "text_encoder": CLIPTextModel(_text(32, "quick_gelu")),
        }
        if family == "sdxl":
            networks["text_encoder_2"] = CLIPTextModelWithProjection(_text(64, "gelu"))
        for network in networks.values():
            _enliven(network)
    return TinyModel(family, networks)


def _text(width: int, activation: str) -> CLIPTextConfig:
    words = len(vocabulary()[0])
    return CLIPTextConfig(
        vocab_size=words,
        hidden_size=width,
        intermediate_size=2 * width,
        projection_dim=width,
        num_hidden_layers=4,
        num_attention_heads=1,
        hidden_act=activation,
        bos_token_id=words - 2,
        eos_token_id=words - 1,
    )


def _enliven(network: nn.Module) -> None:
    """Weights of unit gain, so that signals neither die nor explode on the way through."""
    for name, parameter in network.named_parameters():
        if "_embedding.weight" in name:
            parameter.data.normal_(std=0.5)
        elif parameter.ndim > 1:
            parameter.data.normal_(std=parameter[0].numel() ** -0.5)
        elif name.endswith("bias"):
            parameter.data.normal_(std=0.05)
        else:
            parameter.data.uniform_(0.8, 1.2)
        parameter.data = parameter.data.half().float()
    network.eval()


# -- a diffusers folder --


def write_hub(folder: Path, model: TinyModel, *, variant: str | None = "fp16") -> Path:
    """As the hub holds it: float16 under `.fp16.`, or float32 under the plain names."""
    for name, network in model.networks.items():
        place = folder / name
        place.mkdir(parents=True, exist_ok=True)
        _json(place / "config.json", _config(name, network))
        stem = "model" if name.startswith("text") else "diffusion_pytorch_model"
        dtype = torch.float16 if variant else torch.float32
        path = place / ".".join(filter(None, (stem, variant, "safetensors")))
        save_file(_typed(_hub_names(name, network.state_dict()), dtype), path, metadata={"format": "pt"})
    write_tokenizer(folder / "tokenizer")
    if model.family == "sdxl":
        write_tokenizer(folder / "tokenizer_2")
    (folder / "scheduler").mkdir(exist_ok=True)
    _json(folder / "scheduler" / "scheduler_config.json", SCHEDULER)
    index = "StableDiffusionXLPipeline" if model.family == "sdxl" else "StableDiffusionPipeline"
    _json(folder / "model_index.json", {"_class_name": index, "_diffusers_version": "0.6.0"})
    return folder


def _config(name: str, network: Any) -> dict[str, Any]:
    if name.startswith("text"):
        # The mark of the end stands as 2 in every published config of that time; transformers knows.
        return {**network.config.to_dict(), "architectures": [type(network).__name__], "eos_token_id": 2}
    config = {**network.config, "_class_name": type(network).__name__}
    unsaid = {"_use_default_values"}
    if name == "vae" and not network.config["force_upcast"]:  # SD 1.5's is older than these two
        unsaid |= {"scaling_factor", "force_upcast"}
    return {key: value for key, value in config.items() if key not in unsaid}


def _hub_names(name: str, tensors: Mapping[str, Tensor]) -> Tensors:
    """As they were when SD 1.5 and SDXL were published."""
    if name == "text_encoder":
        positions = torch.arange(77)[None]
        named = {f"text_model.{key}": tensor for key, tensor in tensors.items()}
        return {**named, "text_model.embeddings.position_ids": positions}
    if name == "vae":
        old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
        return {_replaced(key, old): tensor for key, tensor in tensors.items()}
    return dict(tensors)


# -- one file --


def write_single(path: Path, model: TinyModel, *, dtype: torch.dtype = torch.float16) -> Path:
    """One file with CompVis's or Stability's names and what such files carry along; `.ckpt` or `.safetensors`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = _typed({**single_names(model), **leftovers(model.family)}, dtype)
    if path.suffix == ".safetensors":
        save_file(tensors, path, metadata={"format": "pt"})
    else:
        torch.save({"global_step": 470000, "state_dict": tensors}, path)
    return path


def single_names(model: TinyModel) -> Tensors:
    """The tensors under the names of a single file, laid out as there."""
    networks = model.networks
    first = "cond_stage_model.transformer" if model.family == "sd15" else "conditioner.embedders.0.transformer"
    tensors = {
        **{f"model.diffusion_model.{unet_name(key, model.family)}": at for key, at in _of(networks["unet"])},
        **{f"first_stage_model.{_vae(key)}": _as_convolution(key, at) for key, at in _of(networks["vae"])},
        **{f"{first}.text_model.{key}": at for key, at in _of(networks["text_encoder"])},
    }
    if model.family == "sdxl":
        tensors |= _open_clip("conditioner.embedders.1.model", networks["text_encoder_2"])
    return tensors


def leftovers(family: Family) -> Tensors:
    """What published files carry along."""
    if family == "sdxl":
        return {"denoiser.sigmas": torch.ones(1000), "conditioner.embedders.1.model.logit_scale": torch.tensor(4.6)}
    names = ("betas", "alphas_cumprod", "sqrt_one_minus_alphas_cumprod", "posterior_mean_coef2")
    return {
        **{name: torch.ones(1000) for name in names},
        "model_ema.decay": torch.tensor(0.9999),
        "model_ema.diffusion_modelinput_blocks00weight": torch.ones(2, 2),
        "cond_stage_model.transformer.text_model.embeddings.position_ids": torch.arange(77)[None],
        "cond_stage_model.transformer.vision_model.embeddings.position_ids": torch.arange(257)[None],
    }


RES_BLOCK = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
UNET_ENDS = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
    "mid_block.resnets.0": "middle_block.0",
    "mid_block.attentions.0": "middle_block.1",
    "mid_block.resnets.1": "middle_block.2",
}


def unet_name(key: str, family: Family) -> str:
    """In a single file: three output blocks to a level, and three input blocks after the first one."""
    if found := re.match(
        r"down_blocks\.(\d)\.(resnets|attentions|downsamplers)\.(\d)\.(?:conv\.(?=weight|bias))?", key
    ):
        level, kind, layer = int(found[1]), found[2], int(found[3])
        if kind == "downsamplers":
            return f"input_blocks.{3 * level + 3}.0.op.{key[found.end() :]}"
        place = f"input_blocks.{3 * level + layer + 1}.{int(kind == 'attentions')}."
    elif found := re.match(r"up_blocks\.(\d)\.(resnets|attentions|upsamplers)\.(\d)\.(?:conv\.(?=weight|bias))?", key):
        level, kind, layer = int(found[1]), found[2], int(found[3])
        if kind == "upsamplers":
            bare = family == "sd15" and level == 0  # no attention before it
            return f"output_blocks.{3 * level + 2}.{1 if bare else 2}.conv.{key[found.end() :]}"
        place = f"output_blocks.{3 * level + layer}.{int(kind == 'attentions')}."
    else:
        return _replaced(_res_block(key) if ".resnets." in key else key, UNET_ENDS, at_start=True)
    rest = key[found.end() :]
    return place + (_replaced(rest, RES_BLOCK, at_start=True) if kind == "resnets" else rest)


def _res_block(key: str) -> str:
    place, rest = key[: len("mid_block.resnets.0.")], key[len("mid_block.resnets.0.") :]
    return place + _replaced(rest, RES_BLOCK, at_start=True)


def _vae(key: str) -> str:
    key = re.sub(r"encoder\.down_blocks\.(\d)\.resnets\.(\d)", r"encoder.down.\1.block.\2", key)
    key = re.sub(r"encoder\.down_blocks\.(\d)\.downsamplers\.0", r"encoder.down.\1.downsample", key)
    key = re.sub(
        r"decoder\.up_blocks\.(\d)\.resnets\.(\d)", lambda at: f"decoder.up.{3 - int(at[1])}.block.{at[2]}", key
    )
    key = re.sub(r"decoder\.up_blocks\.(\d)\.upsamplers\.0", lambda at: f"decoder.up.{3 - int(at[1])}.upsample", key)
    names = {
        "conv_norm_out": "norm_out",
        "conv_shortcut": "nin_shortcut",
        "mid_block.resnets.0": "mid.block_1",
        "mid_block.resnets.1": "mid.block_2",
        "mid_block.attentions.0": "mid.attn_1",
        "group_norm": "norm",
        "to_q": "q",
        "to_k": "k",
        "to_v": "v",
        "to_out.0": "proj_out",
    }
    return _replaced(key, names)


def _as_convolution(key: str, tensor: Tensor) -> Tensor:
    return tensor[:, :, None, None] if ".attentions." in key and tensor.ndim == 2 else tensor


def _open_clip(prefix: str, encoder: Any) -> Tensors:
    tensors = encoder.state_dict()
    names = {
        "text_model.embeddings.token_embedding": "token_embedding",
        "text_model.embeddings.position_embedding.weight": "positional_embedding",
        "text_model.final_layer_norm": "ln_final",
        "text_model.encoder.layers": "transformer.resblocks",
        "layer_norm": "ln_",
        "self_attn": "attn",
        "fc1": "c_fc",
        "fc2": "c_proj",
        "text_projection.weight": "text_projection",
    }
    joined = {_replaced(key, names): tensor for key, tensor in tensors.items() if not re.search(r"\.[qkv]_proj\.", key)}
    for key in tensors:
        if found := re.fullmatch(r"(.+)\.q_proj\.(weight|bias)", key):
            parts = [tensors[f"{found[1]}.{projection}.{found[2]}"] for projection in ("q_proj", "k_proj", "v_proj")]
            joined[f"{_replaced(found[1], names)}.in_proj_{found[2]}"] = torch.cat(parts)
    joined["text_projection"] = joined["text_projection"].T
    return {f"{prefix}.{key}": tensor for key, tensor in joined.items()}


def _of(network: nn.Module) -> Iterable[tuple[str, Tensor]]:
    return network.state_dict().items()


def _replaced(key: str, names: Mapping[str, str], *, at_start: bool = False) -> str:
    for ours, theirs in names.items():
        if not at_start:
            key = key.replace(ours, theirs)
        elif key.startswith(f"{ours}."):
            return theirs + key.removeprefix(ours)
    return key


def _typed(tensors: Mapping[str, Tensor], dtype: torch.dtype) -> Tensors:
    return {key: (at.to(dtype) if at.is_floating_point() else at).contiguous() for key, at in tensors.items()}


# -- words --


def vocabulary() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Words and merges in CLIP's order: bytes, bytes that end a word, what merges make, begin, end."""
    symbols = list(bytes_to_unicode().values())
    merges: list[tuple[str, str]] = []
    for word in SENTENCE.split():
        parts = [*word[:-1], f"{word[-1]}</w>"]
        while len(parts) > 1:
            if (parts[0], parts[1]) not in merges:
                merges.append((parts[0], parts[1]))
            parts = [parts[0] + parts[1], *parts[2:]]
    made = [first + second for first, second in merges]
    words = [*symbols, *(f"{symbol}</w>" for symbol in symbols), *made, "<|startoftext|>", "<|endoftext|>"]
    return {word: place for place, word in enumerate(words)}, merges


def write_tokenizer(folder: Path) -> Path:
    """`vocab.json` and `merges.txt`."""
    folder.mkdir(parents=True, exist_ok=True)
    words, merges = vocabulary()
    (folder / "vocab.json").write_text(json.dumps(words, ensure_ascii=False), "utf-8")
    lines = ["#version: 0.2", *(f"{first} {second}" for first, second in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", "utf-8")
    return folder


def write_stable_diffusion(models: Path) -> None:
    """`stable-diffusion-v1-5` and `sdxl-base` as one file each, and the words that they lack in `clip-tokenizer`."""
    write_single(models / SD15_FILE, random_model("sd15"))
    write_single(models / SDXL_FILE, random_model("sdxl"))
    write_tokenizer(models / TOKENIZER)


def _json(path: Path, held: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(held, indent=2, default=list) + "\n", "utf-8")
