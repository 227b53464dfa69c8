"""From the names in every published file of the family to those of diffusers' modules.

A key map is one value: dotted prefixes, and what each stands for; the longest that fits wins, and `None` drops all
below it. `#` stands for a number that is carried over, so one map serves every size of network. Names that no map knows
are refused by whoever compares the result with the network (`loader.py`); here they only stay unknown.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor


@dataclass(frozen=True)
class KeyMap:
    """Published prefix → our prefix."""

    names: Mapping[str, str | None]

    @cached_property
    def _patterns(self) -> list[tuple[re.Pattern[str], str | None]]:
        longest_first = sorted(self.names.items(), key=lambda pair: -pair[0].count("."))
        return [
            (re.compile(re.escape(published).replace(r"\#", r"(\d+)") + r"(\..+|$)"), ours)
            for published, ours in longest_first
        ]

    def look_up(self, key: str) -> str | None:
        """Our name; None where this tensor is known to be of no use.

        Raises:
            KeyError: the map does not know the name.
        """
        for pattern, ours in self._patterns:
            if found := pattern.fullmatch(key):
                *numbers, rest = found.groups()
                return None if ours is None else _numbered(ours, numbers) + rest
        raise KeyError(key)

    def convert(self, tensors: Iterable[tuple[str, Tensor]]) -> Iterator[tuple[str, Tensor]]:
        """Every tensor that is of use, under our name.

        Raises:
            KeyError: the map does not know a name.
        """
        for key, tensor in tensors:
            if ours := self.look_up(key):
                yield ours, tensor


def _numbered(ours: str, numbers: Iterable[str]) -> str:
    for number in numbers:
        ours = ours.replace("#", number, 1)
    return ours


def under(published: str, ours: str, names: Mapping[str, str | None]) -> dict[str, str | None]:
    """The same map with a prefix before each side."""
    return {f"{published}.{name}": None if target is None else f"{ours}.{target}" for name, target in names.items()}


MOTION_MODULE: Mapping[str, str | None] = {
    **{name: name for name in ("norm", "proj_in", "proj_out")},
    **{
        f"transformer_blocks.#.{published}": f"transformer_blocks.#.{ours}"
        for published, ours in {
            "norms.0": "norm1",
            "norms.1": "norm2",
            "ff_norm": "norm3",
            # Matrix by matrix, so that a MotionLoRA, whose names go on differently, is not taken for a module.
            **{
                f"attention_blocks.{part}.{matrix}": f"attn{part + 1}.{matrix}"
                for part in (0, 1)
                for matrix in ("to_q", "to_k", "to_v", "to_out.0")
            },
            "ff": "ff",
        }.items()
    },
    # Sines and cosines, computed anew at the length of the file's own; the original reads none of them either.
    **{f"transformer_blocks.#.attention_blocks.{part}.pos_encoder": None for part in (0, 1)},
}
"""The original's TemporalTransformer3DModel, and Hotshot-XL's TransformerTemporal → AnimateDiffTransformer3D."""

OUR_MODULE: Mapping[str, str | None] = {
    **{name: name for name in ("norm", "proj_in", "proj_out", "transformer_blocks")},
    "transformer_blocks.#.pos_embed": None,
}
"""A file that was written by diffusers."""

BLOCKS = ("down_blocks.#", "mid_block", "up_blocks.#")


def _motion_modules(blocks: Iterable[str]) -> dict[str, str | None]:
    names: dict[str, str | None] = {}
    for block in blocks:
        ours = f"{block}.motion_modules.#"
        names |= under(ours, ours, OUR_MODULE)
        names |= under(f"{ours}.temporal_transformer", ours, MOTION_MODULE)
        names |= under(f"{block}.temporal_attentions.#", ours, MOTION_MODULE)
    return names


MOTION = KeyMap(_motion_modules(BLOCKS))
"""Every motion module: original, diffusers', Lightning's two, AnimateLCM's, Hotshot-XL's → MotionAdapter."""

SPARSE_CONTROL = KeyMap(
    {
        **{
            name: name
            for name in (
                "conv_in",
                "time_embedding",
                "controlnet_cond_embedding",
                "controlnet_down_blocks.#",
                "controlnet_mid_block",
                *(f"{block}.{part}" for block in BLOCKS[:2] for part in ("resnets.#", "attentions.#")),
                "down_blocks.#.downsamplers.0",
            )
        },
        **_motion_modules(("down_blocks.#",)),
    }
)
"""SparseCtrl, both kinds → SparseControlNetModel. Without its motion modules it has diffusers' names already."""

LORA_HALVES = {
    "processor.{}_lora.down": "down",  # the original, and the hub repositories made of it
    "processor.{}_lora.up": "up",
    "{}_lora.down": "down",  # the same without what the original strikes out anyway; all there is for feed-forwards
    "{}_lora.up": "up",
    "{}.lora.down": "down",  # diffusers before PEFT
    "{}.lora.up": "up",
    "{}.lora_A": "down",  # PEFT
    "{}.lora_B": "up",
}
PROJECTIONS = {"to_q": "to_q", "to_k": "to_k", "to_v": "to_v", "to_out": "to_out.0", "to_out.0": "to_out.0"}
FEED_FORWARD = {"net.0.proj": "net.0.proj", "net.2": "net.2"}


def _low_rank(parents: Mapping[str, str], layers: Mapping[str, str]) -> dict[str, str | None]:
    """Each layer of each parent, in each way to write a low-rank pair, with and without `unet.` before it."""
    return {
        f"{prefix}{published}.{half.format(layer)}": f"{ours}.{layers[layer]}.{side}"
        for published, ours in parents.items()
        for half, side in LORA_HALVES.items()
        for layer in layers
        for prefix in ("", "unet.")
    }


def _temporal(parts: Mapping[str, str]) -> dict[str, str]:
    """Parts of a motion module's block, under diffusers' names and the original's."""
    names: dict[str, str] = {}
    for block in BLOCKS:
        ours = f"{block}.motion_modules.#.transformer_blocks.#"
        published = f"{block}.motion_modules.#.temporal_transformer.transformer_blocks.#"
        names |= {f"{ours}.{part}": f"{ours}.{part}" for part in parts.values()}
        names |= {f"{published}.{theirs}": f"{ours}.{part}" for theirs, part in parts.items()}
    return names


_SPATIAL = [
    f"{block}.attentions.#.transformer_blocks.#.{attention}" for block in BLOCKS for attention in ("attn1", "attn2")
]

MOTION_LORA = KeyMap(
    {
        **_low_rank(_temporal({f"attention_blocks.{part}": f"attn{part + 1}" for part in (0, 1)}), PROJECTIONS),
        **_low_rank(_temporal({"ff": "ff"}), FEED_FORWARD),
    }
)
"""MotionLoRA → `<path of the Linear>.down.weight` and `.up.weight`. Learned ones have feed-forwards, too."""

DOMAIN_LORA = KeyMap(_low_rank({name: name for name in _SPATIAL}, PROJECTIONS))
"""Version 3's domain adapter, on the image model's own attentions → the same."""
