"""Low-rank additions to a network's matrices: MotionLoRA, version 3's domain adapter, and LoRAs of the image model.

As the original does it: W + strength · up @ down, no other factor unless the file says `alpha`. They are added for a
while and taken away without a trace, since the matrices as they were are kept, not computed back.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from inference import ldm
from inference.systems.animatediff import errors
from inference.systems.animatediff.keymap import DOMAIN_LORA, MOTION_LORA
from inference.systems.animatediff.loader import TensorFile, read
from inference.systems.animatediff.lora_names import Layout, layout_of

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


@dataclass(frozen=True)
class Lora:
    """One file."""

    model: str
    pairs: Mapping[str, LowRank]
    """By the path of the layer in the UNet, with dots or, in kohya's files, with underscores."""
    words: Mapping[str, Mapping[str, LowRank]] = field(default_factory=dict[str, Mapping[str, LowRank]])
    """For each text encoder, the same."""

    def of(self, network: str) -> Lora:
        """What it adds to `text_encoder` or `text_encoder_2`, to be merged there; often nothing."""
        return Lora(self.model, self.words.get(network, {}))


def open_lora(path: Path, model: str) -> Lora:
    """Read a LoRA from a file in any published layout.

    Raises:
        Failure: it cannot be read, is no LoRA that is known here, or holds numbers that are none.
    """
    file = read(path, model)
    if not all(tensor.isfinite().all() for tensor in file.tensors.values()):
        raise errors.AnimateDiffUnreadable(model=model, file=file.name)
    return lora_in(file)


def lora_in(file: TensorFile) -> Lora:
    """The LoRA in a file that was read."""
    if layout := layout_of(file.tensors):
        return _of_images(file, layout)
    moves = any("motion_modules" in key for key in file.tensors)
    return Lora(file.model, _paired(file, file.renamed(MOTION_LORA if moves else DOMAIN_LORA, "LoRA")))


def _of_images(file: TensorFile, layout: Layout) -> Lora:
    """Each network's part, under the paths that the layout has."""
    parts: dict[str, dict[str, Tensor]] = defaultdict(dict)
    unknown: list[str] = []
    for key, tensor in file.tensors.items():
        if half := layout(key):
            parts[half.network][f"{half.path}.{half.side}"] = tensor
        else:
            unknown.append(key)
    if unknown:
        raise errors.AnimateDiffLoraKind(model=file.model, file=file.name, count=len(unknown), example=unknown[0])
    pairs = {network: _paired(file, halves) for network, halves in parts.items()}
    return Lora(file.model, pairs.pop("unet", {}), pairs)


def _refuse_unknown(file: TensorFile, unknown: Sequence[str]) -> None:
    if unknown:
        raise errors.AnimateDiffUnknownTensors(model=file.model, file=file.name, count=len(unknown), example=unknown[0])


def _paired(file: TensorFile, halves: Mapping[str, Tensor]) -> dict[str, LowRank]:
    """`<path>.down.weight`, `<path>.up.weight` and perhaps `<path>.alpha`, together."""
    parts: dict[str, dict[str, Tensor]] = defaultdict(dict)
    unknown: list[str] = []
    for name, tensor in halves.items():
        if found := HALF.fullmatch(name):
            parts[found[1]][found[2]] = tensor
        else:
            unknown.append(name)
    _refuse_unknown(file, unknown)
    alone = [path for path, sides in parts.items() if not {"down.weight", "up.weight"} <= sides.keys()]
    if alone:
        raise errors.AnimateDiffMissingTensors(model=file.model, file=file.name, count=len(alone), example=alone[0])
    pairs: dict[str, LowRank] = {}
    for path, sides in parts.items():
        down, up = sides["down.weight"], sides["up.weight"]
        alpha = sides.get("alpha")
        paired = down.ndim > 1 and up.ndim > 1 and 0 < down.shape[0] == up.shape[1]
        if not paired or (alpha is not None and alpha.numel() != 1):
            raise errors.AnimateDiffWrongShape(model=file.model, file=file.name, example=path)
        factor = 1.0 if alpha is None else float(alpha) / down.shape[0]
        pairs[path] = LowRank(down, up, factor)
    return pairs


Summands = Sequence[tuple[LowRank, float]]
"""With their strengths."""


