"""Camera moves as people say them: `zoom in`, or several with strengths, `zoom in 0.8, pan left 0.5`."""

import re
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from jobs.errors import Refusal
from jobs.requests.strengths import STRONGEST, going_on, parts
from jobs.schedules.passage import quoted

CAMERAS: Mapping[str, str] = {
    name: f"motion-lora-{name.replace(' ', '-')}"
    for name in (
        "zoom in", "zoom out", "pan left", "pan right", "tilt up", "tilt down", "roll clockwise", "roll anticlockwise",
    )
}  # fmt: skip
"""The eight moves of which guoyww published MotionLoRAs, with the checkpoints' names."""
ENTRY = re.compile(r"([a-z]+(?: [a-z]+)*)\s*:?\s*(-?\d+(?:\.\d+)?|-?\.\d+)?")


class CameraUnknown(Refusal):
    """A move that there is no LoRA for."""

    code = "camera_unknown"


class CameraStrength(Refusal):
    """A strength beyond what still makes pictures."""

    code = "camera_strength"


class CameraTwice(Refusal):
    """One move twice: which strength is meant?"""

    code = "camera_twice"


class Camera(NamedTuple):
    """One move."""

    move: str
    strength: float


def cameras(text: str) -> tuple[Camera, ...]:
    """What was said, in its order; without a number a move has strength 1.

    Raises:
        Refusal: naming the part that cannot be understood.
    """
    found = [_camera(part) for part in parts(text)]
    moves = [camera.move for camera in found]
    for move in moves:
        if moves.count(move) > 1:
            raise CameraTwice(move=move)
    return tuple(found)


def _camera(part: str) -> Camera:
    entry = ENTRY.fullmatch(" ".join(re.sub(r"_|(?<=[a-z])-(?=[a-z])", " ", part.lower()).split()))
    move = entry[1] if entry else part.strip()
    if entry is None or move not in CAMERAS:
        raise CameraUnknown(found=quoted(part), known=", ".join(CAMERAS))
    strength = float(entry[2]) if entry[2] else 1.0
    if not 0 <= strength <= STRONGEST:
        raise CameraStrength(move=move, strength=strength, most=STRONGEST)
    return Camera(move, strength)


def suggest_cameras(typed: str, installed: Collection[str]) -> Sequence[str]:
    """Whole texts: what is there already, and each move that could come next."""
    return going_on(typed, [move for move, weights in CAMERAS.items() if weights in installed] or CAMERAS)
