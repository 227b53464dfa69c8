"""Restyle: a clip in another look, by AnimateDiff from video to video, held by what ControlNets see in it."""

import math
from collections.abc import Collection
from dataclasses import replace
from fractions import Fraction
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from jobs.errors import Refusal
from jobs.requests.animatediff_modules import MODULES, Module, family_of
from jobs.requests.base import Advanced, ClipRef, MaybeImageRef, Rates, Shape, Sources, Suggested, Work
from jobs.requests.canvas import canvas, shape_of
from jobs.requests.diffusion import Diffusion
from jobs.requests.holds import HOLDS, Hold, holds, suggest_holds

MOST_FRAMES = 256
LEAST = 256


class RestyleNothing(Refusal):
    """Neither words nor a look: it would come back as it is."""

    code = "restyle_nothing"


class RestyleModule(Refusal):
    """PIA, which begins with a picture and knows no clip."""

    code = "restyle_module"


class RestyleFamily(Refusal):
    """Something that is made for SD 1.5 with a module for SDXL."""

    code = "restyle_family"


class RestyleRequest(Diffusion):
    """Give a video another look: redraw every frame, and keep what moves as it moves."""

    # As AnimateDiff's, and a ControlNet beside it takes half a UNet more.
    prior: ClassVar[Rates] = Rates(per_step=250.0, per_frame=600.0, constant=3_000.0)

    system: Literal["restyle"] = "restyle"
    clip: ClipRef = Field(default="clip", description="the video or GIF")
    keep: MaybeImageRef = Field(default=None, description="a mask: white or clear stays as it is, black changes")
    strength: float = Field(default=0.65, ge=0.1, le=1.0, description="how far it may go from the video's own look")
    hold: Annotated[str, Suggested(suggest_holds)] = Field(
        default="auto", max_length=120, description="what is held: depth, softedge, lineart, openpose, tile; or none"
    )
    seconds: float = Field(default=4.0, ge=0.5, le=20, description="how much of it, from its beginning")
    fps: int = Field(default=12, ge=4, le=24, description="frames a second that are redrawn; /smooth makes more")
    size: Annotated[Literal[256, 384, 512, 640, 768], Advanced()] = Field(
        default=512, description="side of a square of the clip's area, in pixels"
    )
    hold_until: Annotated[float, Advanced()] = Field(
        default=1.0, ge=0.1, le=1, description="part of the steps during which it is held"
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if not (self.prompt.strip() or self.schedule.strip() or self.look):
            raise RestyleNothing()
        _ = self.holds
        if self.module == "pia":
            raise RestyleModule(module=self.module)
        if self.module and self.profile.family == "sdxl" and self.holds:
            raise RestyleFamily(module=self.module)
        return self

    @property
    def frames(self) -> int:
        """As far as it can be told without the clip: at most so many."""
        return max(1, min(MOST_FRAMES, math.ceil(self.seconds * self.fps)))

    @property
    def rate(self) -> float:
        """As asked for."""
        return self.fps

    @property
    def holds(self) -> tuple[Hold, ...]:
        """What was said of it; nothing yet where that is left to what is installed."""
        return () if self.hold.strip().lower() in ("auto", "") else holds(self.hold)

    @property
    def candidates(self) -> tuple[Module, ...]:
        """ControlNets are for SD 1.5 alone."""
        fitting = super().candidates
        return tuple(module for module in fitting if not self.holds or MODULES[module].family == "sd15")

    @property
    def wanted(self) -> frozenset[str]:
        """With ControlNets, detectors and adapter."""
        more = {name for hold in self.holds if hold.strength for name in HOLDS[hold.name]}
        if self.look:
            more |= {self.look_adapter, "clip-vit-h"}
        return super().wanted | more

    def settled(self, installed: Collection[str]) -> Self:
        """`auto` is the first ControlNet that is there.

        Raises:
            Refusal: nothing that is installed can do it.
        """
        request = self
        if self.hold.strip().lower() in ("auto", ""):
            sd15 = family_of(self.model or "") == "sd15" and (self.module is None or self.profile.family == "sd15")
            there = (name for name, weights in HOLDS.items() if sd15 and set(weights) <= set(installed))
            request = self.model_copy(update={"hold": next(there, "none")})
        return super(RestyleRequest, request).settled(installed)

    @classmethod
    def usual(cls) -> Self:
        """A prompt alone."""
        return cls(prompt="an oil painting")

    def times(self, sources: Sources) -> tuple[int, Fraction]:
        """How many frames are redrawn, and at which rate: never more than the clip has."""
        clip = sources[self.clip]
        rate = min(Fraction(self.fps), clip.fps)
        count = math.floor(min(Fraction(clip.num_frames) / clip.fps, Fraction(self.seconds)) * rate + Fraction(1, 2))
        return max(1, min(MOST_FRAMES, count)), rate

    def pixels(self, sources: Sources) -> tuple[int, int]:
        """Width and height: the clip's shape, within 2 to 1, on the area that was asked for."""
        clip = sources[self.clip]
        return canvas(self.size, shape_of(clip.width, clip.height), LEAST)

    def gives(self, sources: Sources) -> Shape:
        """The part of the clip that is redrawn, with its sound.

        Raises:
            Refusal: a schedule does not fit a clip of this length.
        """
        width, height = self.pixels(sources)
        count, rate = self.times(sources)
        self.check_texts(count, float(rate))
        clip = Shape.of(sources[self.clip])
        return replace(clip, width=width, height=height, num_frames=count, fps=rate, has_alpha=False)

    def work(self, sources: Sources) -> Work:
        """Only the last `strength` of the steps are taken."""
        count, _ = self.times(sources)
        width, height = self.pixels(sources)
        passes = math.ceil(self.passes(count) * self.strength * (1 + 0.4 * len(self.holds)))
        return Work(count, width * height / 1e6, max(1, passes))
