"""Opens an installed checkpoint, in either published layout, and fills networks from it.

Strict: every tensor of every file is used or known to be unused, and every parameter is filled with one of its shape.
That is settled from the files' headers, before anything large is read. Only safetensors and JSON are read.
"""

from __future__ import annotations

import copy
import inspect
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, cast

import torch
from diffusers.models.autoencoders.autoencoder_kl_temporal_decoder import AutoencoderKLTemporalDecoder
from diffusers.models.resnet import SpatioTemporalResBlock
from diffusers.models.unets.unet_spatio_temporal_condition import UNetSpatioTemporalConditionModel
from diffusers.schedulers.scheduling_euler_discrete import EulerDiscreteScheduler
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from inference.systems.svd import errors
from inference.systems.svd.architecture import Architecture, Config, Shapes, architecture_of
from inference.systems.svd.keymap import UNUSED, KeyMap, convert, key_map, look_up
from inference.systems.svd.weights import IMAGE_ENCODER, UNET, VAE
from inference.weights import Weights

NetworkName = Literal["unet", "vae", "image_encoder"]
HUB_TENSORS: Mapping[NetworkName, str] = {"unet": UNET, "vae": VAE, "image_encoder": IMAGE_ENCODER}

RES_BLOCK_EPS = 1e-5
"""sgm's GroupNorm32. diffusers builds most of the UNet's res blocks with 1e-6: 4e-5 off, relative, at the output."""

SCHEDULER: Config = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "prediction_type": "v_prediction",
    "sigma_min": 0.002,
    "sigma_max": 700.0,
    "use_karras_sigmas": True,
    "timestep_type": "continuous",
    "timestep_spacing": "leading",
    "steps_offset": 1,
}
"""The hub's scheduler_config.json, which is sgm's EDM discretization: Karras, rho 7, from 700 to 0.002."""


def build_unet(config: Config) -> UNetSpatioTemporalConditionModel:
    """On the meta device: names and shapes, no numbers yet."""
    with torch.device("meta"):
        return cast(UNetSpatioTemporalConditionModel, UNetSpatioTemporalConditionModel.from_config(config))


def build_vae(config: Config) -> AutoencoderKLTemporalDecoder:
    """On the meta device."""
    with torch.device("meta"):
        return cast(AutoencoderKLTemporalDecoder, AutoencoderKLTemporalDecoder.from_config(config))


def build_image_encoder(config: Config) -> CLIPVisionModelWithProjection:
    """On the meta device, but for the position ids, which are computed and in no file."""
    with torch.device("meta"):
        encoder = CLIPVisionModelWithProjection(CLIPVisionConfig.from_dict(config))
    embeddings = encoder.vision_model.embeddings
    embeddings.register_buffer("position_ids", torch.arange(embeddings.num_positions)[None], persistent=False)
    return encoder


BUILD: Mapping[NetworkName, Callable[[Config], nn.Module]] = {
    "unet": build_unet,
    "vae": build_vae,
    "image_encoder": build_image_encoder,
}


def fill(network: nn.Module, state_dict: Mapping[str, Tensor]) -> None:
    """Give a network from the meta device its numbers, all of them, and make it ready for inference.

    `requires_grad` stays as diffusers leaves it. Gradients are switched off around the sampling instead: torch picks
    another matrix product for weights without them, which rounds differently (and is the slower one here).
    """
    network.load_state_dict(state_dict, strict=True, assign=True)
    network.eval()


def follow_original(unet: nn.Module) -> None:
    """Set the res blocks' GroupNorm eps as the original engine has it."""
    for block in unet.modules():
        if isinstance(block, SpatioTemporalResBlock):
            for norm in (block.spatial_res_block, block.temporal_res_block):
                norm.norm1.eps = norm.norm2.eps = RES_BLOCK_EPS


def scheduler_of(config: Config) -> EulerDiscreteScheduler:
    """The sampler's schedule. Published configs carry keys of other schedulers along; those are passed over."""
    known = inspect.signature(EulerDiscreteScheduler.__init__).parameters
    return EulerDiscreteScheduler(**{name: value for name, value in config.items() if name in known})


@dataclass(frozen=True)
class TensorFile:
    """One safetensors file, and how its names are to be read."""

    path: Path
    names: KeyMap
    shapes: Shapes


@dataclass(frozen=True)
class Checkpoint:
    """One installed checkpoint: sizes and files, checked against each other; tensors are read by `load`."""

    name: str
    configs: Mapping[NetworkName, Config]
    files: tuple[TensorFile, ...]
    scheduler_config: Config = field(default_factory=lambda: SCHEDULER)

    @property
    def num_frames(self) -> int:
        """What it was trained to make."""
        return self.configs["unet"]["num_frames"]

    @property
    def sample_size(self) -> int:
        """Side of its training area, in latents."""
        return self.configs["unet"]["sample_size"]

    @cached_property
    def _scheduler(self) -> EulerDiscreteScheduler:
        return scheduler_of(self.scheduler_config)

    def scheduler(self) -> EulerDiscreteScheduler:
        """A fresh one: a scheduler counts its own steps."""
        return copy.deepcopy(self._scheduler)

    def load(self, network: NetworkName, dtype: torch.dtype) -> nn.Module:
        """Read one network into main memory."""
        built = BUILD[network](self.configs[network])
        prefix = f"{network}."
        fill(
            built,
            {
                name.removeprefix(prefix): tensor
                for file in self.files
                for name, tensor in convert(self._tensors(file, prefix, dtype), file.names)
            },
        )
        return built

    def _tensors(self, file: TensorFile, prefix: str, dtype: torch.dtype) -> Iterator[tuple[str, Tensor]]:
        """A file's tensors that belong to one network, each turned to `dtype` as it is read."""
        try:
            with safe_open(file.path, framework="pt") as tensors:
                for key in file.shapes:
                    target = look_up(key, file.names)
                    first = target if isinstance(target, str) else next(iter(target.names if target else ()), "")
                    if first.startswith(prefix):
                        yield key, tensors.get_tensor(key).to(dtype)
        except (SafetensorError, OSError) as error:
            raise errors.SvdUnreadable(model=self.name, file=file.path.name) from error


