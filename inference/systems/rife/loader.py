"""Opens an installed checkpoint: says which version it is by its tensors, and fills the network from it.

Published files are pickles. None is unpickled as such: RIFE's go through torch's `weights_only` reader, and FILM's
TorchScript archive through a reader of our own, which takes the numbers out and leaves the program alone. How much a
file may unpack to is settled before anything of it is read.
"""

from __future__ import annotations

import io
import pickle
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from inference.systems.rife.errors import SmoothForeign, SmoothUnreadable
from inference.systems.rife.film import Film, FilmSizes
from inference.systems.rife.ifnet import IFNet
from inference.systems.rife.versions import VERSIONS, Version, version_in
from inference.weights import Weights

MOST_BYTES = 512 * 2**20
"""The largest published file has 138 MB."""
TRAINING_ONLY = ("teacher.", "caltime.")
"""Parts of RIFE's files that only training used."""
DEEPEST = 64
"""Modules within modules, in a TorchScript archive."""

Shapes = Mapping[str, tuple[int, ...]]
Tensors = dict[str, Tensor]


def load_rife(weights: Weights, models: Path, dtype: torch.dtype) -> IFNet:
    """The installed RIFE checkpoint.

    Raises:
        Failure: it cannot be read, or is no RIFE 4.x.
    """
    path = _path_of(weights, models)
    tensors = rife_tensors(weights.name, path)
    version = recognised(_shapes(tensors), path.name, weights.name)
    if version is None:
        raise SmoothForeign(model=weights.name, file=path.name)
    return filled(IFNet, version, tensors, dtype)


def load_film(weights: Weights, models: Path, dtype: torch.dtype) -> Film:
    """The installed FILM checkpoint.

    Raises:
        Failure: it cannot be read, or is no FILM.
    """
    path = _path_of(weights, models)
    tensors = script_tensors(weights.name, path)
    sizes = film_sizes(_shapes(tensors))
    if sizes is None:
        raise SmoothForeign(model=weights.name, file=path.name)
    known = film_shapes(sizes)
    return filled(Film, sizes, {name: tensors[name] for name in known}, dtype)


def filled(build: Any, sizes: Version | FilmSizes, tensors: Tensors, dtype: torch.dtype) -> Any:
    """A network of these sizes with these numbers, ready for inference."""
    with torch.device("meta"):
        network = build(sizes)
    network.load_state_dict({name: tensor.to(dtype) for name, tensor in tensors.items()}, strict=True, assign=True)
    return network.eval().requires_grad_(requires_grad=False)


def label_of(network: nn.Module) -> str:
    """What people call it: `RIFE 4.26`, `FILM`."""
    return f"RIFE {network.version.name}" if isinstance(network, IFNet) else "FILM"


def _path_of(weights: Weights, models: Path) -> Path:
    layout = weights.layout_in(models)
    if layout is None:
        raise SmoothUnreadable(model=weights.name, file=next(iter(weights.layouts[0].files)))
    return models / weights.name / next(iter(layout.files))


def _shapes(tensors: Tensors) -> Shapes:
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


# -- which version --


def shapes_of(version: Version) -> Shapes:
    """Names and shapes of a version's parameters."""
    return _shapes_of(replace(version, name=""))  # many versions share one network


@lru_cache(maxsize=128)
def _shapes_of(version: Version) -> Shapes:
    with torch.device("meta"):
        return {name: tuple(tensor.shape) for name, tensor in IFNet(version).state_dict().items()}


def recognised(shapes: Shapes, *names: str) -> Version | None:
    """The version with exactly these tensors: of several, the one that a name speaks of, else the newest.

    A network with narrower blocks than any published one counts as the version that it otherwise is.
    """
    fitting = [version for version in VERSIONS.values() if _fits(version, shapes)]
    named = [spoken for name in names if (spoken := version_in(name))]
    order = list(VERSIONS)
    # 4.25.heavy an eighth as wide is 4.25 a quarter as wide: the one that is nearer to its published widths it is.
    fitting.sort(key=lambda version: (-version.widths[0], version.name in named, order.index(version.name)))
    return _narrow(fitting[-1], shapes) if fitting else None


