"""Names in published LoRAs of image models: torch-free, so that the worker can tell from a file's header what it is."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from typing import NamedTuple

KOHYA = re.compile(r"lora_(unet|te1?|te2)_(\w+)\.(?:lora_(down|up)\.weight|(alpha))")
"""kohya's names, as of AnimateLCM's and LCM's LoRA: a layer's path with `_` for every dot."""
PEFT = re.compile(r"(unet|text_encoder|text_encoder_2)\.(?:text_model\.)?(.+)\.lora_([AB])\.weight")
"""diffusers' own training scripts': a layer's path, dots and all."""
NETWORKS = {"unet": "unet", "te": "text_encoder", "te1": "text_encoder", "te2": "text_encoder_2"}
"""What is trained on a picture's words as well has a part for each text encoder."""


class Half(NamedTuple):
    """What one tensor is."""

    network: str
    path: str
    """Of the layer there."""
    side: str
    """`down.weight`, `up.weight` or `alpha`."""


Layout = Callable[[str], Half | None]


def _kohya(name: str) -> Half | None:
    if found := KOHYA.fullmatch(name):
        network, path, side, alpha = found.groups()
        path = path.removeprefix("text_model_")  # which transformers has left out of its own names since
        return Half(NETWORKS[network], path, alpha or f"{side}.weight")
    return None


def _peft(name: str) -> Half | None:
    if found := PEFT.fullmatch(name):
        return Half(found[1], found[2], "down.weight" if found[3] == "A" else "up.weight")
    return None


def layout_of(names: Collection[str]) -> Layout | None:
    """How a file names its halves; None where it is no LoRA of an image model, or one of the original's own."""
    if any(map(_kohya, names)):
        return _kohya
    moves = any("motion_modules" in name for name in names)
    return _peft if not moves and any(map(_peft, names)) else None


def not_read(names: Collection[str]) -> str | None:
    """The first name that makes a file another thing than a plain LoRA of an image model; None where it is one."""
    layout = layout_of(names)
    if layout is None:
        return min(names, default="nothing")
    halves = {name: layout(name) for name in sorted(names)}
    known = {half for half in halves.values() if half}
    for name, half in halves.items():
        if half is None or not {half._replace(side="down.weight"), half._replace(side="up.weight")} <= known:
            return name
    return None
