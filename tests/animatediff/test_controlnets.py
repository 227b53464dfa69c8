"""ControlNets in every published form, what is refused, and how they steer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from diffusers.loaders.single_file_utils import convert_controlnet_checkpoint
from diffusers.models.controlnets.controlnet import ControlNetModel
from safetensors.torch import save_file
from torch import Tensor

from inference.systems.animatediff import errors
from inference.systems.animatediff.controls.controlnet import build, check_base, open_control
from inference.systems.animatediff.controls.errors import ControlWrongBase
from inference.systems.animatediff.controls.frame_control import FrameControl, stacked, steering
from inference.systems.animatediff.sampling import Denoiser, Words
from jobs.errors import Failure
from tests.tiny_models.controls import CONTROL, Tensors, control_tensors, original

FULL = {**CONTROL, "block_out_channels": [320, 640, 1280, 1280], "cross_attention_dim": 768}
"""Word for word the config of lllyasviel/control_v11p_sd15_openpose."""


# -- files of ControlNets --


def saved(tensors: Tensors, path: Path) -> Path:
    if path.suffix == ".safetensors":
        save_file(tensors, path)
    else:
        torch.save(tensors, path)
    return path


def folder_of(tensors: Tensors, path: Path, name: str = "diffusion_pytorch_model.safetensors") -> Path:
    path.mkdir(exist_ok=True)
    (path / "config.json").write_text(json.dumps(CONTROL))
    save_file(tensors, path / name)
    return path


@pytest.mark.parametrize("form", ["folder", "fp16 folder", "diffusers file", "original", "part of a model", "pickle"])
def test_every_published_form_gives_the_same_network(form: str, tmp_path: Path) -> None:
    tensors = control_tensors()
    match form:
        case "folder":
            path = folder_of(tensors, tmp_path / "control")
        case "fp16 folder":
            path = folder_of(tensors, tmp_path / "control", "diffusion_pytorch_model.fp16.safetensors")
        case "diffusers file":
            path = saved(tensors, tmp_path / "control.safetensors")
        case "original":
            path = saved(original(tensors, ""), tmp_path / "control_v11p_sd15_tile_fp16.safetensors")
        case "part of a model":
            path = saved(original(tensors), tmp_path / "control_v11p_sd15_tile_fp16.safetensors")
        case _:
            path = saved(original(tensors), tmp_path / "control_v11p_sd15_openpose.pth")

    network = open_control(path, "controlnet-tile", torch.float32)

    assert not network.training
    assert all(torch.equal(tensor, tensors[name]) for name, tensor in network.state_dict().items())
    assert {key: network.config[key] for key in CONTROL if not key.startswith("_")} == {
        key: tuple(value) if isinstance(value, list) and form not in ("folder", "fp16 folder") else value
        for key, value in CONTROL.items()
        if not key.startswith("_")
    }


def test_the_original_s_names_mean_what_diffusers_takes_them_for() -> None:
    tensors = control_tensors()
    theirs = convert_controlnet_checkpoint(original(tensors), CONTROL)

    assert theirs.keys() == tensors.keys()
    assert all(torch.equal(theirs[name], tensor) for name, tensor in tensors.items())


def test_a_narrow_place_takes_the_half_precision_file(tmp_path: Path) -> None:
    folder = folder_of(control_tensors(0), tmp_path / "both")
    folder_of(control_tensors(1), folder, "diffusion_pytorch_model.fp16.safetensors")

    wide, narrow = (open_control(folder, "controlnet-tile", dtype) for dtype in (torch.float32, torch.float16))

    assert torch.equal(wide.conv_in.weight, control_tensors(0)["conv_in.weight"])
    assert torch.equal(narrow.conv_in.weight, control_tensors(1)["conv_in.weight"].half())


def test_the_full_size_network_has_the_published_file_s_size() -> None:
    """723 MB in float16 and 1.45 GB in float32, by the hub's own pages; 361 million numbers."""
    numbers = sum(parameter.numel() for parameter in build(FULL).parameters())

    assert round(2 * numbers / 1e6) == 723
    assert round(4 * numbers / 1e9, 2) == 1.45


def damaged(tensors: Tensors, damage: str) -> Tensors:
    changed = original(tensors)
    match damage:
        case "missing":
            del changed["control_model.zero_convs.5.0.bias"]
        case "no size":
            del changed["control_model.input_blocks.0.0.weight"]
        case "more":
            changed["control_model.label_emb.0.0.weight"] = torch.zeros(2)
        case "shape":
            changed["control_model.input_hint_block.4.weight"] = torch.zeros(32, 16, 1, 1)
        case "twice":
            changed["time_embed.0.weight"] = changed["control_model.time_embed.0.weight"]
        case _:
            changed = {f"lora_unet_{number}.alpha": torch.zeros(()) for number in range(3)}
    return changed


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        ("missing", errors.AnimateDiffMissingTensors),
        ("no size", errors.AnimateDiffMissingTensors),
        ("more", errors.AnimateDiffUnknownTensors),
        ("shape", errors.AnimateDiffWrongShape),
        ("twice", errors.AnimateDiffUnknownTensors),
        ("a lora", errors.AnimateDiffForeign),
    ],
)
def test_a_file_that_is_not_the_published_one_is_named(damage: str, says: type[Failure], tmp_path: Path) -> None:
    path = saved(damaged(control_tensors(), damage), tmp_path / "control.pth")

    with pytest.raises(says) as caught:
        open_control(path, "controlnet-depth", torch.float32)

    assert caught.value.facts["model"] == "controlnet-depth"


