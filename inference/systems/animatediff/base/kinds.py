"""What a file is, told by its tensors' names alone: a whole SD 1.5 or SDXL, or which of the many other things."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

Family = Literal["sd15", "sdxl"]

UNET = "model.diffusion_model."
VAE = "first_stage_model."
WORDS_SD15 = "cond_stage_model.transformer."
WORDS_SDXL = ("conditioner.embedders.0.transformer.", "conditioner.embedders.1.model.")

FOREIGN: Mapping[str, str] = {
    "lora_unet_": "a LoRA",
    "lora_te": "a LoRA",
    ".lora_": "a LoRA",
    "_lora.": "a LoRA",
    ".lora.": "a LoRA",
    "control_model.": "a ControlNet",
    "controlnet_": "a ControlNet",
    "input_hint_block.": "a ControlNet",
    ".time_stack.": "Stable Video Diffusion",
    ".time_mixer.": "Stable Video Diffusion",
    ".motion_modules.": "a file of motion modules",
    ".temporal_attentions.": "a file of motion modules",
    "double_blocks.": "Flux",
    "joint_blocks.": "Stable Diffusion 3",
    "edm_mean": "Playground 2.5",
    "edm_vpred.": "CosXL",
    "cond_stage_model.model.": "Stable Diffusion 2, or made from it",
    "conditioner.embedders.0.model.": "SDXL's refiner, or SD 2 Turbo",
    "string_to_param": "a textual inversion",
    "emb_params": "a textual inversion",
}
"""A part of a name → what has it. The first that is met counts; none of these is in an SD 1.5 or SDXL."""

ALONE: Mapping[str, str] = {
    UNET: "a UNet without its VAE and text encoder",
    VAE: "a VAE alone",
    "decoder.": "a VAE alone",
    "input_blocks.": "a UNet alone",
    "down_blocks.": "one network out of a diffusers folder",
    "text_model.": "a text encoder alone",
    "clip_l": "a textual inversion",
}
"""Likewise, where a whole model is missing."""

CHANNELS: Mapping[str, str] = {
    "9": "an inpainting model",
    "8": "a model that edits pictures",
    "5": "a model that follows depth",
}
"""By how many the UNet takes beside the usual 4."""


def family_of(names: Iterable[str]) -> Family | None:
    """Whose parts a single file has, all of them; None where it is something else."""
    names = list(names)

    def has(*prefixes: str) -> bool:
        return all(any(name.startswith(prefix) for name in names) for prefix in prefixes)

    if any(part in name for part in FOREIGN for name in names) or not has(UNET, VAE):
        return None
    if has(*WORDS_SDXL):
        return "sdxl"
    return "sd15" if has(WORDS_SD15) else None


def seems(names: Iterable[str]) -> str:
    """In words, for whoever gave the wrong file."""
    names = list(names)
    for part, kind in FOREIGN.items():
        if any(part in name for name in names):
            return kind
    whole = any(name.startswith(UNET) for name in names)
    if whole and not any(name.startswith(VAE) for name in names):
        words = any(name.startswith((WORDS_SD15, *WORDS_SDXL)) for name in names)
        return "an image model without its VAE" if words else ALONE[UNET]
    if whole:
        return "an image model without its text encoder"
    for part, kind in ALONE.items():
        if any(name.startswith(part) for name in names):
            return kind
    return "something unknown"


def seems_by_config(unet: Mapping[str, Any]) -> str | None:
    """What a UNet's config says it is; None where nothing speaks against SD 1.5 or SDXL."""
    channels = str(unet.get("in_channels", 4))
    if channels != "4":
        return CHANNELS.get(channels, f"a model whose UNet takes {channels} channels")
    added = unet.get("addition_embed_type")
    if added not in (None, "text_time") or unet.get("encoder_hid_dim_type"):
        return "an image model of another family"
    if added is None and (unet.get("use_linear_projection") or unet.get("class_embed_type")):
        return "Stable Diffusion 2"
    return None
