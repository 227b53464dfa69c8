"""Where people are (RT-DETR, Zhao et al. 2023) and where their joints are (ViTPose, Xu et al. 2022).

Both networks are transformers'. What is done with pictures before and with heat maps after is here, by the numbers of
the published `preprocessor_config.json`: transformers' own image processors need torchvision, or scipy.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors import SafetensorError
from torch import Tensor
from transformers import PreTrainedModel, RTDetrForObjectDetection, VitPoseForPoseEstimation

from inference.systems.animatediff import errors
from inference.systems.animatediff.controls.skeleton import Joints
from inference.systems.base import Frame

Floats = NDArray[np.floating]

SIDE = 640
"""Of the square that RT-DETR looks at, whatever the picture's shape."""
PERSON = "person"
CERTAIN = 0.3
MOST_PEOPLE = 16
"""The most certain ones."""
MARGIN = 1.25
"""What ViTPose is shown is so much longer than the person's box."""
MEAN = np.array((0.485, 0.456, 0.406), np.float32)
STD = np.array((0.229, 0.224, 0.225), np.float32)
COCO_JOINTS = 17
BLUR = 11, 0.8
"""Width and deviation in pixels of the Gaussian that smooths a heat map before its peak is looked at closely."""
HEAT = 0.001, 50.0
"""A heat map's bounds before its logarithm is taken."""

P = TypeVar("P", bound=PreTrainedModel)


def open_detector(folder: Path, model: str) -> RTDetrForObjectDetection:
    """Read RT-DETR.

    Raises:
        Failure: it cannot be read, or is another network.
    """
    return _opened(RTDetrForObjectDetection, folder, model)


def open_pose(folder: Path, model: str) -> VitPoseForPoseEstimation:
    """Read ViTPose.

    Raises:
        Failure: it cannot be read, or is another network, or knows other joints than COCO's.
    """
    network = _opened(VitPoseForPoseEstimation, folder, model)
    if network.config.num_labels != COCO_JOINTS:
        raise errors.AnimateDiffWrongShape(model=model, file="model.safetensors", example="head.conv.weight")
    return network


def _opened(kind: type[P], folder: Path, model: str) -> P:
    """Every parameter must be in the file, in its shape. What else older versions wrote transformers knows itself."""
    file = "model.safetensors"
    try:
        network, told = cast(Any, kind).from_pretrained(
            folder,
            local_files_only=True,
            use_safetensors=True,
            dtype=torch.float32,  # small, and a joint's place is read to a fraction of a pixel
            ignore_mismatched_sizes=True,  # so that it tells of them
            output_loading_info=True,
        )
    except (OSError, ValueError, TypeError, RuntimeError, LookupError, AttributeError, SafetensorError) as error:
        raise errors.AnimateDiffUnreadable(model=model, file=file) from error
    if missing := sorted(told["missing_keys"]):
        raise errors.AnimateDiffMissingTensors(model=model, file=file, count=len(missing), example=missing[0])
    if wrong := sorted(told["mismatched_keys"]):
        raise errors.AnimateDiffWrongShape(model=model, file=file, example=wrong[0][0])
    return network.eval().requires_grad_(False)


# -- where people are --


def find_people(network: RTDetrForObjectDetection, frame: Frame) -> Floats:
    """Boxes around people, `[people, 4]`: left, top, width, height in pixels; the most certain first."""
    height, width = frame.shape[:2]
    square = np.asarray(Image.fromarray(frame).resize((SIDE, SIDE), Image.Resampling.BILINEAR))
    pixels = torch.from_numpy(square / np.float32(255)).permute(2, 0, 1)[None]
    found = network(pixel_values=pixels.to(network.device))
    scores = found.logits[0, :, _person(network)].sigmoid()
    best, places = scores.topk(min(MOST_PEOPLE, len(scores)))
    boxes = found.pred_boxes[0, places[best > CERTAIN]].cpu().numpy()  # middle and size, as shares of the picture
    boxes[:, :2] -= boxes[:, 2:] / 2
    return boxes * np.array((width, height, width, height), np.float32)


def _person(network: RTDetrForObjectDetection) -> int:
    labels = cast("dict[int, str]", network.config.id2label)
    return next((number for number, label in labels.items() if label == PERSON), 0)


# -- where joints are --


