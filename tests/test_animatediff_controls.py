"""ControlNets in every published form, and the detectors of what they are shown."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast, get_args

import cv2
import numpy as np
import pytest
import torch
from diffusers.loaders.single_file_utils import convert_controlnet_checkpoint
from diffusers.models.controlnets.controlnet import ControlNetModel
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers.models.rt_detr.image_processing_pil_rt_detr import RTDetrImageProcessorPil

from inference.residency import Residency
from inference.systems.animatediff import errors
from inference.systems.animatediff.controls import hed, lineart, people, skeleton
from inference.systems.animatediff.controls.controlnet import build, check_base, open_control
from inference.systems.animatediff.controls.detectors import DETECTORS, drawing, sized
from inference.systems.animatediff.controls.errors import ControlWrongBase
from inference.systems.animatediff.controls.frame_control import FrameControl, stacked, steering
from inference.systems.animatediff.controls.kinds import CONTROL_WEIGHTS, DETECTOR_WEIGHTS, ControlKind
from inference.systems.animatediff.sampling import Denoiser, Words
from inference.systems.base import Frame, Place
from jobs.errors import Failure
from tests.tiny_models.controls import (
    CONTROL,
    Tensors,
    control_tensors,
    hed_tensors,
    lineart_tensors,
    original,
    write_controls,
)
from tests.tiny_models.depth import write_depth

CPU = torch.device("cpu")
KINDS: tuple[ControlKind, ...] = get_args(ControlKind)
FULL = {**CONTROL, "block_out_channels": [320, 640, 1280, 1280], "cross_attention_dim": 768}
"""Word for word the config of lllyasviel/control_v11p_sd15_openpose."""


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    write_controls(folder)
    write_depth(folder)
    return folder


@pytest.fixture
def place(models: Path) -> Place:
    return Place(models=models, device=CPU, dtype=torch.float32, residency=Residency(CPU))


@pytest.fixture(scope="module")
def film() -> list[Frame]:
    """Three frames of a disc that goes to the right before a slope, as a spool gives them: not to be written to."""
    frames: list[Frame] = []
    for step in range(3):
        slope = np.linspace(30, 120, 96, dtype=np.float32)[:, None, None]
        frame = np.repeat(np.repeat(slope, 128, axis=1), 3, axis=2).astype(np.uint8)
        cv2.circle(frame, (40 + 10 * step, 50), 20, (230, 180, 90), -1)
        frame.setflags(write=False)
        frames.append(frame)
    return frames


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


# -- detectors --


def conditions(kind: ControlKind, place: Place, frames: list[Frame], size: tuple[int, int] = (96, 64)) -> list[Frame]:
    return list(DETECTORS[kind].conditions(place, frames, size))


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_draws_a_picture_of_the_wanted_size_for_each_frame(
    kind: ControlKind, place: Place, film: list[Frame]
) -> None:
    drawn = conditions(kind, place, film)
    again = conditions(kind, place, [np.dstack((frame, np.full(frame.shape[:2], 255, np.uint8))) for frame in film])

    assert [picture.shape for picture in drawn] == [(64, 96, 3)] * 3
    assert {picture.dtype for picture in drawn} == {np.dtype(np.uint8)}
    assert all(picture.std() > 1 for picture in drawn)
    assert not np.array_equal(drawn[0], drawn[2])
    assert np.array_equal(drawn, again)


def test_the_kinds_say_which_checkpoints_they_read(place: Place, models: Path, film: list[Frame]) -> None:
    assert set(KINDS) == set(DETECTORS) == set(CONTROL_WEIGHTS) == set(DETECTOR_WEIGHTS)
    for kind in KINDS:
        here = Place(models=models, device=CPU, dtype=torch.float32, residency=Residency(CPU))
        conditions(kind, here, film[:1])
        read = {cast("tuple[str, ...]", key)[1] for key in here.residency.keys}
        assert read == set(DETECTORS[kind].weights)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if DETECTOR_WEIGHTS[kind]])
def test_networks_are_held_while_pictures_are_read_and_let_go_after(
    kind: ControlKind, place: Place, film: list[Frame]
) -> None:
    def holds() -> list[int]:
        return [resident.holds for resident in place.residency.residents]

    drawing_ = DETECTORS[kind].conditions(place, film, (96, 64))
    next(drawing_)
    during = holds()
    list(drawing_)

    assert during == [0 if kind == "depth" else 1] * len(DETECTORS[kind].weights)  # depth has looked at all of them
    assert holds() == [0] * len(DETECTORS[kind].weights)


def test_a_clip_s_depth_has_one_range_and_near_is_white(
    place: Place, film: list[Frame], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The network's answers are given here: 0 is the farthest, and the second frame comes nearer than the first."""
    far_to_near = np.tile(np.linspace(0, 10, 37, dtype=np.float32), (28, 1))

    def each(_self: object, pictures: Iterator[Image.Image], *, alone: bool) -> Iterator[Any]:
        for number, _ in enumerate(pictures, start=1):
            yield far_to_near * number

    monkeypatch.setattr("inference.systems.animatediff.controls.detectors.Depth.each", each)
    first, second, third = conditions("depth", place, film)

    assert third[:, 0].max() <= 1
    assert third[:, -1].min() >= 254
    assert abs(int(first[32, -1, 0]) - 85) <= 1  # a third of the clip's range, not white by itself
    assert np.abs(third.astype(int) - 3 * first.astype(int)).max() <= 4
    assert (second >= first).all()


