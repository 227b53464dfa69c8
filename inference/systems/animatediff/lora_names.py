"""Names in published LoRAs of image models: torch-free, so that the worker can tell from a file's header what it is."""

from __future__ import annotations

import re
from collections.abc import Collection

KOHYA = re.compile(r"lora_(unet|te1?|te2)_(\w+)\.(?:lora_(down|up)\.weight|(alpha))")
"""kohya's names, as of AnimateLCM's and LCM's LoRA: a layer's path with `_` for every dot."""
PEFT = re.compile(r"(unet|text_encoder|text_encoder_2)\.(?:text_model\.)?(.+)\.lora_([AB])\.weight")
"""diffusers' own training scripts': a layer's path, dots and all."""
NETWORKS = {"unet": "unet", "te": "text_encoder", "te1": "text_encoder", "te2": "text_encoder_2"}
"""What is trained on a picture's words as well has a part for each text encoder."""
HALVES = (
    (re.compile(r"\.lora_(?:down|up)\.weight$"), (".lora_down.weight", ".lora_up.weight")),
    (re.compile(r"\.lora_[AB]\.weight$"), (".lora_A.weight", ".lora_B.weight")),
)


def not_read(names: Collection[str]) -> str | None:
    """The first name that makes a file another thing than a plain LoRA of an image model; None where it is one."""
    layout = next((each for each in (KOHYA, PEFT) if any(map(each.fullmatch, names))), None)
    if layout is None:
        return min(names, default="nothing")
    if strange := sorted(name for name in names if not layout.fullmatch(name)):
        return strange[0]
    return next((name for name in sorted(names) if not _whole(name, names)), None)


def _whole(name: str, names: Collection[str]) -> bool:
    """Whether the other half of a pair is there."""
    for half, both in HALVES:
        if half.search(name):
            return {half.sub(each, name) for each in both} <= set(names)
    return True
