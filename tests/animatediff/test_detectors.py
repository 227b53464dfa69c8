"""What ControlNets are shown: each kind's drawing of a frame, and the networks that draw edges and lines."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast, get_args

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from inference.residency import Residency
from inference.systems.animatediff.controls import hed, lineart
from inference.systems.animatediff.controls.detectors import DETECTORS, drawing, sized
from inference.systems.animatediff.controls.kinds import CONTROL_WEIGHTS, DETECTOR_WEIGHTS, ControlKind
from inference.systems.base import Frame, Place
from jobs.errors import Failure
from tests.tiny_models.controls import Tensors, hed_tensors, lineart_tensors

CPU = torch.device("cpu")
KINDS: tuple[ControlKind, ...] = get_args(ControlKind)


@pytest.fixture
def place(models: Path) -> Place:
    """One for each test, without any network yet."""
    return Place(models=models, device=CPU, dtype=torch.float32, residency=Residency(CPU))


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