def _fits(version: Version, shapes: Shapes) -> bool:
    narrow = _narrow(version, shapes)
    return narrow is not None and shapes_of(narrow) == shapes


def _narrow(version: Version, shapes: Shapes) -> Version | None:
    """The version with the blocks' widths that the tensors have, where those are all the same part of the published."""
    width = shapes.get("block0.conv0.1.0.weight", (0,))[0]
    if not width or version.widths[0] % width:
        return None
    divisor = version.widths[0] // width
    return version.narrowed(divisor) if divisor in (1, 2, 4, 8) else None


def film_shapes(sizes: FilmSizes) -> Shapes:
    """Names and shapes of FILM's parameters."""
    with torch.device("meta"):
        return {name: tuple(tensor.shape) for name, tensor in Film(sizes).state_dict().items()}


def film_sizes(shapes: Shapes) -> FilmSizes | None:
    """The published sizes, or those with every width the same part of them; None where neither fits.

    A TorchScript archive may hold constants beside the parameters, so more tensors are no fault.
    """
    published = FilmSizes()
    filters = shapes.get("extract.extract_sublevels.convs.0.0.0.weight", (0,))[0]
    if not filters or published.filters % filters:
        return None
    part = published.filters // filters
    sizes = FilmSizes(filters=filters, flow_filters=tuple(width // part for width in published.flow_filters))
    if part > 16:
        return None
    return sizes if film_shapes(sizes).items() <= shapes.items() else None


# -- RIFE's files --


def rife_tensors(model: str, path: Path) -> Tensors:
    """The tensors under the network's own names, of `flownet.pkl`, of the release archive around it, or of `rife*.pth`.

    Raises:
        SmoothUnreadable: damaged, too large, or holds something else than tensors.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickles of another make: what cannot be read is said below
            held = torch.load(_bounded(path), map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, ValueError, EOFError, KeyError, pickle.UnpicklingError, zipfile.BadZipFile) as error:
        raise SmoothUnreadable(model=model, file=path.name) from error
    if not isinstance(held, dict) or not all(isinstance(value, Tensor) for value in held.values()):
        raise SmoothUnreadable(model=model, file=path.name)
    named = {str(name).removeprefix("module."): tensor for name, tensor in cast("dict[Any, Tensor]", held).items()}
    return {name: tensor for name, tensor in named.items() if not name.startswith(TRAINING_ONLY)}


def _bounded(path: Path) -> Path | io.BytesIO:
    """What to read: the file, or the one checkpoint in a release archive. Programs that lie beside it stay packed."""
    if path.stat().st_size > MOST_BYTES:
        raise ValueError("too large")
    if not zipfile.is_zipfile(path):
        return path
    with zipfile.ZipFile(path) as archive:
        if sum(entry.file_size for entry in archive.infolist()) > MOST_BYTES:
            raise ValueError("unpacks to too much")
        inside = [name for name in archive.namelist() if name.rpartition("/")[2] == "flownet.pkl"]
        if not inside:
            return path
        inner = io.BytesIO(archive.read(inside[0]))
    if zipfile.is_zipfile(inner):
        with zipfile.ZipFile(inner) as packed:
            if sum(entry.file_size for entry in packed.infolist()) > MOST_BYTES:
                raise ValueError("unpacks to too much")
    inner.seek(0)
    return inner


# -- FILM's file --


@dataclass
class _Part:
    """A module of the archived program: only what it holds is looked at, its code is never read."""

    held: dict[str, Any] = field(default_factory=dict[str, Any])

    def __setstate__(self, state: object) -> None:
        self.held = cast("dict[str, Any]", state) if isinstance(state, dict) else {}


class _Storage(NamedTuple):
    """Numbers of one storage, as they lie in the archive."""

    numbers: Tensor


class _FloatStorage:
    dtype = torch.float32


class _HalfStorage:
    dtype = torch.float16


class _LongStorage:
    dtype = torch.int64


def _tensor(storage: object, offset: object, size: object, stride: object, *_: object) -> Tensor:
    """A tensor over a storage's numbers; torch itself refuses one that would reach beyond them."""
    if not isinstance(storage, _Storage):
        raise pickle.UnpicklingError("no storage")
    numbers, shape = storage.numbers, tuple(cast("tuple[int, ...]", size))
    steps = tuple(cast("tuple[int, ...]", stride))
    return torch.as_strided(numbers, shape, steps, int(cast(int, offset))).clone()


def _plain(value: object, *_: object) -> object:
    return value


def _nothing(*_: object) -> None:
    return None


class _Reader(pickle.Unpickler):
    """Knows tensors and inert parts, and no other class or function in the world."""

    KNOWN: Mapping[tuple[str, str], Any] = {
        ("torch", "FloatStorage"): _FloatStorage,
        ("torch", "HalfStorage"): _HalfStorage,
        ("torch", "LongStorage"): _LongStorage,
        ("torch._utils", "_rebuild_tensor_v2"): _tensor,
        ("torch.jit._pickle", "build_intlist"): _plain,
        ("torch.jit._pickle", "build_doublelist"): _plain,
        ("torch.jit._pickle", "build_boollist"): _plain,
        ("torch.jit._pickle", "build_tensorlist"): _plain,
        ("torch.jit._pickle", "restore_type_tag"): _plain,
        ("collections", "OrderedDict"): _nothing,
    }

    def __init__(self, archive: zipfile.ZipFile, root: str) -> None:
        super().__init__(io.BytesIO(archive.read(f"{root}/data.pkl")))
        self._archive = archive
        self._root = root

    def find_class(self, module: str, name: str) -> Any:
        """Inert stand-ins; everything else is refused."""
        if module == "__torch__" or module.startswith("__torch__."):
            return _Part
        if (module, name) not in self.KNOWN:
            raise pickle.UnpicklingError(f"{module}.{name} has no place in a checkpoint")
        return self.KNOWN[module, name]

    def persistent_load(self, pid: Any) -> _Storage:
        """The numbers that `("storage", kind, key, device, count)` names."""
        _, kind, key, _, count = pid
        data = self._archive.read(f"{self._root}/data/{int(key)}")
        numbers = torch.frombuffer(bytearray(data), dtype=kind.dtype)
        if numbers.numel() != count:
            raise pickle.UnpicklingError("a storage of another size than it says")
        return _Storage(numbers)


def script_tensors(model: str, path: Path) -> Tensors:
    """The tensors of a TorchScript archive by module path, as `state_dict` of the running program would name them.

    Raises:
        SmoothUnreadable: damaged, too large, or holds something else than modules and tensors.
    """
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ValueError("too large")
        with zipfile.ZipFile(path) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > MOST_BYTES:
                raise ValueError("unpacks to too much")
            [root] = {name.partition("/")[0] for name in archive.namelist() if name.endswith("/data.pkl")}
            part = _Reader(archive, root).load()
        if not isinstance(part, _Part):
            raise TypeError("no module")
        return dict(_tensors_of(part, "", 0))
    except (
        OSError, ValueError, TypeError, RuntimeError, EOFError, LookupError, AttributeError, RecursionError,
        NotImplementedError, pickle.UnpicklingError, zipfile.BadZipFile, zipfile.LargeZipFile,
    ) as error:  # fmt: skip
        raise SmoothUnreadable(model=model, file=path.name) from error


def _tensors_of(part: object, prefix: str, depth: int) -> Iterator[tuple[str, Tensor]]:
    if depth > DEEPEST:
        raise ValueError("modules within modules without end")
    if not isinstance(part, _Part):
        return
    for name, value in part.held.items():
        if isinstance(value, Tensor):
            yield f"{prefix}{name}", value
        else:
            yield from _tensors_of(value, f"{prefix}{name}.", depth + 1)
