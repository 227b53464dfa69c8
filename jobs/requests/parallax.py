"""Parallax: a camera move over a still picture, in 2.5-D where a depth model is installed and planar where none is."""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field

from jobs.requests.base import Advanced, Brief, ImageRef, Request, seed_of

Move = Literal[
    "orbit", "dolly in", "dolly out", "zoom in", "zoom out",
    "pan left", "pan right", "pan up", "pan down", "roll left", "roll right",
]  # fmt: skip
Easing = Literal["smooth", "linear", "ease in", "ease out"]


class ParallaxRequest(Request):
    """Move a camera over a still picture: zoom, pan, roll, dolly or orbit."""

    front_door_rank: ClassVar[int] = 1

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
