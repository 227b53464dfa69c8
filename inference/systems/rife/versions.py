"""RIFE 4.x, version by version, as data: what differs between the published networks of one family."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

Inner = Literal["skip", "plain", "residual"]
"""A block's eight inner convolutions: one skip around all, none, or each one scaled and added to its input."""


@dataclass(frozen=True)
class Head:
    """What looks at each frame before any block does: the names of its layers, its width, and features it gives."""

    names: tuple[str, ...]
    width: int
    features: int


ENCODER = ("encode.cnn0", "encode.cnn1", "encode.cnn2", "encode.cnn3")
SEQUENCE = ("encode.0", "encode.2", "encode.4", "encode.6")
PAIR = ("encode.0", "encode.1")


@dataclass(frozen=True)
class Version:
    """One published version: everything that its network is built from."""

    name: str
    widths: tuple[int, ...]
    """Of the blocks, coarse to fine."""
    scales: tuple[int, ...]
    """By how much each block sees its input shrunk."""
    inner: Inner = "residual"
    outputs: int = 6
    """Channels of a block's answer: four of flow, one of mask, from 4.6 on one unused, from 4.21 on eight of
    features instead."""
    shuffled: bool = True
    """Whether the last layer's answer is spread over four times the pixels; else resized."""
    groups: int = 1
    """Of the inner convolutions."""
    head: Head | None = None
    mask_adds_up: bool = False
    """Whether each block corrects the mask; else the last block's word counts."""
    doubles: bool = False
    """Whether motion of more than 32 pixels makes the first two blocks look again at twice the scale."""

    @property
    def feedback(self) -> int:
        """Channels that a block hands to the next one beside flow and mask."""
        return self.outputs - 5 if self.outputs > 6 else 0

    def modulus(self, scale: float) -> int:
        """What sides must be multiples of at this `scale`, a power of two: then every resize comes back to size."""
        step = max(self.scales) * (8 if self.doubles else 4)
        return max(step, round(step / scale))

    def narrowed(self, divisor: int) -> Version:
        """The same network with narrower blocks: for tests."""
        return replace(self, widths=tuple(width // divisor for width in self.widths))


WIDE, HALF = (192, 128, 96, 64), (8, 4, 2, 1)
FIVE, FIVE_SCALES = (192, 128, 96, 64, 32), (16, 8, 4, 2, 1)

_SKIP = Version("4.0", WIDE, HALF, inner="skip", outputs=5, shuffled=False, mask_adds_up=True, doubles=True)
_PLAIN = replace(_SKIP, name="4.2", inner="plain", doubles=False)
_V5 = Version("4.5", WIDE, HALF, outputs=5, mask_adds_up=True)
_V6 = replace(_V5, name="4.6", outputs=6)
_V7 = Version("4.7", WIDE, HALF, head=Head(PAIR, 16, 4))
_V10 = replace(_V7, head=Head(SEQUENCE, 32, 8))
_V13 = replace(_V7, head=Head(ENCODER, 32, 8))
_V12_LITE = Version("4.12.lite", (128, 96, 64, 48), HALF, head=Head(SEQUENCE, 32, 4))
_V15_LITE = replace(_V12_LITE, head=Head(ENCODER, 16, 4))
_V20 = replace(_V13, name="4.20", widths=(384, 192, 96, 48))
_V21 = replace(_V13, widths=(256, 192, 96, 48), outputs=13)
_V22_LITE = replace(_V21, widths=(192, 128, 64, 32), head=Head(ENCODER, 16, 4))
_V25 = Version("4.25", FIVE, FIVE_SCALES, outputs=13, head=Head(ENCODER, 16, 4))
_V25_LITE = replace(_V25, widths=(192, 128, 96, 64, 24), scales=(32, 16, 8, 4, 1))
_V25_HEAVY = replace(_V25, widths=tuple(2 * width for width in FIVE))
_V26_HEAVY = replace(_V25, head=Head(ENCODER, 16, 16))

_TABLE: tuple[tuple[Version, tuple[str, ...]], ...] = (
    (_SKIP, ("4.0", "4.1")),
    (_PLAIN, ("4.2", "4.3", "4.4")),
    (_V5, ("4.5",)),
    (_V6, ("4.6",)),
    (_V7, ("4.7", "4.8", "4.9")),
    (_V10, ("4.10", "4.11", "4.12")),
    (_V12_LITE, ("4.12.lite", "4.13.lite")),
    (_V13, ("4.13", "4.14", "4.15", "4.17", "4.18", "4.19", "4.24")),
    (replace(_V13, groups=2), ("4.14.lite",)),
    (_V15_LITE, ("4.15.lite", "4.16.lite", "4.17.lite")),
    (_V20, ("4.20",)),
    (_V21, ("4.21", "4.22", "4.23")),
    (_V22_LITE, ("4.22.lite",)),
    (_V25, ("4.25", "4.26")),
    (_V25_LITE, ("4.25.lite",)),
    (_V25_HEAVY, ("4.25.heavy",)),
    (_V26_HEAVY, ("4.26.heavy",)),
)

VERSIONS: Mapping[str, Version] = {name: replace(version, name=name) for version, names in _TABLE for name in names}
"""Every published version by its name."""

_SPELLED = re.compile(r"(?<![\d.])4[._]?(\d{1,2})(?:[._-]?(lite|heavy))?(?![\d])", re.IGNORECASE)


def version_in(text: str) -> str | None:
    """The version that a file or folder name speaks of, or None.

    `flownet_v4.26.heavy.pkl`, `rife426.pth`, `rife-4.25-lite`, `RIFEv4.26_0921.zip` are all understood.
    """
    for found in _SPELLED.finditer(text):
        suffix = f".{found[2].lower()}" if found[2] else ""
        name = f"4.{int(found[1])}{suffix}"
        if name in VERSIONS:
            return name
    return None
