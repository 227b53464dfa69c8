"""Opens a file of the family, in any published layout, and fills diffusers' networks from it.

Strict: every tensor of a file is used or known to be of no use, and every parameter is filled with one of its shape.
Most published files are pickles; torch's `weights_only` reader takes tensors and plain values out of them, and runs
nothing.
"""

from __future__ import annotations

import math
import warnings
import zipfile
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import torch
from diffusers.models.controlnets.controlnet_sparsectrl import SparseControlNetModel
from diffusers.models.embeddings import SinusoidalPositionalEmbedding
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.models.unets.unet_motion_model import MotionAdapter, UNetMotionModel
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from inference.systems.animatediff import errors
from inference.systems.animatediff.architecture import (
    V1_POSITIONS,
    Config,
    MotionSizes,
    Shapes,
    SparseSizes,
    Version,
    motion_sizes,
    sparse_sizes,
    version_of,
)
from inference.systems.animatediff.keymap import MOTION, SPARSE_CONTROL, KeyMap
from inference.systems.animatediff.norms import follow_original

MOST_BYTES = 4 * 2**30
"""The largest published file of the family, SparseCtrl's, has 2.0 GB."""
WRAPPERS = ("state_dict", "controlnet")
"""Training left its step count and the like beside the tensors in some files: what counts lies one level deeper."""
TABLES = (".pos_encoder.pe", ".pos_encoder.positional_encoding", ".pos_embed.pe")
"""Sines and cosines, `[1, positions, channels]`. Only their length is read."""

Tensors = dict[str, Tensor]


# -- files --


@dataclass(frozen=True)
class TensorFile:
    """What a file holds, under its own names; `model` and `name` are for whoever has to be told about it."""

    model: str
    name: str
    tensors: Mapping[str, Tensor]

    @property
    def positions(self) -> int | None:
        """The length of its tables; None where it has none.

        Raises:
            AnimateDiffWrongShape: they differ, or are no tables.
        """
        tables = {key: tensor.shape for key, tensor in self.tensors.items() if key.endswith(TABLES)}
        lengths = {shape[-2] if len(shape) == 3 else 0 for shape in tables.values()}
        if len(lengths) > 1 or 0 in lengths:
            raise errors.AnimateDiffWrongShape(model=self.model, file=self.name, example=next(iter(tables)))
        return next(iter(lengths), None)

    def renamed(self, names: KeyMap, wanted: str) -> Tensors:
        """Its tensors under our names.

        Raises:
            AnimateDiffForeign: the first of its names belongs to no layout of this kind; it is something else.
            AnimateDiffUnknownTensors: some of its names belong to none.
        """
        ours: Tensors = {}
        unknown: list[str] = []
        for key, tensor in self.tensors.items():
            try:
                name = names.look_up(key)
            except KeyError:
                unknown.append(key)
                continue
            if name in ours:  # the same parameter under the names of two layouts
                unknown.append(key)
            elif name is not None:
                ours[name] = tensor
        if not ours or 2 * len(unknown) > len(self.tensors):
            example = next(iter(unknown), "")
            raise errors.AnimateDiffForeign(model=self.model, file=self.name, wanted=wanted, example=example)
        if unknown:
            raise errors.AnimateDiffUnknownTensors(
                model=self.model, file=self.name, count=len(unknown), example=unknown[0]
            )
        return ours


def read(path: Path, model: str) -> TensorFile:
    """All tensors of a safetensors file or a pickle, out of their wrapper.

    Raises:
        AnimateDiffUnreadable: missing, damaged, too large, or something else than tensors.
    """
    try:
        held: object = load_file(path) if path.suffix == ".safetensors" else unpickled(path)
        tensors = _unwrapped(held)
    except (
        OSError, RuntimeError, ValueError, TypeError, EOFError, LookupError, AttributeError,
        SafetensorError, zipfile.BadZipFile,
    ) as error:  # fmt: skip
        raise errors.AnimateDiffUnreadable(model=model, file=path.name) from error
    return TensorFile(model, path.name, tensors)


