"""What may be done to any clip once it is there, as a person chooses it: steps that follow the others of a recipe."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from jobs.requests.base import PREVIOUS, Brief, ClipRef, Finishing, Generation, Request, Wish
from jobs.requests.deflicker import DeflickerRequest
from jobs.requests.emoji import EmojiRequest
from jobs.requests.loop import LoopRequest
from jobs.requests.smooth import SmoothRequest
from jobs.requests.sticker import StickerRequest
from jobs.requests.stitch import StitchRequest
from jobs.requests.upscale import UpscaleRequest

OFF = "off"
STAMPS: dict[str, type[StickerRequest] | type[EmojiRequest]] = {"sticker": StickerRequest, "emoji": EmojiRequest}
"""Formats for which the picture itself has to be prepared."""


class Smoothing(BaseModel):
    """Offered with every rendering command."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    smooth: Literal["off", "x2", "x4", "x8"] = Field(
        default=OFF, description="smoother motion: so many times the frames"
    )
    loop: Literal["off", "blend", "crossfade", "boomerang"] = Field(
        default=OFF, description="how the clip comes back to its start, so that it repeats without a jump"
    )

    def steps(self) -> list[Finishing]:
        """In the order that suits them. The first one's `clip` is yet to be named; the others take what comes before.

        The loop is closed before more frames are put in, so that those across the seam are put in as well.
        """
        steps: list[Finishing] = []
        if self.loop != OFF:
            steps.append(LoopRequest(clip=PREVIOUS, style=self.loop))
        if self.smooth != OFF:
            steps.append(SmoothRequest(clip=PREVIOUS, factor=self.smooth, loop=self.loop != OFF))
        return steps


class Finish(Smoothing):
    """Offered for any clip that was posted."""

    deflicker: Literal["off", "light", "medium", "strong"] = Field(
        default=OFF, description="steadier light and colours"
    )
    upscale: Literal["off", "x2", "x4"] = Field(default=OFF, description="a larger picture")

    def steps(self) -> list[Finishing]:
        """Flicker first, for everything after it would spread it; size last, for everything before is cheaper small."""
        before = [] if self.deflicker == OFF else [DeflickerRequest(clip=PREVIOUS, strength=self.deflicker)]
        after = [] if self.upscale == OFF else [UpscaleRequest(clip=PREVIOUS, factor=self.upscale)]
        return [*before, *super().steps(), *after]


class Continuation(Wish):
    """A clip that goes on: the next one begins with its last frame, and follows it."""

    clip: ClipRef = Field(default="clip", description="the video or GIF that goes on")

    @property
    def brief(self) -> Brief:
        """What to make of the clip's last frame."""
        return Brief(image=self.clip, **{name: getattr(self, name) for name in Wish.model_fields})

    def steps(self, generation: Generation) -> list[Request]:
        """The generation, by this one's brief, and what puts it behind the clip."""
        behind = StitchRequest(clip=self.clip, second=PREVIOUS, seamless=True, framing="crop")
        return [generation, behind]


def prepared_for(format_: str, steps: list[Any]) -> list[Any]:
    """The steps, and one more where the format wants the picture in a shape of its own."""
    stamp = STAMPS.get(format_)
    if stamp is None or (steps and isinstance(steps[-1], stamp)):
        return steps
    return [*steps, stamp(clip=PREVIOUS)]


def onto(clip: str, steps: list[Finishing]) -> list[Finishing]:
    """The same steps, the first of them taking the source of this name."""
    return [step.model_copy(update={"clip": clip}) if number == 0 else step for number, step in enumerate(steps)]