def test_a_clip_without_depth_is_black(place: Place, film: list[Frame], monkeypatch: pytest.MonkeyPatch) -> None:
    def each(_self: object, pictures: Iterator[Image.Image], *, alone: bool) -> Iterator[Any]:
        return (np.full((8, 8), 7, np.float32) for _ in pictures)

    monkeypatch.setattr("inference.systems.animatediff.controls.detectors.Depth.each", each)

    assert not np.any(conditions("depth", place, film))
    assert conditions("depth", place, []) == []


def test_a_tile_is_soft_and_stands_where_the_frame_stands(place: Place) -> None:
    sharp = np.zeros((64, 128, 3), np.uint8)
    sharp[16:48, 32:96] = 255
    (soft,) = conditions("tile", place, [sharp], (128, 64))
    along = soft[32, :, 0].astype(int)

    assert np.abs(np.diff(along)).max() < 40  # the frame's own edge is 255 high
    assert along[64] == 255
    assert along[0] == along[-1] == 0
    assert np.array_equal(soft, soft[:, ::-1])  # what is symmetric stays so: nothing has moved
    assert np.array_equal(soft, soft[::-1])


def test_a_size_that_eight_does_not_divide_is_kept(place: Place, film: list[Frame]) -> None:
    for kind in KINDS:
        assert conditions(kind, place, film[:1], (90, 58))[0].shape == (58, 90, 3)


# -- edges and lines --


def full_shapes(tensors: Tensors) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def test_hed_at_full_size_has_the_published_file_s_names_and_size() -> None:
    """29,444,406 bytes in float16 by the hub's pointer file; a zip of 32 tensors adds some kilobytes."""
    shapes = full_shapes(hed_tensors((64, 128, 256, 512, 512)))
    numbers = sum(int(np.prod(shape)) for shape in shapes.values())

    assert 0 < 29_444_406 - 2 * numbers < 20_000
    assert shapes["norm"] == (1, 3, 1, 1)
    assert shapes["block1.convs.0.weight"] == (64, 3, 3, 3)
    assert shapes["block5.convs.2.weight"] == (512, 512, 3, 3)
    assert shapes["block4.projection.weight"] == (1, 512, 1, 1)