def unpickled(path: Path) -> object:
    """What torch's `weights_only` reader takes out of a pickle: tensors and plain values; nothing is run.

    Raises:
        ValueError: it is too large, or holds something else.
    """
    if path.stat().st_size > MOST_BYTES:
        raise ValueError("too large")
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > MOST_BYTES:
                raise ValueError("unpacks to too much")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about pickles of another make: what cannot be read is said below
        try:
            return torch.load(path, map_location="cpu", weights_only=True)
        except MemoryError:
            raise
        except Exception as error:
            raise ValueError("it holds something else than tensors, or is damaged") from error


def _unwrapped(held: object) -> Tensors:
    """The tensors by name. What is no tensor, such as `animatediff_config`, is left behind."""
    if not isinstance(held, dict):
        raise TypeError("no tensors by name")
    entries = cast("dict[Any, Any]", held)
    for wrapper in WRAPPERS:
        if isinstance(entries.get(wrapper), dict):
            entries = entries[wrapper]
    tensors = {str(name): value for name, value in entries.items() if isinstance(value, Tensor)}
    if not tensors:
        raise TypeError("no tensors")
    if all(name.startswith("module.") for name in tensors):  # training on several cards
        tensors = {name.removeprefix("module."): tensor for name, tensor in tensors.items()}
    return tensors


def compare(file: TensorFile, found: Shapes, wanted: Shapes) -> None:
    """Whether a file's tensors, under our names, are a network's parameters, all of them and no others.

    Raises:
        Failure: something is left over, missing or of another shape.
    """
    unknown = [name for name in found if name not in wanted]
    if unknown:
        raise errors.AnimateDiffUnknownTensors(model=file.model, file=file.name, count=len(unknown), example=unknown[0])
    missing = [name for name in wanted if name not in found]
    if missing:
        raise errors.AnimateDiffMissingTensors(model=file.model, file=file.name, count=len(missing), example=missing[0])
    for name, shape in wanted.items():
        if found[name] != shape:
            raise errors.AnimateDiffWrongShape(model=file.model, file=file.name, example=name)


