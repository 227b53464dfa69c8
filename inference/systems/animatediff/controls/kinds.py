"""Kinds of control and the folders below `place.models` that each needs: torch-free, for whoever only has to know."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

ControlKind = Literal["depth", "openpose", "lineart", "softedge", "tile"]

CONTROL_WEIGHTS: Mapping[ControlKind, str] = {
    "depth": "controlnet-depth",
    "openpose": "controlnet-openpose",
    "lineart": "controlnet-lineart",
    "softedge": "controlnet-softedge",
    "tile": "controlnet-tile",
}
"""The ControlNet of each kind."""

DETECTOR_WEIGHTS: Mapping[ControlKind, tuple[str, ...]] = {
    "depth": ("depth-anything-v2-small",),
    "openpose": ("rtdetr-r50", "vitpose-base"),
    "lineart": ("lineart",),
    "softedge": ("hed",),
    "tile": (),
}
"""What draws its conditions; nothing but the frame itself goes into a tile."""