def open_checkpoint(weights: Weights, models: Path) -> Checkpoint:
    """The installed checkpoint, checked from its files' headers.

    Raises:
        Failure: it is not installed, cannot be read, or is not what its name says.
    """
    layout = weights.layout_in(models)
    if layout is None:
        raise errors.SvdNotInstalled(model=weights.name)
    folder = models / weights.name
    if len(layout.files) == 1:
        [name] = layout.files
        checkpoint = _single_file(weights, folder / name)
    else:
        checkpoint = _hub_folder(weights, folder)
    check(checkpoint)
    return checkpoint


def _single_file(weights: Weights, path: Path) -> Checkpoint:
    shapes, metadata = _header(weights.name, path)
    try:
        architecture = architecture_of(shapes).with_notes(metadata)
    except (LookupError, ValueError) as error:
        raise errors.SvdUnreadable(model=weights.name, file=path.name) from error
    return Checkpoint(
        name=weights.name,
        configs=configs_of(architecture, num_frames=int(weights.facts["num_frames"])),
        files=(TensorFile(path, key_map(architecture), shapes),),
    )


def configs_of(architecture: Architecture, num_frames: int) -> Mapping[NetworkName, Config]:
    """What the library's classes need to be built in these sizes."""
    return {
        "unet": architecture.unet.config(num_frames, architecture.sample_size),
        "vae": architecture.vae.config(),
        "image_encoder": architecture.clip.config(),
    }


def _hub_folder(weights: Weights, folder: Path) -> Checkpoint:
    networks: tuple[NetworkName, ...] = ("unet", "vae", "image_encoder")
    return Checkpoint(
        name=weights.name,
        configs={network: _json(weights.name, folder / network / "config.json") for network in networks},
        files=tuple(_hub_file(weights.name, folder / HUB_TENSORS[network], network) for network in networks),
        scheduler_config=_json(weights.name, folder / "scheduler" / "scheduler_config.json"),
    )


def _hub_file(model: str, path: Path, network: NetworkName) -> TensorFile:
    shapes, _ = _header(model, path)
    names = {key.partition(".")[0]: f"{network}.{key.partition('.')[0]}" for key in shapes}
    # Written by older releases of transformers; computed, not learned.
    leftovers = {"vision_model.embeddings.position_ids": UNUSED} if network == "image_encoder" else {}
    return TensorFile(path, {**names, **leftovers}, shapes)


def _json(model: str, path: Path) -> Config:
    try:
        config = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise errors.SvdUnreadable(model=model, file=path.name) from error
    if not isinstance(config, dict):
        raise errors.SvdUnreadable(model=model, file=path.name)
    return cast(Config, config)


def _header(model: str, path: Path) -> tuple[Shapes, Mapping[str, str] | None]:
    try:
        with safe_open(path, framework="pt") as tensors:
            return {key: tuple(tensors.get_slice(key).get_shape()) for key in tensors.keys()}, tensors.metadata()  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise errors.SvdUnreadable(model=model, file=path.name) from error


def check(checkpoint: Checkpoint) -> None:
    """Compare every name and shape in the files with what the networks have.

    Raises:
        Failure: something is missing, left over or of another shape.
    """
    wanted = expected_shapes(checkpoint)
    for file in checkpoint.files:
        place: dict[str, str | int] = {"model": checkpoint.name, "file": file.path.name}
        found = {key: _our_shapes(key, shape, file.names) for key, shape in file.shapes.items()}
        unknown = [key for key, ours in found.items() if ours is None or not ours.keys() <= wanted.keys()]
        if unknown:
            raise errors.SvdUnknownTensors(**place, count=len(unknown), example=unknown[0])
        for key, ours in found.items():
            if any(shape != wanted.pop(name) for name, shape in (ours or {}).items()):
                raise errors.SvdWrongShape(**place, example=key)
    if wanted:
        file_names = ", ".join(file.path.name for file in checkpoint.files)
        raise errors.SvdMissingTensors(
            model=checkpoint.name, file=file_names, count=len(wanted), example=next(iter(wanted))
        )


def _our_shapes(key: str, shape: tuple[int, ...], names: KeyMap) -> dict[str, tuple[int, ...] | None] | None:
    """What a file's tensor becomes with us, found out without its numbers; None where the map does not know it."""
    target = look_up(key, names)
    if target is None:
        return None
    if isinstance(target, str):
        return {target: shape}
    hollow = torch.empty(shape, device="meta")
    try:
        return {name: tuple(tensor.shape) for name, tensor in target.convert(hollow)}
    except (ValueError, RuntimeError):  # not to be split or turned at all
        return dict.fromkeys(target.names)


def expected_shapes(checkpoint: Checkpoint) -> dict[str, tuple[int, ...]]:
    """Names and shapes of all parameters, as the networks declare them."""
    try:
        networks: dict[str, Any] = {name: BUILD[name](config) for name, config in checkpoint.configs.items()}
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise errors.SvdUnreadable(model=checkpoint.name, file="config.json") from error
    return {
        f"{name}.{key}": tuple(tensor.shape)
        for name, network in networks.items()
        for key, tensor in network.state_dict().items()
    }
