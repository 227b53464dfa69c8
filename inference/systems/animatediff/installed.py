"""Which checkpoints of the family can be used here: torch-free, so that the worker can say it.

An owner's own image models stand in `[systems.animatediff] styles`: a name, and a file or folder below `models.dir`.
Their LoRAs stand in `loras`, and machines call them `lora-<name>`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from inference.depth_weights import DEPTH
from inference.systems.animatediff.lora_names import not_read
from inference.systems.animatediff.weights import BASES, BY_NAME, CLIP_TOKENIZER, WEIGHTS
from inference.weights import Layout, Weights
from jobs.requests.animatediff_modules import MODULES, Family, family_of
from jobs.requests.loras import FAMILIES, PREFIX

HUB = re.compile(r"([\w.-]+/[\w.-]+)@([0-9a-f]{40})")
FOLDER_FILES = {
    "sd15": ("text_encoder/{model}", "unet/{diffusion}", "vae/{diffusion}"),
    "sdxl": ("text_encoder/{model}", "text_encoder_2/{model}", "unet/{diffusion}", "vae/{diffusion}"),
}
TOLD = re.compile(r"attn2[_.](?:processor\.)?to_[kv]\W?.*(?:down|lora_A)\b")
"""Matrices that read the words: `[rank, width of a word]`."""
WORD_WIDTHS: Mapping[int, Family] = {768: "sd15", 2048: "sdxl"}
LONGEST_HEADER = 16_000_000
"""Bytes of a safetensors file's names; SDXL's take a third of a million."""
TENSORS = (".safetensors", ".ckpt", ".pth", ".pt", ".bin")


def installed(models: Path, options: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Names of everything that is there; None where no image model and motion module go together.

    Args:
        models: folder of the checkpoints.
        options: the table `[systems.animatediff]`.
    """
    there = [weights.name for weights in (*WEIGHTS, DEPTH) if weights.layout_in(models)]
    words = CLIP_TOKENIZER.name in there
    styles = [name for name in styles_of(options) if style_fault(models, name, options, words=words) is None]
    lost = [
        base.name
        for base in BASES
        if base.name in there and not _usable(checkpoint_path(models, base.name), words=words)
    ]
    loras = [f"{PREFIX}{name}" for name in loras_of(options) if lora_fault(models, name, options) is None]
    found = (*styles, *(name for name in there if name not in lost), *loras)
    families = {family_of(name) for name in (*styles, *(base.name for base in BASES)) if name in found}
    moves = {profile.family for profile in MODULES.values() if profile.weights in found}
    return found if families & moves else None


def style_fault(models: Path, name: str, options: Mapping[str, Any], *, words: bool) -> str | None:
    """Why an owner's image model cannot be used, for the owner; None where it can, as far as names tell.

    Args:
        models: folder of the checkpoints.
        name: of the style.
        options: the table `[systems.animatediff]`.
        words: whether `clip-tokenizer` is there.
    """
    path = style_path(models, name, options)
    hub = {weights.name: weights for weights in style_weights(options)}
    if name in hub and hub[name].layout_in(models) is None:
        return f"is not fetched: python -m console models pull {name}"
    if not path.exists():
        return f"{path} is not there"
    if path.is_file() and not words:
        return "is a single file, which needs: python -m console models pull clip-tokenizer"
    found = _family(path, _mtime(path))
    if found is None:
        return f"{path} is no whole image model"
    if found != family_of(name):
        return f"is of {FAMILIES[found]}; names of SDXL models, and only those, begin with sdxl-"
    return None


@lru_cache(256)
def _family(path: Path, _changed: int) -> Family | None:
    """What an image model seems to be, by a folder's parts or a file's names; of a pickle its owner's word is taken."""
    if path.is_dir():
        parts = [part for part in ("unet", "vae", "text_encoder") if (path / part / "config.json").is_file()]
        second = (path / "text_encoder_2").is_dir()
        return None if len(parts) < 3 else "sdxl" if second else "sd15"
    if path.suffix != ".safetensors":
        return "sdxl" if path.name.startswith("sdxl") else "sd15"
    names = _shapes(path)
    whole = any(key.startswith("model.diffusion_model.") for key in names)
    if whole and any(key.startswith("conditioner.embedders.1.") for key in names):
        return "sdxl"
    return "sd15" if whole and any(key.startswith("cond_stage_model.") for key in names) else None


