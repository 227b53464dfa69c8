"""Kinds of control and the folders below `place.models` that each needs: as the request declares them."""

from __future__ import annotations

from collections.abc import Mapping

from jobs.requests.holds import HOLDS, HoldName

ControlKind = HoldName

CONTROL_WEIGHTS: Mapping[ControlKind, str] = {kind: weights[0] for kind, weights in HOLDS.items()}
"""The ControlNet of each kind."""

DETECTOR_WEIGHTS: Mapping[ControlKind, tuple[str, ...]] = {kind: weights[1:] for kind, weights in HOLDS.items()}
"""What draws its conditions; nothing but the frame itself goes into a tile."""
