"""An image model: where its tensors are and where they go, and the libraries' networks, filled with them."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from inference.systems.animatediff import errors as room_errors
from inference.systems.animatediff import loader as room
from inference.systems.animatediff.base.architecture import NATIVE_SIDE, Config, Shapes
from inference.systems.animatediff.base.errors import AnimateDiffWrongWords
from inference.systems.animatediff.base.keymap import laid_out
from inference.systems.animatediff.base.kinds import Family
from inference.systems.animatediff.base.tokens import tokenizer_in

NetworkName = Literal["unet", "vae", "text_encoder", "text_encoder_2"]
PredictionType = Literal["epsilon", "v_prediction"]
ENCODERS: tuple[NetworkName, ...] = ("text_encoder", "text_encoder_2")


# -- networks on the meta device: names and shapes, no numbers yet --


def build_unet(config: Config) -> nn.Module:
    """UNet2DConditionModel."""
    with torch.device("meta"):
        return cast(nn.Module, UNet2DConditionModel.from_config(config))


def build_vae(config: Config) -> nn.Module:
    """AutoencoderKL."""
    with torch.device("meta"):
        return cast(nn.Module, AutoencoderKL.from_config(config))


def build_text_encoder(config: Config) -> nn.Module:
    """CLIPTextModel."""
    return _with_positions(CLIPTextModel, config)


def build_text_encoder_2(config: Config) -> nn.Module:
    """CLIPTextModelWithProjection."""
    return _with_positions(CLIPTextModelWithProjection, config)


def _with_positions(kind: Callable[[CLIPTextConfig], nn.Module], config: Config) -> nn.Module:
    sizes = CLIPTextConfig.from_dict(config)
    with torch.device("meta"):
        encoder = kind(sizes)
    for module in encoder.modules():
        if "position_ids" in module._buffers:  # computed, and in no file
            positions = torch.arange(sizes.max_position_embeddings)[None]
            module.register_buffer("position_ids", positions, persistent=False)
    return encoder


BUILD: Mapping[NetworkName, Callable[[Config], nn.Module]] = {
    "unet": build_unet,
    "vae": build_vae,
    "text_encoder": build_text_encoder,
    "text_encoder_2": build_text_encoder_2,
}


# -- files --


@dataclass(frozen=True)
class Header:
    """Names and shapes in a file, under its own names, and what its writer noted beside them."""

    shapes: Shapes
    notes: Mapping[str, str]


def header(path: Path, model: str) -> Header:
    """Of a safetensors file, without reading more of it; or of a pickle.

    Raises:
        AnimateDiffUnreadable: missing, damaged, or something else.
    """
    if path.suffix != ".safetensors":
        return Header(room.shapes_of(room.read(path, model).tensors), {})
    with _readable(path, model), safe_open(path, framework="pt") as file:
        shapes = {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118
        return Header(shapes, file.metadata() or {})


@contextmanager
def _readable(path: Path, model: str) -> Generator[None]:
    try:
        yield
    except (OSError, SafetensorError) as error:
        raise room_errors.AnimateDiffUnreadable(model=model, file=path.name) from error


@dataclass(frozen=True)
class Part:
    """One file, and where its tensors go: `<network>.<our name>`. Those of no use are left out."""

    path: Path
    shapes: Shapes
    targets: Mapping[str, str]

    def found(self, network: NetworkName) -> dict[str, tuple[int, ...]]:
        """Our names and shapes of one network's parameters in it, found out without their numbers."""
        hollow = ((key, torch.empty(self.shapes[key], device="meta")) for key in self._keys(network))
        return room.shapes_of(dict(self._ours(network, hollow)))

    def tensors(self, network: NetworkName, model: str, dtype: torch.dtype) -> Iterator[tuple[str, Tensor]]:
        """One network's tensors under our names, each turned to `dtype` as it is read."""
        keys = self._keys(network)
        if self.path.suffix != ".safetensors":
            held = room.read(self.path, model).tensors
            yield from self._ours(network, ((key, held[key].to(dtype)) for key in keys))
            return
        with _readable(self.path, model), safe_open(self.path, framework="pt") as file:
            yield from self._ours(network, ((key, file.get_tensor(key).to(dtype)) for key in keys))

    def _keys(self, network: NetworkName) -> list[str]:
        return [key for key, target in self.targets.items() if target.startswith(f"{network}.")]

    def _ours(self, network: str, tensors: Iterator[tuple[str, Tensor]]) -> Iterator[tuple[str, Tensor]]:
        for key, tensor in tensors:
            for name, ours in laid_out(self.targets[key], tensor):
                yield name.removeprefix(f"{network}."), ours


