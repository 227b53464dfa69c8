"""Which published files a clip was made with: what its mark says, and what people read of it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

from inference.checksums import Checksums
from inference.systems import ROOMS
from inference.weights import Layout, Weights

SHORT = 12
"""Digits of a revision that people are shown."""


def checkpoints(names: Iterable[str], models: Path) -> dict[str, dict[str, Any]]:
    """By name: repository, revision, and each file's SHA-256, pinned or as it was when it was fetched."""
    return {
        weights.name: {"repo": weights.repo, "revision": weights.revision, "sha256": _hashes(weights, models)}
        for weights in _known(names)
    }


def in_words(names: Collection[str]) -> tuple[str, ...]:
    """The same for people: `svd-xt (stabilityai/… @ 9e43909513c6)`; of the owner's own, the name."""
    known = {weights.name: f"{weights.name} ({weights.repo} @ {weights.revision[:SHORT]})" for weights in _known(names)}
    return tuple(known.get(name, name) for name in dict.fromkeys(names))


def _known(names: Iterable[str]) -> Iterator[Weights]:
    by_name = {weights.name: weights for room in ROOMS.values() for weights in room.weights}
    return (by_name[name] for name in dict.fromkeys(names) if name in by_name)


def _hashes(weights: Weights, models: Path) -> dict[str, str]:
    layout = weights.layout_in(models) or Layout({})
    recorded = Checksums.read(models / weights.name, weights.revision).files
    hashes = {name: pinned or recorded.get(name) for name, pinned in layout.files.items()}
    return {name: digest for name, digest in hashes.items() if digest}
