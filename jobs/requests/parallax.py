"""Parallax: a camera move over a still picture, in 2.5-D where a depth model is installed and planar where none is."""

from fractions import Fraction
from math import floor
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field

from jobs.requests.base import Advanced, Brief, Generation, ImageRef, Rates, Shape, Sources, Work, seed_of

LONGEST_SIDE = 1920
SHORTEST_SIDE = 64
WIDEST_ASPECT = 2.4
"""Cinema's 2.4 : 1. A longer picture is seen through a window of that shape, and pans have the rest to travel over."""

Move = Literal[
    "orbit", "dolly in", "dolly out", "zoom in", "zoom out",
    "pan left", "pan right", "pan up", "pan down", "roll left", "roll right",
]  # fmt: skip
Easing = Literal["smooth", "linear", "ease in", "ease out"]

DEEP_MOVES: frozenset[Move] = frozenset(
    {"pan left", "pan right", "pan up", "pan down", "dolly in", "dolly out", "orbit"}
)
"""Moves that take the camera itself somewhere. Zoom and roll only turn and set its lens, so depth changes nothing."""


def frame_count(seconds: float, fps: int) -> int:
    """Frames in a clip: at least two, so that something moves."""
    return max(2, floor(seconds * fps + 0.5))


def clip_size(width: int, height: int, size: int) -> tuple[int, int]:
    """Width and height of the clip: the picture's own shape within cinema's limits, both even.

    The shorter side is `size`, or the picture's where that is less.
    """
    aspect = min(max(width / height, 1 / WIDEST_ASPECT), WIDEST_ASPECT)
    elongation = max(aspect, 1 / aspect)
    short = max(min(size, width, height, LONGEST_SIDE / elongation), SHORTEST_SIDE)
    long = short * elongation
    return (_even(long), _even(short)) if aspect > 1 else (_even(short), _even(long))


def _even(length: float) -> int:
    return 2 * round(length / 2)


class ParallaxRequest(Generation):
    """Move a camera over a still picture: zoom, pan, roll, dolly or orbit."""

    front_door_rank: ClassVar[int] = 1
    # Measured on one core of a small machine: 50 ms for a megapixel of a flat move, 100 more with depth.
    prior: ClassVar[Rates] = Rates(per_step=100.0, per_frame=50.0, constant=300.0)

    system: Literal["parallax"] = "parallax"
    image: ImageRef = Field(default="image", description="the picture to move over")
    move: Move = Field(default="orbit", description="the camera's move")
    amount: int = Field(default=50, ge=1, le=100, description="how far the camera goes, in percent of the farthest")
    seconds: float = Field(default=3.0, ge=0.5, le=10.0, description="how long the clip lasts")
    loop: bool = Field(default=True, description="come back to the start, so that the clip repeats without a seam")
    easing: Easing = Field(default="smooth", description="how the move starts and stops")
    depth: Literal["auto", "off"] = Field(default="auto", description="2.5-D with a depth model where one is installed")
    size: Annotated[Literal[360, 480, 720, 1080], Advanced()] = Field(
        default=720, description="the shorter side, in pixels; never larger than the picture"
    )
    fps: Annotated[int, Advanced()] = Field(default=24, ge=5, le=30, description="frames a second")

    @classmethod
    def from_brief(cls, brief: Brief) -> Self:
        """`motion` 127, the usual, is half of the way the camera can go."""
        seconds = 3.0 if brief.seconds is None else brief.seconds
        amount = max(1, round(brief.motion / 255 * 100))
        return cls(image=brief.image, amount=amount, seconds=seconds, **seed_of(brief))

    def gives(self, sources: Sources) -> Shape:
        """The picture's own shape."""
        width, height = clip_size(sources[self.image].width, sources[self.image].height, self.size)
        return Shape(width, height, frame_count(self.seconds, self.fps), Fraction(self.fps))

    def work(self, sources: Sources) -> Work:
        """Its one step is the look at the depth, which a flat move does without."""
        clip = self.gives(sources)
        deep = self.depth == "auto" and self.move in DEEP_MOVES
        return Work(clip.num_frames, clip.width * clip.height / 1e6, int(deep))