@pytest.mark.parametrize("config", [None, "{", "[]", '{"block_out_channels": 7}', '{"down_block_types": ["Wheel"]}'])
def test_a_folder_whose_config_says_nothing_is_named(config: str | None, tmp_path: Path) -> None:
    folder = folder_of(control_tensors(), tmp_path / "control")
    (folder / "config.json").unlink()
    if config is not None:
        (folder / "config.json").write_text(config)

    with pytest.raises(Failure) as caught:
        open_control(folder, "controlnet-depth", torch.float32)

    assert caught.value.facts["file"] == "config.json"


def test_a_folder_without_weights_is_named(tmp_path: Path) -> None:
    (folder_of(control_tensors(), tmp_path / "control") / "diffusion_pytorch_model.safetensors").unlink()

    with pytest.raises(errors.AnimateDiffUnreadable):
        open_control(tmp_path / "control", "controlnet-depth", torch.float16)


def test_a_control_net_of_another_base_is_refused(models: Path) -> None:
    network = open_control(models / "controlnet-tile", "controlnet-tile", torch.float32)

    check_base(network, "controlnet-tile", {"block_out_channels": [32, 32, 64, 64], "cross_attention_dim": 32})
    with pytest.raises(ControlWrongBase):
        check_base(network, "controlnet-tile", {"block_out_channels": [32, 32, 64, 64], "cross_attention_dim": 1024})


# -- steering --


@pytest.fixture(scope="module")
def network(models: Path) -> ControlNetModel:
    return open_control(models / "controlnet-depth", "controlnet-depth", torch.float32)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator("cpu").manual_seed(seed))


@torch.no_grad()
def test_each_frame_is_steered_by_its_own_condition(network: ControlNetModel) -> None:
    """Both branches' frames together are what diffusers' network says to each of them alone."""
    latents, context = noise(2, 4, 3, 8, 8), noise(6, 5, 32, seed=1)
    conditions = noise(3, 3, 64, 64, seed=2).sigmoid()
    skips, middle = FrameControl(network, conditions, scale=0.7).residuals(latents, torch.tensor(600), context)

    assert len(skips) == 12
    assert [tuple(skip.shape) for skip in (skips[0], skips[-1], middle)] == [
        (6, 32, 8, 8), (6, 64, 1, 1), (6, 64, 1, 1)
    ]  # fmt: skip
    for branch in range(2):
        for frame in range(3):
            place = 3 * branch + frame
            alone, middle_alone = cast(Any, network)(
                latents[branch, :, frame][None],
                torch.tensor(600),
                encoder_hidden_states=context[place][None],
                controlnet_cond=conditions[frame][None],
                conditioning_scale=0.7,
                return_dict=False,
            )
            for together, one in zip((*skips, middle), (*alone, middle_alone), strict=True):
                assert torch.allclose(together[place], one[0], atol=1e-5)


@torch.no_grad()
def test_a_window_sees_its_own_conditions_and_bytes_mean_the_same(network: ControlNetModel) -> None:
    pictures = [np.full((64, 64, 3), 40 * number, np.uint8) for number in range(5)]
    bytes_ = FrameControl(network, stacked(pictures))
    numbers = FrameControl(network, bytes_.conditions / 255)
    latents, context = noise(1, 4, 3, 8, 8), noise(3, 5, 32, seed=1)

    window = bytes_.at([4, 0, 1])
    same = numbers.at([4, 0, 1]).residuals(latents, 5, context)
    other = numbers.at([3, 0, 1]).residuals(latents, 5, context)
    skips, middle = window.residuals(latents, 5, context)

    assert window.conditions[:, 0, 0, 0].tolist() == [160, 0, 40]
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip((*skips, middle), (*same[0], same[1]), strict=True))
    assert not torch.allclose(middle[0], other[1][0])
    assert torch.allclose(middle[1:], other[1][1:], atol=1e-6)


@torch.no_grad()
def test_several_controls_add_up_in_the_denoiser(network: ControlNetModel) -> None:
    control = FrameControl(network, noise(3, 3, 64, 64, seed=2).sigmoid())
    heard: list[tuple[list[Tensor], Tensor]] = []

    class Unet(torch.nn.Module):
        config = {"motion_max_seq_length": 32}  # noqa: RUF012
        dtype = torch.float32

        def forward(self, latents: Tensor, _timestep: Tensor, **told: Any) -> tuple[Tensor]:
            heard.append((told["down_block_additional_residuals"], told["mid_block_additional_residual"]))
            return (latents,)

    words = Words(noise(1, 5, 32, seed=3), noise(1, 5, 32, seed=4))
    for controls in ((control,), (control, FrameControl(network, control.conditions, 0.5))):
        denoiser = Denoiser(cast(Any, Unet()), words, 7.5, cast(Any, controls))
        denoiser.noise(noise(1, 4, 3, 8, 8), torch.tensor(400), range(3))

    (skips, middle), (more_skips, more_middle) = heard
    assert torch.allclose(1.5 * middle, more_middle, atol=1e-5)
    assert all(torch.allclose(1.5 * a, b, atol=1e-5) for a, b in zip(skips, more_skips, strict=True))


@pytest.mark.parametrize(
    ("begin", "end", "steps"),
    [(0.0, 1.0, [0, 1, 2, 3]), (0.5, 1.0, [2, 3]), (0.0, 0.5, [0, 1]), (0.25, 0.75, [1, 2]), (0.0, 0.0, [])],
)
def test_a_control_steers_between_its_begin_and_its_end(
    network: ControlNetModel, begin: float, end: float, steps: list[int]
) -> None:
    control = FrameControl(network, torch.zeros(1, 3, 64, 64), begin=begin, end=end)

    assert [step for step in range(4) if steering([control], step, 4)] == steps