def test_line_drawing_at_full_size_has_the_published_file_s_names_and_size() -> None:
    """17,173,511 bytes in float32 by the hub's pointer file."""
    shapes = full_shapes(lineart_tensors(0, width=64))
    numbers = sum(int(np.prod(shape)) for shape in shapes.values())

    assert 0 < 17_173_511 - 4 * numbers < 20_000
    assert shapes["model0.1.weight"] == (64, 3, 7, 7)
    assert shapes["model2.2.conv_block.5.weight"] == (256, 256, 3, 3)
    assert shapes["model3.3.weight"] == (128, 64, 3, 3)
    assert shapes["model4.1.weight"] == (1, 64, 7, 7)


def test_soft_edges_are_the_mean_of_five_sides() -> None:
    """Written out once more, with OpenCV's enlargement as in the authors' preprocessor."""
    network = hed.HolisticEdges((4, 4, 8, 8, 8)).eval()
    picture = np.random.default_rng(0).integers(0, 256, (48, 64, 3)).astype(np.float32)
    with torch.no_grad():
        answer = network(torch.from_numpy(picture).permute(2, 0, 1)[None])[0, 0].numpy()
        features, sides = torch.from_numpy(picture).permute(2, 0, 1)[None], list[Any]()
        for number, block in enumerate(network.blocks):
            if number:
                features = torch.nn.MaxPool2d(2, 2)(features)
            for convolution in cast(Any, block).convolutions:
                features = convolution(features).relu()
            sides.append(cv2.resize(cast(Any, block).edges(features)[0, 0].numpy(), (64, 48)))

    assert np.allclose(answer, 1 / (1 + np.exp(-np.mean(sides, axis=0))), atol=1e-5)


