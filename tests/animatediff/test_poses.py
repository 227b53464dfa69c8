"""People in a frame: where they are, their joints, and the skeletons that are drawn of them."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers.models.rt_detr.image_processing_pil_rt_detr import RTDetrImageProcessorPil

from inference.systems.animatediff.controls import people, skeleton
from inference.systems.base import Frame
from jobs.errors import Failure

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