def _shapes(path: Path) -> Mapping[str, tuple[int, ...]]:
    """What a safetensors file says that it holds; empty where it is none, or is cut off."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            held = json.loads(file.read(length)) if length <= LONGEST_HEADER else {}
        tensors = {key: at for key, at in held.items() if key != "__metadata__"}
        ends = max((int(at["data_offsets"][1]) for at in tensors.values()), default=0)
        whole = path.stat().st_size == 8 + length + ends
        return {key: tuple(map(int, at["shape"])) for key, at in tensors.items()} if whole else {}
    except (OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError):
        return {}


def lora_fault(models: Path, name: str, options: Mapping[str, Any]) -> str | None:
    """Why an owner's LoRA cannot be used, for the owner; None where it can, as far as names tell."""
    path = lora_path(models, name, options)
    if not path.is_file():
        return f"{path} is no file"
    if path.suffix != ".safetensors":
        return f"{path} is no .safetensors file"
    fault, family = _lora(path, _mtime(path))
    if fault:
        return f"{path} is {fault}"
    if family not in (None, family_of(name)):
        return f"is of {FAMILIES[family]}; names of SDXL's LoRAs, and only those, begin with sdxl-"
    return None


def _mtime(path: Path) -> int:
    """When a file was changed; 0 where it went away at this moment."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


@lru_cache(256)
def _lora(path: Path, _changed: int) -> tuple[str | None, Family | None]:
    """Why a file is no LoRA that can be used; and for which image models it seems to be, by its names and widths."""
    shapes = _shapes(path)
    if not shapes:
        return "no safetensors file, or is cut off", None
    if strange := not_read(shapes):
        return f"no LoRA of an image model, or one of a kind that is not read here: {strange}", None
    if any(key.startswith(("lora_te2_", "text_encoder_2.")) for key in shapes):
        return None, "sdxl"
    told = (shape[1] for key, shape in shapes.items() if TOLD.search(key) and len(shape) > 1)
    return None, next((WORD_WIDTHS[width] for width in told if width in WORD_WIDTHS), None)


def loras_of(options: Mapping[str, Any]) -> Mapping[str, str]:
    """The owner's LoRAs."""
    return options.get("loras") or {}


def lora_path(models: Path, name: str, options: Mapping[str, Any]) -> Path:
    """Where an owner's LoRA is or would be."""
    return models / loras_of(options)[name]


def styles_of(options: Mapping[str, Any]) -> Mapping[str, str]:
    """The owner's own image models."""
    return options.get("styles") or {}


def path_of(models: Path, name: str, options: Mapping[str, Any]) -> Path | None:
    """File or folder of an image model; None where it is not there."""
    styles = styles_of(options)
    path = style_path(models, name, options) if name in styles else checkpoint_path(models, name)
    return path if path and path.exists() else None


def style_path(models: Path, name: str, options: Mapping[str, Any]) -> Path:
    """Where an owner's image model is or would be. Of a hub repository it is the folder of its name."""
    where = styles_of(options)[name]
    return models / (name if HUB.fullmatch(where) else where)


def checkpoint_path(models: Path, name: str) -> Path | None:
    """File or folder of a published checkpoint; None where it is missing."""
    weights = BY_NAME.get(name)
    layout = weights.layout_in(models) if weights else None
    if layout is None:
        return None
    [*others, only] = layout.files
    return models / name / only if not others else models / name


def file_of(models: Path, name: str, containing: str = "") -> Path | None:
    """A checkpoint's file of tensors, of several the one whose name contains this; None where it is missing."""
    weights = BY_NAME[name]
    layout = weights.layout_in(models)
    if layout is None:
        return None
    return next(models / name / file for file in layout.files if file.endswith(TENSORS) and containing in file)


def style_weights(options: Mapping[str, Any]) -> tuple[Weights, ...]:
    """Image models that the owner wants from the hub, as `models pull` knows them."""
    found: list[Weights] = []
    for name, where in styles_of(options).items():
        if hub := HUB.fullmatch(where):
            repo, revision = hub.groups()
            found.append(
                Weights(
                    name=name,
                    repo=repo,
                    revision=revision,
                    layouts=tuple(_folder(name, half=half) for half in (True, False)),
                    licence="as its page says",
                    licence_url=f"https://huggingface.co/{repo}",
                    megabytes=6938 if family_of(name) == "sdxl" else 2134,
                    purpose="an image model that config.toml lists",
                )
            )
    return tuple(found)


def _folder(name: str, *, half: bool) -> Layout:
    """A diffusers folder, in float16 or as it was saved."""
    family = family_of(name)
    names = {
        "model": "model.fp16.safetensors" if half else "model.safetensors",
        "diffusion": f"diffusion_pytorch_model{'.fp16' if half else ''}.safetensors",
    }
    tensors = [file.format(**names) for file in FOLDER_FILES[family]]
    configs = [f"{file.split('/')[0]}/config.json" for file in tensors]
    tokenizers = ("tokenizer", "tokenizer_2")[: 2 if family == "sdxl" else 1]
    words = [f"{folder}/{file}" for folder in tokenizers for file in ("vocab.json", "merges.txt")]
    return Layout(dict.fromkeys(["scheduler/scheduler_config.json", *configs, *tensors, *words]))


def _usable(path: Path | None, *, words: bool) -> bool:
    """A folder brings its vocabulary along; a single file needs `clip-tokenizer`."""
    return path is not None and (path.is_dir() or (path.is_file() and words))
