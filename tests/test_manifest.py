"""Our full-size modules against the published checkpoints' tensor names and shapes, without a single number."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from inference.systems.svd.architecture import Config, Shapes, architecture_of
from inference.systems.svd.keymap import convert, key_map, look_up
from inference.systems.svd.loader import (
    BUILD,
    Checkpoint,
    NetworkName,
    TensorFile,
    build_unet,
    check,
    configs_of,
    expected_shapes,
)
from jobs.errors import Failure
from tests import references

ROOT = Path(__file__).resolve().parents[1]
FOLDER = references.FOLDER / "svd" / "manifest"

pytestmark = pytest.mark.skipif(
    not FOLDER.is_dir(), reason=f"no manifests in {FOLDER}; set ZOETROPE_GOLDENS to the folder that holds svd/manifest"
)

PUBLISHED: dict[NetworkName, Config] = {
    "unet": {"sample_size": 96, "num_frames": 25},
    "vae": {
        "block_out_channels": (128, 256, 512, 512),
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "layers_per_block": 2,
    },
    "image_encoder": {
        "hidden_size": 1280,
        "intermediate_size": 5120,
        "num_hidden_layers": 32,
        "num_attention_heads": 16,
        "patch_size": 14,
        "projection_dim": 1024,
        "hidden_act": "gelu",
    },
}
"""The hub's configs, as far as they differ from the classes' own defaults."""


def manifest(name: str) -> Shapes:
    tensors = json.loads((FOLDER / f"{name}.json").read_text("utf-8"))["tensors"]
    return {key: tuple(shape) for key, (shape, _) in tensors.items()}


def as_file(shapes: Shapes) -> Checkpoint:
    """What the loader makes of a single file with these names and shapes."""
    architecture = architecture_of(shapes)
    return Checkpoint(
        name="svd-xt",
        configs=configs_of(architecture, num_frames=25),
        files=(TensorFile(Path("svd_xt.safetensors"), key_map(architecture), shapes),),
    )


@pytest.mark.parametrize("network", ["unet", "vae", "image_encoder"])
def test_a_diffusers_folder_fills_every_parameter(network: NetworkName) -> None:
    built = BUILD[network](PUBLISHED[network])

    assert {key: tuple(tensor.shape) for key, tensor in built.state_dict().items()} == manifest(f"diffusers_{network}")


def test_the_single_file_becomes_the_same_three_networks() -> None:
    """Every published tensor is used or known as unused, every parameter is filled, and all shapes fit."""
    shapes = manifest("svd")
    checkpoint = as_file(shapes)
    hollow = ((key, torch.empty(shape, device="meta")) for key, shape in shapes.items())
    ours = {name: tuple(tensor.shape) for name, tensor in convert(hollow, checkpoint.files[0].names)}

    networks: tuple[NetworkName, ...] = ("unet", "vae", "image_encoder")
    published = {f"{name}.{key}": shape for name in networks for key, shape in manifest(f"diffusers_{name}").items()}
    assert ours == published == expected_shapes(checkpoint)
    check(checkpoint)


def test_the_sizes_told_from_shapes_are_the_published_ones() -> None:
    """The sizes that leave no trace in a shape, too: heads, training area."""
    configs = as_file(manifest("svd")).configs
    defaults = build_unet(PUBLISHED["unet"]).config

    for key, value in configs["unet"].items():
        assert _lists(value) == _lists(defaults[key]), key
    assert configs["image_encoder"] == {**configs["image_encoder"], **PUBLISHED["image_encoder"], "image_size": 224}


def _lists(value: object) -> object:
    """diffusers takes one number for all levels or a tuple of them."""
    return list(value) if isinstance(value, tuple) else value


def _without(shapes: dict[str, tuple[int, ...]], key: str) -> None:
    del shapes[key]


def _added(shapes: dict[str, tuple[int, ...]], key: str) -> None:
    shapes[f"{key}.lora_up.weight"] = (1,)


def _resized(shapes: dict[str, tuple[int, ...]], key: str) -> None:
    shapes[key] = (*shapes[key][:-1], shapes[key][-1] + 1)


@pytest.mark.parametrize(
    ("change", "code"),
    [(_without, "svd_missing_tensors"), (_added, "svd_unknown_tensors"), (_resized, "svd_wrong_shape")],
)
@pytest.mark.parametrize(
    "key",
    [
        "model.diffusion_model.output_blocks.11.1.time_stack.0.ff.net.2.weight",
        "first_stage_model.decoder.up.0.block.2.mix_factor",
        "conditioner.embedders.3.encoder.encoder.mid.attn_1.q.weight",
        "conditioner.embedders.0.open_clip.model.visual.transformer.resblocks.31.attn.in_proj_weight",
    ],
)
def test_one_tensor_off_and_the_file_is_refused(
    change: Callable[[dict[str, tuple[int, ...]], str], None], code: str, key: str
) -> None:
    shapes = dict(manifest("svd"))
    change(shapes, key)

    with pytest.raises(Failure) as refused:
        check(as_file(shapes))
    assert refused.value.code == code


def test_the_image_decoder_variant_is_refused_by_name() -> None:
    """`svd_image_decoder.safetensors` has SD's still decoder: its frames flicker, so it must not pass for the other."""
    shapes = manifest("svd_image_decoder")
    names = as_file(shapes).files[0].names

    unknown = {key for key in shapes if look_up(key, names) is None}
    assert unknown >= {"first_stage_model.quant_conv.weight", "first_stage_model.post_quant_conv.weight"}
    assert all(key.startswith("first_stage_model.") for key in unknown), "the rest is the same release"
    with pytest.raises(Failure, match="svd_unknown_tensors"):
        check(as_file(shapes))
