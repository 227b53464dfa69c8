"""What each ControlNet is shown of a frame, as its authors' preprocessors draw it.

All detectors answer in one way: frames in, condition pictures out, one by one and in their order. Networks live in the
place's residency and are held on the device until the last picture is out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from inference.depth import Depth
from inference.systems.animatediff.controls import hed, lineart
from inference.systems.animatediff.controls.kinds import DETECTOR_WEIGHTS, ControlKind
from inference.systems.animatediff.controls.people import find_joints, find_people, open_detector, open_pose
from inference.systems.animatediff.controls.skeleton import drawn, from_coco
from inference.systems.base import Frame, Place

Size = tuple[int, int]
"""Width and height in pixels."""
Draw = Callable[[Place, Iterable[Frame], Size, bool], Iterator[Frame]]

BYTES_PER_PIXEL = 1600
"""Of `hed` and `lineart`, about: a handful of maps of 64 float32 channels at full size."""
PEOPLE_BYTES = 10**9
"""Of either network that finds people, about."""
DOUBLINGS = 3
"""A tile is made from a picture an eighth as long, as controlnet_aux makes it."""

N = TypeVar("N", bound=nn.Module)


@dataclass(frozen=True)
class Detector:
    """How the conditions of one kind are made."""

    kind: ControlKind
    draw: Draw

    @property
    def weights(self) -> tuple[str, ...]:
        """Folders below `place.models` that it reads."""
        return DETECTOR_WEIGHTS[self.kind]

    def conditions(self, place: Place, frames: Iterable[Frame], size: Size, *, alone: bool = False) -> Iterator[Frame]:
        """A condition picture `[H, W, 3]` for each frame.

        Frames are read one by one, so that whoever gives them can tick. `depth` reads all before it answers.

        Args:
            place: whose checkpoints, device and memory.
            frames: RGB or RGBA, `[h, w, 3 or 4]`, of any size: they are squeezed to `size`.
            size: of the pictures; of sides that 8 divides, as the latents have them.
            alone: every other network makes way first.

        Raises:
            Failure: a checkpoint cannot be read, or is another.
        """
        return self.draw(place, (frame[..., :3] for frame in frames), size, alone)


def sized(frame: Frame, size: Size) -> Frame:
    """Squeezed or stretched to a width and height."""
    height, width = frame.shape[:2]
    if (width, height) == size:
        return np.ascontiguousarray(frame)
    smaller = size[0] * size[1] < width * height
    return np.asarray(cv2.resize(frame, size, interpolation=cv2.INTER_AREA if smaller else cv2.INTER_CUBIC), np.uint8)


def _grey(picture: Frame) -> Frame:
    """`[H, W]` → `[H, W, 3]`."""
    return np.repeat(picture[..., None], 3, axis=2)


# -- depth --


def depth(place: Place, frames: Iterable[Frame], size: Size, alone: bool) -> Iterator[Frame]:
    """Near is white. One range for the whole clip: with each frame's own, what comes near would dim all the rest."""
    pictures = (Image.fromarray(frame) for frame in frames)
    maps = list(Depth(place).each(pictures, alone=alone))  # 2 MB a frame
    low, high = min((one.min() for one in maps), default=0), max((one.max() for one in maps), default=0)
    span = max(float(high) - float(low), 1e-6)
    for one in maps:
        unit = (one - np.float32(low)) / np.float32(span)
        scaled = np.asarray(cv2.resize(unit, size, interpolation=cv2.INTER_CUBIC))
        yield _grey((np.clip(scaled, 0, 1) * 255).round().astype(np.uint8))


# -- openpose --


def openpose(place: Place, frames: Iterable[Frame], size: Size, alone: bool) -> Iterator[Frame]:
    """People as coloured sticks. They are looked for in the frame as it is, and drawn at the size that is wanted."""
    find, pose = DETECTOR_WEIGHTS["openpose"]
    with ExitStack() as held:
        detector = held.enter_context(_network(place, find, "", open_detector, PEOPLE_BYTES, alone))
        joints = held.enter_context(_network(place, pose, "", open_pose, PEOPLE_BYTES, alone))
        for frame in map(np.ascontiguousarray, frames):
            with torch.inference_mode():
                people = find_joints(joints, frame, find_people(detector, frame))
            yield drawn([from_coco(person) for person in people], size)


# -- edges and lines --


def softedge(place: Place, frames: Iterable[Frame], size: Size, alone: bool) -> Iterator[Frame]:
    """Edges are white, and the surer the whiter."""
    (name,) = DETECTOR_WEIGHTS["softedge"]
    with _network(place, name, hed.FILE, hed.open_hed, BYTES_PER_PIXEL * size[0] * size[1], alone) as network:
        for frame in frames:
            yield _grey(_bytes(network(_pixels(place, sized(frame, size)))))


def drawing(
    place: Place, frames: Iterable[Frame], size: Size, alone: bool, file: str = lineart.FINE
) -> Iterator[Frame]:
    """White lines on black: the network draws black on white, and the ControlNet was taught the reverse.

    With `lineart.COARSE` for the file there are fewer and thicker lines.
    """
    (name,) = DETECTOR_WEIGHTS["lineart"]
    with _network(place, name, file, lineart.open_lineart, BYTES_PER_PIXEL * size[0] * size[1], alone) as network:
        for frame in frames:
            lines = _bytes(network(_pixels(place, sized(frame, size)) / 255))
            yield _grey(sized(255 - lines, size))


def _network(
    place: Place, name: str, file: str, read: Callable[[Path, str], N], working_bytes: int, alone: bool
) -> AbstractContextManager[N]:
    """The network of a checkpoint's file, or of its whole folder, on the device."""
    resident = place.residency.get(("animatediff", name, file), lambda: read(place.models / name / file, name))
    return place.residency.on_device(resident, working_bytes, alone=alone)


def _pixels(place: Place, frame: Frame) -> Tensor:
    """`[1, 3, H, W]`, 0 … 255, on the device."""
    return torch.from_numpy(np.array(frame)).permute(2, 0, 1)[None].to(place.device, torch.float32)


def _bytes(answer: Tensor) -> Frame:
    """`[1, 1, H, W]` in 0 … 1 → `[H, W]`, rounded down as the published preprocessors do."""
    return (answer[0, 0] * 255).clamp(0, 255).to(torch.uint8).cpu().numpy()


# -- tile --


def tile(_place: Place, frames: Iterable[Frame], size: Size, _alone: bool) -> Iterator[Frame]:
    """The frame without its detail. It is doubled step by step, which shows no squares and moves nothing."""
    small = max(1, size[0] >> DOUBLINGS), max(1, size[1] >> DOUBLINGS)
    for frame in frames:
        soft = sized(frame, small)
        for step in range(1, DOUBLINGS + 1):
            soft = cv2.resize(soft, (small[0] << step, small[1] << step), interpolation=cv2.INTER_LINEAR)
        yield sized(np.asarray(soft, np.uint8), size)


DETECTORS: Mapping[ControlKind, Detector] = {
    "depth": Detector("depth", depth),
    "openpose": Detector("openpose", openpose),
    "lineart": Detector("lineart", drawing),
    "softedge": Detector("softedge", softedge),
    "tile": Detector("tile", tile),
}