@dataclass(frozen=True)
class Cutout:
    """What ViTPose is shown of a person: a rectangle of the picture, in pixels, at the network's own size."""

    middle: Floats
    """Right and down."""
    extent: Floats
    """Width and height."""

    @classmethod
    def around(cls, box: Floats, size: tuple[int, int]) -> Cutout:
        """The box made as wide or as high as the network's picture is, and a margin more.

        Args:
            box: left, top, width, height.
            size: width and height of the network's picture.
        """
        width, height = (max(1.0, float(side)) for side in box[2:])
        aspect = size[0] / size[1]
        extent = np.array((max(width, height * aspect), max(height, width / aspect)), np.float32)
        return cls(box[:2] + box[2:] / 2, extent * np.float32(MARGIN))

    def pixels(self, frame: Frame, size: tuple[int, int]) -> Floats:
        """`[3, h, w]`, normalised; black where the rectangle leaves the picture."""
        last = np.array(size, np.float32) - 1
        scale = last / self.extent
        shift = last / 2 - scale * self.middle
        matrix = np.array(((scale[0], 0, shift[0]), (0, scale[1], shift[1])), np.float32)
        cut = np.asarray(cv2.warpAffine(frame, matrix, size, flags=cv2.INTER_LINEAR), np.float32)
        return ((cut / 255 - MEAN) / STD).transpose(2, 0, 1)

    def out(self, points: Floats, size: tuple[int, int]) -> Floats:
        """Points of a map of that width and height, `[n, 2]`, in pixels of the picture."""
        return points * self.extent / (np.array(size, np.float32) - 1) + self.middle - self.extent / 2


def find_joints(network: VitPoseForPoseEstimation, frame: Frame, boxes: Floats) -> list[Joints]:
    """COCO's 17 joints of the person in each box: shares of the picture, and how certain they are."""
    if not len(boxes):
        return []
    image_size = cast(Any, network.config).backbone_config.image_size
    size = int(image_size[1]), int(image_size[0])
    cutouts = [Cutout.around(box, size) for box in boxes]
    pixels = torch.from_numpy(np.stack([cutout.pixels(frame, size) for cutout in cutouts]))
    heat = cast(Tensor, network(pixel_values=pixels.to(network.device)).heatmaps).float().cpu().numpy()
    points, certainty = peaks(heat)
    shape = np.array((frame.shape[1], frame.shape[0]), np.float32)
    map_size = heat.shape[3], heat.shape[2]
    return [
        np.concatenate((cutout.out(of_one, map_size) / shape, sure[:, None]), axis=1).astype(np.float32)
        for cutout, of_one, sure in zip(cutouts, points, certainty, strict=True)
    ]


def peaks(heat: Floats) -> tuple[Floats, Floats]:
    """The highest point of each heat map, to a fraction of a pixel (DARK, Zhang et al. 2020).

    Near its peak the logarithm of a heat map is taken for a parabola.

    Args:
        heat: `[people, joints, h, w]`.

    Returns:
        Right and down `[people, joints, 2]`, and the heat there `[people, joints]`.
    """
    people, joints, height, width = heat.shape
    maps = heat.reshape(-1, height, width)
    flat = maps.reshape(len(maps), -1)
    best = flat.argmax(1)
    right, down = best % width, best // width
    kernel, sigma = BLUR
    smooth = np.stack([cv2.GaussianBlur(one, (kernel, kernel), sigma, borderType=cv2.BORDER_REFLECT) for one in maps])
    log = np.pad(np.log(np.clip(smooth, *HEAT)), ((0, 0), (1, 1), (1, 1)), "edge")

    def near(x: int, y: int) -> Floats:
        return log[np.arange(len(maps)), down + 1 + y, right + 1 + x]

    here = near(0, 0)
    slope = np.stack((near(1, 0) - near(-1, 0), near(0, 1) - near(0, -1)), axis=1) / 2
    bend_x, bend_y = near(1, 0) - 2 * here + near(-1, 0), near(0, 1) - 2 * here + near(0, -1)
    twist = (near(1, 1) - near(1, 0) - near(0, 1) + 2 * here - near(-1, 0) - near(0, -1) + near(-1, -1)) / 2
    bend = np.stack((np.stack((bend_x, twist), 1), np.stack((twist, bend_y), 1)), 1) + np.finfo(
        np.float32
    ).eps * np.eye(2)
    shift = np.linalg.solve(bend, slope[..., None])[..., 0]
    # A map without a peak has no parabola either: what lies farther than the next pixel is noise.
    points = np.stack((right, down), 1) - np.clip(shift, -1, 1)
    scores = flat[np.arange(len(maps)), best]
    return points.reshape(people, joints, 2).astype(np.float32), scores.reshape(people, joints)