def shapes_of(tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """Names and shapes."""
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def parameters_of(network: nn.Module) -> dict[str, tuple[int, ...]]:
    """Names and shapes of what is learned: all but the tables."""
    return {name: tuple(tensor.shape) for name, tensor in network.named_parameters()}


# -- networks --


def build_adapter(sizes: MotionSizes) -> MotionAdapter:
    """On the meta device: names and shapes, no numbers yet."""
    with torch.device("meta"):
        return MotionAdapter(**sizes.config())


def build_sparse(sizes: SparseSizes) -> SparseControlNetModel:
    """On the meta device."""
    with torch.device("meta"):
        return SparseControlNetModel(**sizes.config())


def position_table(positions: int, channels: int) -> Tensor:
    """Sines in the even channels, cosines in the odd ones, `[1, positions, channels]` float32."""
    frame = torch.arange(positions)[:, None]
    rate = torch.exp(torch.arange(0, channels, 2) * (-math.log(10000.0) / channels))
    table = torch.zeros(1, positions, channels)
    table[0, :, 0::2] = torch.sin(frame * rate)
    table[0, :, 1::2] = torch.cos(frame * rate)
    return table


def fill(network: nn.Module, tensors: Mapping[str, Tensor], dtype: torch.dtype) -> None:
    """Give a network from the meta device its numbers, all of them, and make it ready for inference."""
    tables = {
        f"{name}.pe": position_table(*cast(Tensor, module.pe).shape[1:])
        for name, module in network.named_modules()
        if isinstance(module, SinusoidalPositionalEmbedding)
    }
    state_dict = {name: tensor.to(dtype) for name, tensor in {**tensors, **tables}.items()}
    network.load_state_dict(state_dict, strict=True, assign=True)
    network.eval()


@dataclass(frozen=True)
class Motion:
    """One file of motion modules, checked, under MotionAdapter's names."""

    model: str
    version: Version
    sizes: MotionSizes
    tensors: Mapping[str, Tensor]

    @cached_property
    def adapter(self) -> MotionAdapter:
        """Of these sizes, on the meta device: what diffusers wants to see to build a UNet."""
        return build_adapter(self.sizes)


def open_motion(path: Path, model: str, version: Version | None = None) -> Motion:
    """Read motion modules from a file in any published layout.

    Args:
        path: `.safetensors`, `.ckpt`, `.pth` or `.pt`.
        model: what people call it.
        version: what it is known to be; else it is told by the tensors (`version_of`).

    Raises:
        Failure: it cannot be read, or is no file of motion modules.
    """
    return motion_in(read(path, model), version)


def motion_in(file: TensorFile, version: Version | None = None) -> Motion:
    """The motion modules in a file that was read."""
    tensors = file.renamed(MOTION, "file of motion modules")
    shapes, positions = shapes_of(tensors), file.positions
    with sized(file, shapes):
        sizes = motion_sizes(shapes, positions)
        wanted = parameters_of(build_adapter(sizes))
    compare(file, shapes, wanted)
    told = version or version_of(sizes, has_tables=positions is not None, file=file.name)
    if positions is None and told == "v1":
        sizes = replace(sizes, positions=V1_POSITIONS)
    return Motion(file.model, told, sizes, tensors)


@contextmanager
def sized(file: TensorFile, shapes: Shapes) -> Generator[None]:
    """What is wrong with a file of which not even the sizes can be told."""
    try:
        yield
    except LookupError as error:
        example = str(next(iter(error.args), ""))
        raise errors.AnimateDiffMissingTensors(model=file.model, file=file.name, count=1, example=example) from error
    except (ValueError, TypeError, ZeroDivisionError) as error:  # widths that cannot be split into heads or groups
        raise errors.AnimateDiffWrongShape(model=file.model, file=file.name, example=next(iter(shapes))) from error


def build_unet(config: Config, motion: Motion) -> UNetMotionModel:
    """An image model's UNet with motion modules in it, on the meta device, with the original's norms.

    Args:
        config: of a UNet2DConditionModel.
        motion: the modules that go in.

    Raises:
        AnimateDiffWrongBase: they were made for another kind of image model.
    """
    channels = tuple(config["block_out_channels"])
    if channels != motion.sizes.channels or config["layers_per_block"] != motion.sizes.modules:
        raise errors.AnimateDiffWrongBase(
            model=motion.model,
            wanted="/".join(map(str, motion.sizes.channels)),
            found="/".join(map(str, channels)),
        )
    with torch.device("meta"):
        hollow = cast(UNet2DConditionModel, UNet2DConditionModel.from_config(config))
        unet = cast(UNetMotionModel, UNetMotionModel.from_unet2d(hollow, motion.adapter, load_weights=False))
    follow_original(unet, all_frames=motion.version == "v1")
    return unet


def put_into(base: UNet2DConditionModel, motion: Motion) -> UNetMotionModel:
    """The image model's UNet, which keeps its numbers (shared, not copied), with motion modules in it.

    Raises:
        AnimateDiffWrongBase: the modules were made for another kind of image model.
    """
    unet = build_unet(dict(base.config), motion)
    device, dtype = base.device, base.dtype  # diffusers looks through all modules each time it is asked
    there = {name: tensor.to(device, dtype) for name, tensor in motion.tensors.items()}
    fill(unet, {**base.state_dict(), **there}, dtype)
    return cast(Any, unet).to(device)


def open_sparse(path: Path, model: str, dtype: torch.dtype) -> SparseControlNetModel:
    """Read SparseCtrl, of either kind, from a file in any published layout.

    Raises:
        Failure: it cannot be read, or is no SparseCtrl.
    """
    return sparse_in(read(path, model), dtype)


def sparse_in(file: TensorFile, dtype: torch.dtype) -> SparseControlNetModel:
    """The SparseCtrl in a file that was read."""
    tensors = file.renamed(SPARSE_CONTROL, "SparseCtrl")
    shapes, positions = shapes_of(tensors), file.positions
    with sized(file, shapes):
        network = build_sparse(sparse_sizes(shapes, positions))
    compare(file, shapes, parameters_of(network))
    follow_original(network)
    fill(network, tensors, dtype)
    return network