def test_a_line_drawing_is_what_layer_after_layer_gives() -> None:
    """The generator as its authors stack it, layers at the published numbers."""
    tensors = lineart_tensors(3)
    width = 8

    class Beside(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            pad, norm = torch.nn.ReflectionPad2d(1), torch.nn.InstanceNorm2d(4 * width)
            convolutions = [torch.nn.Conv2d(4 * width, 4 * width, 3) for _ in range(2)]
            self.conv_block = torch.nn.Sequential(
                pad, convolutions[0], norm, torch.nn.ReLU(), pad, convolutions[1], norm
            )

        def forward(self, features: Tensor) -> Tensor:
            return features + self.conv_block(features)

    relu, wide = torch.nn.ReLU(), torch.nn.ReflectionPad2d(3)
    norms = [torch.nn.InstanceNorm2d(scale * width) for scale in (1, 2, 4)]
    down = [torch.nn.Conv2d(scale * width, 2 * scale * width, 3, stride=2, padding=1) for scale in (1, 2)]
    up = [torch.nn.ConvTranspose2d(scale * width, scale * width // 2, 3, 2, 1, 1) for scale in (4, 2)]
    theirs = torch.nn.Sequential()
    theirs.add_module("model0", torch.nn.Sequential(wide, torch.nn.Conv2d(3, width, 7), norms[0], relu))
    theirs.add_module("model1", torch.nn.Sequential(down[0], norms[1], relu, down[1], norms[2], relu))
    theirs.add_module("model2", torch.nn.Sequential(Beside(), Beside(), Beside()))
    theirs.add_module("model3", torch.nn.Sequential(up[0], norms[1], relu, up[1], norms[0], relu))
    theirs.add_module("model4", torch.nn.Sequential(wide, torch.nn.Conv2d(width, 1, 7), torch.nn.Sigmoid()))
    theirs.load_state_dict(tensors, strict=True)
    ours = lineart.LineDrawing(width, 3)
    ours.load_state_dict({lineart.LINEART.look_up(name) or "": tensor for name, tensor in tensors.items()})

    with torch.no_grad():
        pictures = torch.rand(1, 3, 32, 40, generator=torch.Generator().manual_seed(0))
        assert torch.allclose(ours(pictures), theirs(pictures), atol=1e-5)


def test_fine_and_coarse_lines_are_two_networks(place: Place, film: list[Frame]) -> None:
    (fine,) = drawing(place, film[:1], (96, 64), alone=False)
    (coarse,) = drawing(place, film[:1], (96, 64), alone=False, file=lineart.COARSE)

    assert not np.array_equal(fine, coarse)


def test_lines_are_white_on_black(place: Place, film: list[Frame]) -> None:
    """The network's own answer is the reverse."""
    (lines,) = drawing(place, film[:1], (96, 64), alone=False)
    network = lineart.open_lineart(place.models / "lineart" / lineart.FINE, "lineart")
    with torch.no_grad():
        pixels = torch.from_numpy(sized(film[0], (96, 64)).copy()).permute(2, 0, 1)[None].float() / 255
        answer = network(pixels)[0, 0].numpy()

    assert np.abs(lines[..., 0] - (255 - 255 * answer)).max() <= 1


@pytest.mark.parametrize("kind", ["hed", "lineart"])
@pytest.mark.parametrize("damage", ["missing", "more", "shape", "first", "foreign", "cut off"])
def test_a_drawing_network_that_is_not_the_published_one_is_named(kind: str, damage: str, tmp_path: Path) -> None:
    tensors = hed_tensors() if kind == "hed" else lineart_tensors(0)
    path = tmp_path / "network.pth"
    names = list(tensors)
    match damage:
        case "missing":
            del tensors[names[-1]]
        case "more":
            tensors["block1.norm"] = torch.zeros(1)
        case "shape":
            tensors[names[3]] = torch.zeros(2)
        case "first":
            del tensors["block1.projection.weight" if kind == "hed" else "model0.1.weight"]
        case "foreign":
            tensors = {f"body.{number}": torch.zeros(1) for number in range(4)}
        case _:
            pass
    torch.save(tensors, path)
    if damage == "cut off":
        path.write_bytes(path.read_bytes()[:-200])

    with pytest.raises(Failure) as caught:
        (hed.open_hed if kind == "hed" else lineart.open_lineart)(path, kind)

    assert caught.value.facts["model"] == kind
    assert caught.value.facts["file"] == "network.pth"


# -- people --


def test_people_are_found_where_transformers_finds_them(models: Path, film: list[Frame]) -> None:
    """Its own processor, which needs neither torchvision nor scipy, brings up the picture and reads the answer."""
    network = people.open_detector(models / "rtdetr-r50", "rtdetr-r50")
    processor = RTDetrImageProcessorPil()
    with torch.no_grad():
        boxes = people.find_people(network, film[0])
        pixels = cast(Any, processor)(images=Image.fromarray(film[0]), return_tensors="pt")
        outputs = network(**pixels)
    (found,) = cast(Any, processor).post_process_object_detection(outputs, 0.3, [(96, 128)])
    theirs = found["boxes"][found["labels"] == 0].numpy()
    theirs[:, 2:] -= theirs[:, :2]

    assert len(boxes) == len(theirs) == 10
    assert np.allclose(boxes, theirs, atol=0.05)


def test_a_joint_is_read_to_a_fraction_of_a_pixel() -> None:
    right, down = np.meshgrid(np.arange(48), np.arange(64))
    places = np.array([[(20.3, 31.8), (5.0, 6.0)], [(33.45, 50.6), (40.25, 9.5)]])
    heat = np.stack(
        [[0.9 * np.exp(-((right - x) ** 2 + (down - y) ** 2) / 8) for x, y in person] for person in places]
    ).astype(np.float32)
    points, scores = people.peaks(heat)

    assert np.abs(points - places).max() < 0.02
    assert scores.min() > 0.85
    assert np.isfinite(people.peaks(np.zeros((1, 17, 64, 48), np.float32))[0]).all()


def test_what_is_cut_out_and_what_is_read_in_it_fit_together() -> None:
    """A point drawn in the frame is found again, whatever the box's shape, at the border too."""
    size, map_size = (192, 256), (48, 64)
    for box, point in (
        ((20, 30, 60, 120), (50, 90)),
        ((0, 100, 180, 40), (90.0, 120)),
        ((150, 10, 40, 200), (170, 60)),
    ):
        frame = np.zeros((240, 200, 3), np.uint8)
        cv2.circle(frame, (int(point[0]), int(point[1])), 4, (255, 255, 255), -1)
        cutout = people.Cutout.around(np.array(box, np.float32), size)
        pixels = cutout.pixels(frame, size)
        white = pixels[0] > pixels[0].min() + 1
        down, right = (places.mean() for places in np.nonzero(white))
        of_map = np.array([[right, down]]) * (np.array(map_size) - 1) / (np.array(size) - 1)

        assert np.abs(cutout.out(of_map, map_size) - point).max() < 0.7
        assert cutout.extent[0] / cutout.extent[1] == pytest.approx(192 / 256)
        assert (cutout.extent >= 1.249 * np.array(box[2:])).all()


def test_joints_are_shares_of_the_frame(models: Path, film: list[Frame]) -> None:
    network = people.open_pose(models / "vitpose-base", "vitpose-base")
    with torch.no_grad():
        boxes = np.array([[10, 20, 40, 60], [60, 10, 50, 80]], np.float32)
        first, second = people.find_joints(network, film[0], boxes)
        nobody = people.find_joints(network, film[0], boxes[:0])

    assert nobody == []
    assert first.shape == (17, 3)
    assert not np.allclose(first, second)
    for joints, box in ((first, boxes[0]), (second, boxes[1])):
        middle = joints[:, :2] * (128, 96) - (box[:2] + box[2:] / 2)
        assert np.abs(middle).max() <= people.Cutout.around(box, (192, 256)).extent.max() / 2 + 2


def test_pixels_are_cut_out_as_transformers_cuts_them(film: list[Frame]) -> None:
    """Its own processor needs scipy, which is installed with what the tests use."""
    from transformers.models.vitpose.image_processing_pil_vitpose import VitPoseImageProcessorPil

    box = np.array([30, 20, 40, 60], np.float32)
    processor: Any = VitPoseImageProcessorPil()
    theirs = processor(Image.fromarray(film[0]), boxes=[[box.tolist()]], return_tensors="np")["pixel_values"][0]
    ours = people.Cutout.around(box, (192, 256)).pixels(film[0], (192, 256))

    assert np.abs(ours - theirs).mean() < 0.02  # it rounds down where OpenCV rounds
    rng = np.random.default_rng(0)
    heat = cv2.GaussianBlur(rng.random((64, 48)).astype(np.float32), (0, 0), 6)[None, None].repeat(17, 1)
    (joints,) = processor.post_process_pose_estimation(SimpleNamespace(heatmaps=torch.from_numpy(heat)), [[box]])
    points, _ = people.peaks(heat)
    out = people.Cutout.around(box, (192, 256)).out(points[0], (48, 64))
    assert np.abs(out - joints[0]["keypoints"].numpy()).max() < 0.05


@pytest.mark.parametrize("kind", ["rtdetr-r50", "vitpose-base"])
@pytest.mark.parametrize("damage", ["missing", "shape", "cut off", "no config"])
def test_a_network_of_people_that_is_not_the_published_one_is_named(
    kind: str, damage: str, models: Path, tmp_path: Path
) -> None:
    for file in (models / kind).iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    weights = tmp_path / "model.safetensors"
    tensors = load_file(weights)
    name = next(name for name in tensors if name.endswith("fc1.weight"))
    match damage:
        case "missing":
            del tensors[name]
            save_file(tensors, weights, {"format": "pt"})
        case "shape":
            save_file({**tensors, name: torch.zeros(3, 3)}, weights, {"format": "pt"})
        case "cut off":
            weights.write_bytes(weights.read_bytes()[:-200])
        case _:
            (tmp_path / "config.json").unlink()

    with pytest.raises(Failure) as caught:
        (people.open_detector if kind == "rtdetr-r50" else people.open_pose)(tmp_path, kind)

    assert caught.value.facts["model"] == kind


# -- skeletons --

STANDING = {
    "nose": (50, 20), "l_eye": (53, 17), "r_eye": (47, 17), "l_ear": (57, 19), "r_ear": (43, 19),
    "l_shoulder": (65, 35), "r_shoulder": (35, 35), "l_elbow": (75, 50), "r_elbow": (25, 50),
    "l_wrist": (80, 65), "r_wrist": (20, 65), "l_hip": (60, 65), "r_hip": (40, 65),
    "l_knee": (62, 80), "r_knee": (38, 80), "l_ankle": (63, 95), "r_ankle": (37, 95),
}  # fmt: skip
"""COCO's joints of a person who looks at us, whose left is on the right; in percent."""


def standing() -> skeleton.Joints:
    return np.array([(x / 100, y / 100, 1) for x, y in STANDING.values()], np.float32)


def test_a_skeleton_has_the_published_colours_in_their_places() -> None:
    """Sampled in the middle of limbs and of joints; limbs are at 60 % of their colour."""
    picture = skeleton.drawn([skeleton.from_coco(standing())], (512, 512))

    def at(x: float, y: float) -> tuple[int, ...]:
        return tuple(int(value) for value in picture[int(y * 5.12), int(x * 5.12)])

    limbs = {
        (42.5, 35): (153, 0, 0),  # neck to right shoulder
        (57.5, 35): (153, 51, 0),  # neck to left shoulder
        (30, 42.5): (153, 102, 0),  # right shoulder to elbow
        (22.5, 57.5): (153, 153, 0),  # right elbow to wrist
        (70, 42.5): (102, 153, 0),  # left shoulder to elbow
        (77.5, 57.5): (51, 153, 0),  # left elbow to wrist
        (45, 50): (0, 153, 0),  # neck to right hip
        (39, 72.5): (0, 153, 51),  # right thigh
        (37.5, 87.5): (0, 153, 102),  # right shin
        (55, 50): (0, 153, 153),  # neck to left hip
        (61, 72.5): (0, 102, 153),  # left thigh
        (62.5, 87.5): (0, 51, 153),  # left shin
        (50, 28): (0, 0, 153),  # neck to nose
    }
    joints = {
        "nose": (255, 0, 0), "r_shoulder": (255, 170, 0), "r_wrist": (170, 255, 0), "l_shoulder": (85, 255, 0),
        "l_wrist": (0, 255, 85), "r_hip": (0, 255, 170), "l_ankle": (85, 0, 255), "r_eye": (170, 0, 255),
        "l_eye": (255, 0, 255), "r_ear": (255, 0, 170), "l_ear": (255, 0, 85),
    }  # fmt: skip

    assert {place: at(*place) for place in limbs} == limbs
    assert {name: at(*STANDING[name]) for name in joints} == joints
    assert at(50, 35) == (255, 85, 0)  # the neck
    assert at(5, 5) == (0, 0, 0)


def test_joints_that_are_unsure_are_left_out_with_their_limbs() -> None:
    person = standing()
    person[6, 2] = 0.1  # the right shoulder, and with it the neck
    body = skeleton.from_coco(person)
    picture = skeleton.drawn([body], (512, 512))

    assert body[1, 2] == np.float32(0.1)
    assert not picture[int(42.5 * 5.12), int(30 * 5.12)].any()
    assert picture[int(57.5 * 5.12), int(22.5 * 5.12)].any()  # the forearm is still there
    assert not skeleton.drawn([], (64, 48)).any()


def test_sticks_grow_with_the_picture() -> None:
    body = [skeleton.from_coco(standing())]
    shares = [(skeleton.drawn(body, (side, side)) > 0).any(2).mean() for side in (256, 512, 1024)]

    assert all(after == pytest.approx(before, rel=0.25) for before, after in pairwise(shares))
