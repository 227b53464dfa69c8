"""What is refused as an image model: other kinds of file, damaged ones, and a single tensor that is off."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from inference.systems.animatediff import errors as room_errors
from inference.systems.animatediff.base import errors
from inference.systems.animatediff.base.kinds import Family
from jobs.errors import Failure
from tests.animatediff.opening import opened
from tests.tiny_models.stable_diffusion import TinyModel, single_names, write_hub

Tensors = dict[str, torch.Tensor]


def refused_as(path: Path, shelf: Path) -> str:
    with pytest.raises(errors.AnimateDiffBaseForeign) as refused:
        opened(path, shelf)
    assert refused.value.facts["model"] == "mine"
    return str(refused.value.facts["seems"])


def one(shape: tuple[int, ...] = (2, 2)) -> torch.Tensor:
    return torch.zeros(shape)


FOREIGN = {
    "a LoRA": ["lora_unet_down_blocks_0_attentions_0_proj_in.lora_down.weight", "lora_te_text_model.alpha"],
    "Flux": ["model.diffusion_model.double_blocks.0.img_attn.qkv.weight"],
    "Stable Diffusion 3": ["model.diffusion_model.joint_blocks.0.x_block.attn.qkv.weight", "first_stage_model.a"],
    "Stable Video Diffusion": ["model.diffusion_model.input_blocks.1.0.time_stack.in_layers.0.weight"],
    "Stable Diffusion 2, or made from it": ["model.diffusion_model.out.0.bias", "cond_stage_model.model.ln_final.bias"],
    "a ControlNet": ["control_model.time_embed.0.weight"],
    "a file of motion modules": ["down_blocks.0.motion_modules.0.temporal_transformer.norm.weight"],
    "a VAE alone": ["decoder.conv_in.weight", "encoder.conv_in.weight"],
    "a UNet without its VAE and text encoder": ["model.diffusion_model.out.0.bias"],
    "an image model without its VAE": ["model.diffusion_model.out.0.bias", "cond_stage_model.transformer.x"],
    "an image model without its text encoder": ["model.diffusion_model.out.0.bias", "first_stage_model.x"],
    "a textual inversion": ["emb_params"],
    "something unknown": ["weight"],
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_another_kind_of_file_is_refused_by_its_name(kind: str, tmp_path: Path, shelf: Path) -> None:
    path = tmp_path / "other.safetensors"
    save_file({name: one() for name in FOREIGN[kind]}, path)

    assert refused_as(path, shelf) == kind


@pytest.mark.parametrize(("channels", "kind"), [(9, "an inpainting model"), (5, "a model that follows depth")])
def test_a_unet_that_takes_more_than_noise_is_refused(
    channels: int, kind: str, tmp_path: Path, shelf: Path, image_models: dict[Family, TinyModel]
) -> None:
    tensors = {key: at.contiguous() for key, at in single_names(image_models["sd15"]).items()}
    tensors["model.diffusion_model.input_blocks.0.0.weight"] = torch.zeros(32, channels, 3, 3)
    save_file(tensors, tmp_path / "inpainting.safetensors")
    folder = write_hub(tmp_path / "folder", image_models["sd15"])
    changed(folder / "unet" / "config.json", in_channels=channels)

    assert refused_as(tmp_path / "inpainting.safetensors", shelf) == kind
    assert refused_as(folder, shelf) == kind


def changed(path: Path, **values: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), **values}), "utf-8")


@pytest.mark.parametrize(
    ("file", "values", "kind"),
    [
        ("unet", {"use_linear_projection": True}, "Stable Diffusion 2"),
        ("unet", {"_class_name": "FluxTransformer2DModel"}, "a model with FluxTransformer2DModel"),
        ("unet", {"encoder_hid_dim_type": "text_image_proj"}, "an image model of another family"),
        ("text_encoder", {"architectures": ["T5EncoderModel"]}, "a model with T5EncoderModel"),
        ("vae", {"_class_name": "AutoencoderTiny"}, "a model with AutoencoderTiny"),
    ],
)
def test_another_kind_of_folder_is_refused_by_its_configs(
    file: str, values: dict[str, Any], kind: str, tmp_path: Path, shelf: Path, image_models: dict[Family, TinyModel]
) -> None:
    folder = write_hub(tmp_path / "folder", image_models["sd15"])
    changed(folder / file / "config.json", **values)

    assert refused_as(folder, shelf) == kind


def test_a_folder_of_something_else_is_refused(tmp_path: Path, shelf: Path) -> None:
    assert refused_as(tmp_path, shelf) == "no model in diffusers' layout"


def altered(source: Path, target: Path, change: Callable[[Tensors], object]) -> Path:
    tensors = load_file(source)
    change(tensors)
    save_file({key: at.contiguous() for key, at in tensors.items()}, target)
    return target


ONE_OFF: list[tuple[Family, str]] = [
    ("sd15", "model.diffusion_model.input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight"),
    ("sd15", "first_stage_model.encoder.mid.attn_1.q.weight"),
    ("sd15", "cond_stage_model.transformer.text_model.encoder.layers.2.self_attn.k_proj.weight"),
    ("sdxl", "model.diffusion_model.output_blocks.5.2.conv.bias"),
    ("sdxl", "conditioner.embedders.1.model.transformer.resblocks.1.attn.in_proj_weight"),
    ("sdxl", "conditioner.embedders.1.model.text_projection"),
]


@pytest.mark.parametrize(("family", "key"), ONE_OFF)
def test_one_tensor_off_and_a_file_is_refused(family: Family, key: str, shelf: Path, tmp_path: Path) -> None:
    source, target = shelf / f"{family}.safetensors", tmp_path / "off.safetensors"

    def longer(tensors: Tensors) -> None:
        tensors[key] = torch.cat([tensors[key], tensors[key]])

    with pytest.raises(room_errors.AnimateDiffMissingTensors):
        opened(altered(source, target, lambda at: at.pop(key)), shelf)
    with pytest.raises(room_errors.AnimateDiffUnknownTensors) as unknown:
        opened(altered(source, target, lambda at: at.update({f"{key}_more": one()})), shelf)
    assert unknown.value.facts["count"] == 1
    with pytest.raises(room_errors.AnimateDiffWrongShape):
        opened(altered(source, target, longer), shelf)


def test_a_second_name_for_the_same_tensor_is_refused(shelf: Path, tmp_path: Path) -> None:
    name = "cond_stage_model.transformer.final_layer_norm.weight"

    path = altered(shelf / "sd15.safetensors", tmp_path / "x.safetensors", lambda at: at.update({name: one((32,))}))

    with pytest.raises(room_errors.AnimateDiffUnknownTensors):
        opened(path, shelf)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda folder: (folder / "unet" / "config.json").unlink(), "unreadable"),
        (lambda folder: (folder / "vae" / "config.json").write_text("[1]"), "unreadable"),
        (lambda folder: (folder / "vae" / "diffusion_pytorch_model.fp16.safetensors").unlink(), "unreadable"),
        (lambda folder: (folder / "text_encoder" / "model.fp16.safetensors").write_bytes(b"no"), "unreadable"),
        (lambda folder: changed(folder / "unet" / "config.json", block_out_channels=[32, 32]), "wrong_shape"),
        (lambda folder: changed(folder / "unet" / "config.json", layers_per_block=1), "unknown_tensors"),
        (lambda folder: changed(folder / "text_encoder" / "config.json", num_hidden_layers=5), "missing_tensors"),
        (lambda folder: changed(folder / "text_encoder" / "config.json", hidden_size=64), "wrong_shape"),
    ],
)
def test_a_damaged_folder_is_refused(
    change: Callable[[Path], object], code: str, tmp_path: Path, shelf: Path, image_models: dict[Family, TinyModel]
) -> None:
    folder = write_hub(tmp_path / "folder", image_models["sd15"])
    change(folder)

    with pytest.raises(Failure) as refused:
        opened(folder, shelf)
    assert refused.value.code == f"animatediff_{code}"


@pytest.mark.parametrize("name", ["cut.safetensors", "cut.ckpt", "missing.safetensors", "missing.ckpt"])
def test_a_damaged_file_is_refused(name: str, shelf: Path, tmp_path: Path) -> None:
    if name.startswith("cut"):
        (tmp_path / name).write_bytes((shelf / "sd15.safetensors").read_bytes()[:10_000])

    with pytest.raises(room_errors.AnimateDiffUnreadable):
        opened(tmp_path / name, shelf)


def test_a_file_that_goes_away_is_said_when_it_is_read(shelf: Path, tmp_path: Path) -> None:
    path = altered(shelf / "sd15.safetensors", tmp_path / "here.safetensors", lambda _: None)
    base = opened(path, shelf)
    path.unlink()

    with pytest.raises(room_errors.AnimateDiffUnreadable):
        base.load("vae", torch.float32)