@contextmanager
def merged(network: nn.Module, loras: Sequence[tuple[Lora, float]]) -> Generator[None]:
    """Within this, the network's matrices are W + strength · up @ down, summed over all LoRAs.

    A matrix is exchanged for another, never written to: whoever shares it, such as the image model that lent it, does
    not see the sum. What was there waits where it was, so that it is shared again afterwards; that is as much memory as
    the changed matrices take up (in float16 0.3 GB for MotionLoRAs, however many; 0.8 GB with a learned motion; 0.2 GB
    for the domain adapter; for an image model's LoRA at most its UNet once more, 1.7 GB, or 5.1 GB of SDXL's).

    Args:
        network: a UNet, or a text encoder for `Lora.of`.
        loras: each with its strength, which may be negative. At 0 nothing is done, nor asked.

    Raises:
        AnimateDiffLoraDoesNotFit: the network has no such layers; it is as before then.
    """
    additions = _additions(network, [(lora, strength) for lora, strength in loras if strength])
    before = {weight: weight.data for weight in additions}
    try:
        for weight, summands in additions.items():
            _exchange(weight, _total(weight.data, summands))
        yield
    finally:
        for weight, data in before.items():
            _exchange(weight, data.to(weight.device))  # the network may have moved meanwhile


def _additions(network: nn.Module, loras: Sequence[tuple[Lora, float]]) -> Mapping[nn.Parameter, Summands]:
    """Every matrix that is added to, with what is added."""
    additions: dict[nn.Parameter, list[tuple[LowRank, float]]] = defaultdict(list)
    layers = _layers(network) if loras else {}
    for lora, strength in loras:
        strange = [path for path, pair in lora.pairs.items() if path not in layers or not pair.fits(layers[path])]
        if strange:
            raise errors.AnimateDiffLoraDoesNotFit(model=lora.model, count=len(strange), example=strange[0])
        for path, pair in lora.pairs.items():
            additions[layers[path]].append((pair, strength))
    return additions


def _layers(network: nn.Module) -> Mapping[str, nn.Parameter]:
    """Every matrix by its layer's path, with dots and, as kohya has it, with underscores.

    A UNet's also by the old names with underscores: those are what kohya's files for SDXL have.
    """
    dotted = {
        name.removeprefix("text_model."): cast(nn.Parameter, module.weight)
        for name, module in network.named_modules()
        if isinstance(module, nn.Linear | nn.Conv2d)
    }
    published = (
        {_published(name, old): weight for name, weight in dotted.items()} if (old := _old_names(network)) else {}
    )
    return dotted | {name.replace(".", "_"): weight for name, weight in (dotted | published).items()}


def _old_names(network: nn.Module) -> Mapping[str, str]:
    """Of a UNet, from diffusers' prefixes to those of CompVis and Stability; of anything else none."""
    config: Any = getattr(network, "config", None)
    if not hasattr(config, "down_block_types"):
        return {}
    attends = ["CrossAttn" in block for block in config.down_block_types]
    return {ours: theirs for theirs, ours in ldm.unet(attends, config.layers_per_block).items()}


def _published(name: str, old: Mapping[str, str]) -> str:
    """A layer's path as it was before diffusers; itself where it has none."""
    parents = name
    while parents and parents not in old:
        parents = parents.rpartition(".")[0]
    return old[parents] + name.removeprefix(parents) if parents else name


def _total(weight: Tensor, summands: Summands) -> Tensor:
    """Summed in float32 and rounded once, whatever the network computes in.

    All pairs side by side are one of a higher rank, so many LoRAs cost one product.
    """
    ups = torch.cat([strength * pair.factor * pair.up.flatten(1).float() for pair, strength in summands], dim=1)
    downs = torch.cat([pair.down.flatten(1).float() for pair, _ in summands])
    there = weight.float().flatten(1)
    return torch.addmm(there, ups.to(weight.device), downs.to(weight.device)).reshape(weight.shape).to(weight.dtype)


def _exchange(weight: nn.Parameter, data: Tensor) -> None:
    """Of parameters that were made in inference mode, torch lets nobody exchange the data outside of it."""
    with torch.inference_mode(mode=weight.is_inference()):
        weight.data = data
