"""Opens ControlNets of SD 1.5 (Zhang et al. 2023), from a hub folder or a single file, into diffusers' class.

A folder says in `config.json` what it holds. Of a file only names and shapes are known; they tell its sizes, and what
SD 1.5 has everywhere (8 heads, two layers a level, one transformer in each place) is known.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import torch
from diffusers.models.controlnets.controlnet import ControlNetModel

from inference import ldm
from inference.systems.animatediff import errors
from inference.systems.animatediff.architecture import Config, Shapes
from inference.systems.animatediff.controls.errors import ControlWrongBase
from inference.systems.animatediff.keymap import KeyMap
from inference.systems.animatediff.loader import TensorFile, compare, fill, parameters_of, read, shapes_of

LEVELS = 4
LAYERS = 2
"""Pairs of res block and transformer in each level."""
HINT_CONVOLUTIONS = 8
"""From the condition's pixels down to an eighth of them, where the latents are."""


def _hint() -> dict[str, str | None]:
    """Convolutions stand in every second place, between their activations."""
    last = HINT_CONVOLUTIONS - 1
    middle = {f"input_hint_block.{2 * place}": f"blocks.{place - 1}" for place in range(1, last)}
    names = {"input_hint_block.0": "conv_in", **middle, f"input_hint_block.{2 * last}": "conv_out"}
    return {published: f"controlnet_cond_embedding.{ours}" for published, ours in names.items()}


def _original() -> dict[str, str | None]:
    """`ControlNet` of lllyasviel/ControlNet, whose input blocks are counted through all levels."""
    # Only names are known here, so transformers are looked for on every level.
    return {
        **ldm.down_half([True] * LEVELS, LAYERS),
        "zero_convs.#.0": "controlnet_down_blocks.#",
        "middle_block_out.0": "controlnet_mid_block",
        **_hint(),
    }


OURS = (
    "conv_in",
    "time_embedding",
    "controlnet_cond_embedding",
    "controlnet_down_blocks",
    "controlnet_mid_block",
    "mid_block",
    *(f"down_blocks.#.{part}.#" for part in ("resnets", "attentions", "downsamplers")),
)

CONTROL = KeyMap(
    {
        **{name: name for name in OURS},
        **_original(),
        **{f"control_model.{name}": ours for name, ours in _original().items()},
    }
)
"""Every file of a ControlNet: diffusers' own, the original's, and the original's as part of a whole model."""


def open_control(path: Path, model: str, dtype: torch.dtype) -> ControlNetModel:
    """Read a ControlNet from a hub folder, or from a single `.safetensors` or `.pth`.

    Args:
        path: folder or file.
        model: what people call it.
        dtype: of the network.

    Raises:
        Failure: it cannot be read, or is no ControlNet of SD 1.5.
    """
    return _from_folder(path, model, dtype) if path.is_dir() else control_in(read(path, model), dtype)


def control_in(file: TensorFile, dtype: torch.dtype, config: Config | None = None) -> ControlNetModel:
    """The ControlNet in a file that was read; its sizes are told by its shapes where no config says them."""
    tensors = file.renamed(CONTROL, "ControlNet")
    shapes = shapes_of(tensors)
    try:
        network = build(control_config(shapes) if config is None else config)
    except KeyError as error:
        raise errors.AnimateDiffMissingTensors(
            model=file.model, file=file.name, count=1, example=error.args[0]
        ) from error
    except (LookupError, ValueError, TypeError, ZeroDivisionError) as error:
        raise errors.AnimateDiffWrongShape(model=file.model, file=file.name, example=next(iter(shapes))) from error
    compare(file, shapes, parameters_of(network))
    fill(network, tensors, dtype)
    return network


def _from_folder(folder: Path, model: str, dtype: torch.dtype) -> ControlNetModel:
    """The smaller file first: these networks compute as well in float16 as they were published in float32."""
    names = [f"diffusion_pytorch_model{variant}.safetensors" for variant in (".fp16", "")]
    if dtype == torch.float32:
        names.reverse()
    weights = next((folder / name for name in names if (folder / name).is_file()), folder / names[0])
    try:
        config: object = json.loads((folder / "config.json").read_text("utf-8"))
        if not isinstance(config, dict):  # diffusers would take it for the name of a repository
            raise TypeError("no config")
        build(cast("dict[str, Any]", config))
    except (OSError, ValueError, TypeError, AttributeError, LookupError) as error:
        raise errors.AnimateDiffUnreadable(model=model, file="config.json") from error
    return control_in(read(weights, model), dtype, cast("dict[str, Any]", config))


def build(config: Config) -> ControlNetModel:
    """On the meta device: names and shapes, no numbers yet."""
    with torch.device("meta"):
        return cast(ControlNetModel, cast(Any, ControlNetModel).from_config(config))


def control_config(shapes: Shapes) -> dict[str, Any]:
    """For ControlNetModel, told by the shapes of what a file holds, under our names.

    Raises:
        KeyError: a tensor is missing of which a size is read.
    """
    channels = tuple(shapes[f"down_blocks.{level}.resnets.1.conv2.weight"][0] for level in range(LEVELS))
    attends = [f"down_blocks.{level}.attentions.0.norm.weight" in shapes for level in range(LEVELS)]
    hint = [shapes["controlnet_cond_embedding.conv_in.weight"]]
    hint += [shapes[f"controlnet_cond_embedding.blocks.{place}.weight"] for place in range(1, HINT_CONVOLUTIONS - 2, 2)]
    return {
        "in_channels": shapes["conv_in.weight"][1],
        "conditioning_channels": hint[0][1],
        "block_out_channels": channels,
        "down_block_types": tuple("CrossAttnDownBlock2D" if attend else "DownBlock2D" for attend in attends),
        "layers_per_block": LAYERS,
        "attention_head_dim": 8,  # diffusers' word for the number of heads here
        "cross_attention_dim": shapes["mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight"][1],
        "conditioning_embedding_out_channels": tuple(shape[0] for shape in hint),
    }


def check_base(network: ControlNetModel, model: str, unet: Config) -> None:
    """Whether a ControlNet was made for this kind of image model.

    Args:
        network: the ControlNet.
        model: what people call it.
        unet: the config of the image model's UNet.

    Raises:
        ControlWrongBase: it was not.
    """
    ours, theirs = (_kind(config) for config in (dict(network.config), unet))
    if ours != theirs:
        raise ControlWrongBase(model=model, wanted=ours, found=theirs)


def _kind(config: Config) -> str:
    return f"{'/'.join(map(str, config['block_out_channels']))}, text {config['cross_attention_dim']}"
