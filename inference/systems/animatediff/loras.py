"""Low-rank additions to a network's matrices: MotionLoRA, version 3's domain adapter, and LoRAs of the image model.

As the original does it: W + strength · up @ down, no other factor unless the file says `alpha`. They are added for a
while and taken away without a trace, since the matrices as they were are kept, not computed back.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from inference.systems.animatediff import errors
from inference.systems.animatediff.keymap import DOMAIN_LORA, MOTION_LORA
from inference.systems.animatediff.loader import TensorFile, read

IMAGE_LORA = re.compile(r"lora_unet_(\w+)\.(?:lora_(down|up)\.weight|(alpha))")
"""kohya's names, as of AnimateLCM's and LCM's LoRA: a layer's path with `_` for every dot."""


HALF = re.compile(r"(.+)\.(down\.weight|up\.weight|alpha)")


@dataclass(frozen=True)
class LowRank:
    """What is added to one matrix `[out, in]`, or to a convolution's `[out, in, h, w]`."""

    down: Tensor
    """`[rank, in]`, or `[rank, in, h, w]`."""
    up: Tensor
    """`[out, rank]`, or `[out, rank, 1, 1]`."""
    factor: float = 1.0

    def fits(self, weight: Tensor) -> bool:
        """Whether the sum has this weight's shape."""
        return (
            self.up.shape[0] == weight.shape[0]
            and self.down.shape[0] == self.up.shape[1]
            and self.down.flatten(1).shape[1] == weight.flatten(1).shape[1]
        )

    def delta(self, weight: Tensor) -> Tensor:
        """In float32, where the weight is."""
        up, down = (half.to(weight.device, torch.float32).flatten(1) for half in (self.up, self.down))
        return (self.factor * (up @ down)).reshape(weight.shape)


@dataclass(frozen=True)
class Lora:
    """One file."""

    model: str
    pairs: Mapping[str, LowRank]
    """By the path of the layer in the UNet, with dots or, in kohya's files, with underscores."""


def open_lora(path: Path, model: str) -> Lora:
    """Read a LoRA from a file in any published layout.

    Raises:
        Failure: it cannot be read, or is no LoRA that is known here.
    """
    return lora_in(read(path, model))


def lora_in(file: TensorFile) -> Lora:
    """The LoRA in a file that was read."""
    if all(IMAGE_LORA.fullmatch(key) for key in file.tensors):
        halves = {_kohya(key): tensor for key, tensor in file.tensors.items()}
    else:
        moves = any("motion_modules" in key for key in file.tensors)
        halves = file.renamed(MOTION_LORA if moves else DOMAIN_LORA, "LoRA")
    return Lora(file.model, _paired(file, halves))


def _kohya(key: str) -> str:
    found = IMAGE_LORA.fullmatch(key)
    assert found, "asked before"
    path, side, alpha = found.groups()
    return f"{path}.{alpha or f'{side}.weight'}"


def _paired(file: TensorFile, halves: Mapping[str, Tensor]) -> dict[str, LowRank]:
    """`<path>.down.weight`, `<path>.up.weight` and perhaps `<path>.alpha`, together."""
    parts: dict[str, dict[str, Tensor]] = defaultdict(dict)
    unknown: list[str] = []
    for name, tensor in halves.items():
        if found := HALF.fullmatch(name):
            parts[found[1]][found[2]] = tensor
        else:
            unknown.append(name)
    if unknown:
        raise errors.AnimateDiffUnknownTensors(model=file.model, file=file.name, count=len(unknown), example=unknown[0])
    alone = [path for path, sides in parts.items() if not {"down.weight", "up.weight"} <= sides.keys()]
    if alone:
        raise errors.AnimateDiffMissingTensors(model=file.model, file=file.name, count=len(alone), example=alone[0])
    pairs: dict[str, LowRank] = {}
    for path, sides in parts.items():
        down, up = sides["down.weight"], sides["up.weight"]
        if down.ndim < 2 or up.ndim < 2 or down.shape[0] != up.shape[1]:
            raise errors.AnimateDiffWrongShape(model=file.model, file=file.name, example=path)
        factor = float(sides["alpha"]) / down.shape[0] if "alpha" in sides else 1.0
        pairs[path] = LowRank(down, up, factor)
    return pairs


@contextmanager
def merged(network: nn.Module, loras: Sequence[tuple[Lora, float]]) -> Generator[None]:
    """Within this, the network's matrices are W + strength · up @ down, summed over all LoRAs.

    Raises:
        AnimateDiffLoraDoesNotFit: the network has no such layers; it is as before then.
    """
    additions: dict[nn.Parameter, list[tuple[LowRank, float]]] = defaultdict(list)
    for lora, strength in loras:
        for weight, pair in _places(network, lora):
            additions[weight].append((pair, strength))
    before = {weight: weight.data for weight in additions}
    try:
        for weight, summands in additions.items():
            # Summed in float32 and rounded once, whatever the network computes in.
            total = sum((strength * pair.delta(weight) for pair, strength in summands), start=weight.data.float())
            weight.data = total.to(weight.dtype)
        yield
    finally:
        for weight, data in before.items():
            weight.data = data.to(weight.device)  # the network may have moved meanwhile


def _places(network: nn.Module, lora: Lora) -> list[tuple[nn.Parameter, LowRank]]:
    """Every matrix that a LoRA adds to, with what it adds."""
    layers = {name: module for name, module in network.named_modules() if isinstance(module, nn.Linear | nn.Conv2d)}
    layers |= {name.replace(".", "_"): module for name, module in layers.items()}
    strange = [path for path, pair in lora.pairs.items() if path not in layers or not pair.fits(layers[path].weight)]
    if strange:
        raise errors.AnimateDiffLoraDoesNotFit(model=lora.model, count=len(strange), example=strange[0])
    return [(cast(nn.Parameter, layers[path].weight), pair) for path, pair in lora.pairs.items()]