# -- the whole model --


@dataclass(frozen=True)
class Base:
    """An image model whose files were checked; `load` reads its networks."""

    name: str
    family: Family
    configs: Mapping[NetworkName, Config]
    """What the libraries' classes need to be built in these sizes."""
    prediction_type: PredictionType
    """What the UNet's output is."""
    parts: tuple[Part, ...]
    words: tuple[Path, ...]
    """A folder with `vocab.json` and `merges.txt` for each text encoder."""

    @property
    def native_side(self) -> int:
        """In pixels: what it was trained on, as a square."""
        return NATIVE_SIDE[self.family]

    @property
    def encoders(self) -> tuple[NetworkName, ...]:
        """Its text encoders, in the order in which `words.encode` wants them."""
        return tuple(name for name in ENCODERS if name in self.configs)

    def vae_dtype(self, wanted: torch.dtype) -> torch.dtype:
        """`wanted`, or float32 where that is too narrow: SDXL's VAE overflows in float16, and the frames are black.

        A folder whose VAE was mended says so (`"force_upcast": false`); a single file cannot.
        """
        too_narrow = self.family == "sdxl" and bool(self.configs["vae"].get("force_upcast", True))
        return torch.float32 if too_narrow and wanted == torch.float16 else wanted

    def load(self, network: NetworkName, dtype: torch.dtype) -> nn.Module:
        """Read one network into main memory, ready for inference.

        Returns:
            UNet2DConditionModel, AutoencoderKL, CLIPTextModel or CLIPTextModelWithProjection.

        Raises:
            AnimateDiffUnreadable: the file went away since, or is cut off.
        """
        built = BUILD[network](self.configs[network])
        tensors = {name: tensor for part in self.parts for name, tensor in part.tensors(network, self.name, dtype)}
        room.fill(built, tensors, dtype)
        return built

    def tokenizers(self) -> tuple[CLIPTokenizer, ...]:
        """One for each text encoder. The second pads with `!`, id 0, as OpenCLIP with zeros.

        Raises:
            AnimateDiffUnreadable: the vocabulary is missing or damaged.
            AnimateDiffWrongWords: it is another one than the text encoder's.
        """
        made: list[CLIPTokenizer] = []
        for encoder, folder in zip(self.encoders, self.words, strict=True):
            tokenizer = tokenizer_in(folder, self.name, pads_with_zero=encoder == "text_encoder_2")
            wanted = int(self.configs[encoder].get("vocab_size", 49408))
            if len(tokenizer) != wanted:
                raise AnimateDiffWrongWords(model=self.name, found=len(tokenizer), wanted=wanted)
            made.append(tokenizer)
        return tuple(made)


@contextmanager
def sized(model: str, file: str, example: str) -> Generator[None]:
    """What is wrong with a file of which not even the sizes can be told.

    Raises:
        AnimateDiffMissingTensors: a tensor by which a size is told is not there.
        AnimateDiffWrongShape: no network can be built of these sizes; `example` is named.
    """
    try:
        yield
    except LookupError as error:
        missing = str(next(iter(error.args), ""))
        raise room_errors.AnimateDiffMissingTensors(model=model, file=file, count=1, example=missing) from error
    except (ValueError, TypeError, ZeroDivisionError, AttributeError, RuntimeError) as error:
        raise room_errors.AnimateDiffWrongShape(model=model, file=file, example=example) from error
