"""An image model as a folder for each network: what diffusers writes and the Hugging Face hub holds."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

from inference.systems.animatediff import errors as room_errors
from inference.systems.animatediff.base import kinds
from inference.systems.animatediff.base.architecture import Config, Shapes
from inference.systems.animatediff.base.errors import AnimateDiffBaseForeign
from inference.systems.animatediff.base.keymap import CLIP, HUB_TEXT_2, HUB_VAE
from inference.systems.animatediff.base.model import Base, NetworkName, Part, PredictionType, header
from inference.systems.animatediff.base.tokens import has_words
from inference.systems.animatediff.keymap import KeyMap

STEMS: Mapping[NetworkName, str] = {
    "unet": "diffusion_pytorch_model",
    "vae": "diffusion_pytorch_model",
    "text_encoder": "model",
    "text_encoder_2": "model",
}
VARIANTS = ("{}.fp16.safetensors", "{}.safetensors")
"""Half the bytes first: what is in them is computed with in that width anyway."""
SHARDS = ("{}.fp16-*-of-*.safetensors", "{}-*-of-*.safetensors")
CLASSES: Mapping[NetworkName, tuple[str, ...]] = {
    "unet": ("UNet2DConditionModel",),
    "vae": ("AutoencoderKL",),
    "text_encoder": ("CLIPTextModel", "CLIPTextModelWithProjection"),
    "text_encoder_2": ("CLIPTextModelWithProjection",),
}
TOKENIZERS: Mapping[NetworkName, str] = {"text_encoder": "tokenizer", "text_encoder_2": "tokenizer_2"}
NAMES: Mapping[NetworkName, Callable[[Shapes], KeyMap]] = {
    "unet": lambda shapes: KeyMap({first: first for first in {key.partition(".")[0] for key in shapes}}),
    "vae": lambda _shapes: HUB_VAE,
    "text_encoder": lambda _shapes: CLIP,
    "text_encoder_2": lambda _shapes: HUB_TEXT_2,
}


def opened(name: str, path: Path, tokenizer: Path) -> Base:
    """See `loader.open_base`; not yet compared with the networks."""
    configs = _configs(name, path)
    parts = tuple(
        _part(name, file, network) for network in configs for file in _files(name, path / network, STEMS[network])
    )
    own = [path / folder for network, folder in TOKENIZERS.items() if network in configs]
    return Base(
        name,
        "sdxl" if "text_encoder_2" in configs else "sd15",
        configs,
        _prediction(name, path / "scheduler" / "scheduler_config.json"),
        parts,
        tuple(folder if has_words(folder) else tokenizer for folder in own),
    )


def _configs(name: str, path: Path) -> Mapping[NetworkName, Config]:
    """Of all its networks.

    Raises:
        AnimateDiffBaseForeign: they are another model's.
    """
    if not (path / "unet").is_dir():
        seems = "a model without a UNet" if (path / "model_index.json").is_file() else "no model in diffusers' layout"
        raise AnimateDiffBaseForeign(model=name, file=path.name, seems=seems)
    unet = _json(name, path / "unet" / "config.json")
    seems = _class_of(unet, "unet") or kinds.seems_by_config(unet)
    networks: list[NetworkName] = ["unet", "vae", "text_encoder"]
    if unet.get("addition_embed_type") == "text_time":
        networks.append("text_encoder_2")
        if not seems and not (path / "text_encoder").is_dir():
            seems = "SDXL's refiner"
    if seems:
        raise AnimateDiffBaseForeign(model=name, file=path.name, seems=seems)
    configs: dict[NetworkName, Config] = {network: _json(name, path / network / "config.json") for network in networks}
    for network, config in configs.items():
        if seems := _class_of(config, network):
            raise AnimateDiffBaseForeign(model=name, file=f"{network}/config.json", seems=seems)
    return configs


def _class_of(config: Config, network: NetworkName) -> str | None:
    """What a network is, by its config, where it is not what we want; older configs of transformers do not say."""
    said = config.get("_class_name") or next(iter(config.get("architectures") or ()), None)
    return None if said is None or said in CLASSES[network] else f"a model with {said}"


def _files(name: str, folder: Path, stem: str) -> list[Path]:
    """One network's safetensors: in one file or in several.

    Raises:
        AnimateDiffUnreadable: there are none.
    """
    for variant, shards in zip(VARIANTS, SHARDS, strict=True):
        whole = folder / variant.format(stem)
        found = [whole] if whole.is_file() else sorted(folder.glob(shards.format(stem)))
        if found:
            return found
    raise room_errors.AnimateDiffUnreadable(model=name, file=f"{folder.name}/{VARIANTS[-1].format(stem)}")


def _part(name: str, path: Path, network: NetworkName) -> Part:
    shapes = header(path, name).shapes
    names = NAMES[network](shapes)
    targets: dict[str, str] = {}
    unknown: list[str] = []
    for key in shapes:
        try:
            if ours := names.look_up(key):
                targets[key] = f"{network}.{ours}"
        except KeyError:
            unknown.append(key)
    if unknown:
        raise room_errors.AnimateDiffUnknownTensors(
            model=name, file=f"{network}/{path.name}", count=len(unknown), example=unknown[0]
        )
    return Part(path, shapes, targets)


def _prediction(name: str, path: Path) -> PredictionType:
    """What the scheduler's config says; a folder without one is taken for the usual."""
    if not path.is_file():
        return "epsilon"
    said = _json(name, path).get("prediction_type", "epsilon")
    if said not in ("epsilon", "v_prediction"):
        raise AnimateDiffBaseForeign(model=name, file=path.name, seems=f"a model that predicts {said}")
    return said


def _json(name: str, path: Path) -> Config:
    file = f"{path.parent.name}/{path.name}"
    try:
        held: Any = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise room_errors.AnimateDiffUnreadable(model=name, file=file) from error
    if not isinstance(held, dict):
        raise room_errors.AnimateDiffUnreadable(model=name, file=file)
    return cast(Config, held)
