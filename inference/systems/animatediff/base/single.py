"""A whole image model in one file, as Stability, RunwayML and everybody on Civitai publish it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from inference.systems.animatediff import errors as room_errors
from inference.systems.animatediff.base import kinds
from inference.systems.animatediff.base.architecture import Config, Shapes, clip_config, unet_sizes, vae_sizes
from inference.systems.animatediff.base.errors import AnimateDiffBaseForeign
from inference.systems.animatediff.base.keymap import CLIP, OPEN_CLIP, USELESS, unet_map, vae_map
from inference.systems.animatediff.base.model import (
    Base,
    Header,
    NetworkName,
    Part,
    PredictionType,
    header,
    sized,
)
from inference.systems.animatediff.keymap import KeyMap

PREFIXES: Mapping[kinds.Family, Mapping[NetworkName, str]] = {
    "sd15": {"unet": kinds.UNET, "vae": kinds.VAE, "text_encoder": kinds.WORDS_SD15},
    "sdxl": {
        "unet": kinds.UNET,
        "vae": kinds.VAE,
        "text_encoder": kinds.WORDS_SDXL[0],
        "text_encoder_2": kinds.WORDS_SDXL[1],
    },
}
V_PREDICTION = ("v_prediction", "v-prediction", "v_pred", "v")
"""How `modelspec.prediction_type`, Stability's note in a file's header, is written."""


def opened(name: str, path: Path, tokenizer: Path) -> Base:
    """See `loader.open_base`; not yet compared with the networks."""
    head = header(path, name)
    family = kinds.family_of(head.shapes)
    if family is None:
        raise AnimateDiffBaseForeign(model=name, file=path.name, seems=kinds.seems(head.shapes))
    with sized(name, path.name, next(iter(head.shapes))):
        maps = _maps(family, head.shapes)
        targets = _targets(name, path, head.shapes, family, maps)
        part = Part(path, head.shapes, targets)
        configs = _configs(family, head.shapes, part)
    if seems := kinds.seems_by_config(configs["unet"]):
        raise AnimateDiffBaseForeign(model=name, file=path.name, seems=seems)
    encoders = len(configs) - 2
    return Base(name, family, configs, _prediction(head), (part,), (tokenizer,) * encoders)


def _maps(family: kinds.Family, shapes: Shapes) -> Mapping[NetworkName, KeyMap]:
    prefixes = PREFIXES[family]
    maps: dict[NetworkName, KeyMap] = {
        "unet": unet_map(unet_sizes(_below(shapes, prefixes["unet"]))),
        "vae": vae_map(vae_sizes(_below(shapes, prefixes["vae"]))),
        "text_encoder": CLIP,
    }
    return maps if family == "sd15" else {**maps, "text_encoder_2": OPEN_CLIP}


def _targets(
    name: str, path: Path, shapes: Shapes, family: kinds.Family, maps: Mapping[NetworkName, KeyMap]
) -> dict[str, str]:
    """The file's names → `<network>.<our name>`.

    Raises:
        AnimateDiffUnknownTensors: some belong to no network and are not known to be useless; or two are one.
    """
    targets: dict[str, str] = {}
    unknown: list[str] = []
    taken: set[str] = set()
    for key in shapes:
        try:
            target = _target(key, PREFIXES[family], maps)
        except KeyError:
            unknown.append(key)
            continue
        if target in taken:
            unknown.append(key)
        elif target is not None:
            targets[key] = target
            taken.add(target)
    if unknown:
        raise room_errors.AnimateDiffUnknownTensors(model=name, file=path.name, count=len(unknown), example=unknown[0])
    return targets


def _target(key: str, prefixes: Mapping[NetworkName, str], maps: Mapping[NetworkName, KeyMap]) -> str | None:
    """Where one tensor goes; None where it is of no use.

    Raises:
        KeyError: nobody knows it.
    """
    try:
        return USELESS.look_up(key)
    except KeyError:
        for network, prefix in prefixes.items():
            if key.startswith(prefix):
                ours = maps[network].look_up(key.removeprefix(prefix))
                return None if ours is None else f"{network}.{ours}"
        raise


def _configs(family: kinds.Family, shapes: Shapes, part: Part) -> Mapping[NetworkName, Config]:
    prefixes = PREFIXES[family]
    unet, vae = unet_sizes(_below(shapes, prefixes["unet"])), vae_sizes(_below(shapes, prefixes["vae"]))
    configs: dict[NetworkName, Config] = {
        "vae": vae.config(family),
        "text_encoder": clip_config(part.found("text_encoder"), "", "quick_gelu"),
    }
    if family == "sd15":
        return {"unet": unet.config(family, None), **configs}
    second = clip_config(part.found("text_encoder_2"), "text_model.", "gelu")
    if unet.vector is None:
        raise KeyError(f"{kinds.UNET}label_emb.0.0.weight")
    return {"unet": unet.config(family, second["projection_dim"]), **configs, "text_encoder_2": second}


def _prediction(head: Header) -> PredictionType:
    noted = head.notes.get("modelspec.prediction_type", "").strip().lower()
    return "v_prediction" if "v_pred" in head.shapes or noted in V_PREDICTION else "epsilon"


def _below(shapes: Shapes, prefix: str) -> Shapes:
    return {name.removeprefix(prefix): shape for name, shape in shapes.items() if name.startswith(prefix)}
