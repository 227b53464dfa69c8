"""AnimateDiff (Guo et al. 2023): words, and pictures if you like, become a clip in the style of any SD 1.5 model."""

from collections.abc import Collection
from fractions import Fraction
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from jobs.errors import Refusal
from jobs.requests.animatediff_modules import MODULES, Module
from jobs.requests.base import (
    Advanced,
    Brief,
    Generation,
    ImageRefs,
    MaybeImageRef,
    Rates,
    Shape,
    Sources,
    Work,
    seed_of,
)
from jobs.requests.canvas import canvas, on_grid, shape_of
from jobs.requests.diffusion import Diffusion
from jobs.requests.image_models import ADAPTER
from jobs.schedules.times import places

MOST_FRAMES = 256
MOST_PICTURES = 8
LARGEST = 1024 * 1024
LEAST = 256
"""Pixels of a side that nobody said."""
ASPECTS = {"square": 1.0, "landscape": 3 / 2, "portrait": 2 / 3, "wide": 16 / 9, "tall": 9 / 16}
Aspect = Literal["auto", "square", "landscape", "portrait", "wide", "tall"]
Follow = Literal["auto", "picture", "drawing", "pia"]


class NothingToAnimate(Refusal):
    """Neither words nor a picture."""

    code = "nothing_to_animate"


class PinModule(Refusal):
    """Pinned pictures with a motion module that SparseCtrl was not learned on."""

    code = "pin_module"


class PinCamera(Refusal):
    """Pinned pictures and camera moves, which were learned on different versions."""

    code = "pin_camera"


class FollowModule(Refusal):
    """A way to follow a picture that belongs to another motion module."""

    code = "follow_module"


class FollowNothing(Refusal):
    """A way to follow a picture, and no picture."""

    code = "follow_nothing"


class LoopContext(Refusal):
    """A loop in windows that do not run on from the end."""

    code = "loop_context"


class PinFew(Refusal):
    """More pinned pictures than frames, or two in one place."""

    code = "pin_few"


class PinsUnmatched(Refusal):
    """As many times as pictures, or none."""

    code = "pins_unmatched"


class PiaNeedsPicture(Refusal):
    """PIA without a picture to begin with."""

    code = "pia_needs_picture"


class PiaPictures(Refusal):
    """PIA starts from one picture and knows no other."""

    code = "pia_pictures"


class AnimateDiffTooLarge(Refusal):
    """More pixels than any of these models was made for."""

    code = "animatediff_size"


class AnimateDiffRequest(Diffusion, Generation):
    """Make a clip from words with AnimateDiff; pictures can pin frames or set the look."""

    reads_prompt: ClassVar[bool] = True
    front_door_rank: ClassVar[int] = 5
    # At 512 × 512 a UNet pass takes 0.8 TFLOP a frame, with motion modules some 1.1, twice under guidance: 25 steps of
    # 16 frames are 0.9 PFLOP, 18 s at 50 TFLOP/s. So 170 ms for a megapixel, frame and step; and 0.6 s to decode one.
    prior: ClassVar[Rates] = Rates(per_step=170.0, per_frame=250.0, constant=2_000.0)

    system: Literal["animatediff"] = "animatediff"
    image: MaybeImageRef = Field(default=None, description="a picture that the clip begins with")
    last: MaybeImageRef = Field(default=None, description="a picture that the clip ends with")
    pictures: ImageRefs = Field(default=(), max_length=MOST_PICTURES, description="a storyboard's pictures")
    num_frames: int = Field(default=16, ge=1, le=MOST_FRAMES, description="frames to make; above 16 in windows")
    fps: int = Field(default=8, ge=1, le=30, description="frames a second")
    shape: Aspect = Field(default="auto", description="the clip's shape; auto: the picture's, or square")
    loop: bool = Field(default=False, description="the end leads back to the beginning: a perfect loop")
    follow: Follow = Field(
        default="auto", description="the first picture as it is, as a drawing to follow, or by PIA; auto: what there is"
    )
    pins: Annotated[str, Advanced()] = Field(
        default="", max_length=200, description="a storyboard's times: 0s, 1.5s, last; empty: evenly"
    )
    pin_scale: Annotated[float, Advanced()] = Field(
        default=1.0, ge=0, le=2, description="how firmly the pinned pictures hold"
    )
    pia_motion: Annotated[Literal["small", "medium", "large"], Advanced()] = Field(
        default="medium", description="how far PIA moves away from its picture"
    )
    width: Annotated[int | None, Advanced()] = Field(
        default=None, ge=128, le=1536, multiple_of=8, description="pixels; a multiple of 8"
    )
    height: Annotated[int | None, Advanced()] = Field(
        default=None, ge=128, le=1536, multiple_of=8, description="pixels; a multiple of 8"
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if not (self.prompt.strip() or self.schedule.strip() or self.pinned or self.look):
            raise NothingToAnimate()
        if self.width and self.height and self.width * self.height > LARGEST:
            raise AnimateDiffTooLarge(width=self.width, height=self.height, most=LARGEST / 1e6)
        _ = self.places
        if self.loop and self.context not in ("auto", "looped"):
            raise LoopContext(context=self.context)
        return self

    @model_validator(mode="after")
    def _follows(self) -> Self:
        """How pictures are followed goes with what was chosen beside it."""
        if self.follow == "pia" and self.module not in (None, "pia"):
            raise FollowModule(module=self.module or "")
        if self.follow in ("picture", "drawing") and self.module == "pia":
            raise FollowModule(module="pia")
        if self.follow in ("picture", "drawing") and not self.pinned:
            raise FollowNothing(follow=self.follow)
        if self.pia:
            if self.last or self.pictures:
                raise PiaPictures()
            if self.image is None:
                raise PiaNeedsPicture()
        elif self.pinned and self.cameras:
            raise PinCamera()
        elif self.pinned and self.module not in (None, "v3"):
            raise PinModule(module=self.module or "")
        return self

    @property
    def frames(self) -> int:
        """As asked for."""
        return self.num_frames

    @property
    def rate(self) -> float:
        """As asked for."""
        return self.fps

    @property
    def loops(self) -> bool:
        """As asked for, either way."""
        return self.loop or self.context == "looped"

    @property
    def pia(self) -> bool:
        """Whether PIA makes it."""
        return self.module == "pia" or (self.module is None and self.follow == "pia")

    @property
    def pinned(self) -> tuple[str, ...]:
        """Names of the pictures that stand at some frame, in the order of `places`."""
        return tuple(name for name in (self.image, *self.pictures, self.last) if name is not None)

    @property
    def places(self) -> tuple[int, ...]:
        """The frame of each pinned picture, counted from 0.

        Raises:
            Refusal: a time that cannot be read; or times and pictures do not match.
        """
        story = self._story()
        found = [0] * (self.image is not None) + story + [self.num_frames - 1] * (self.last is not None)
        if len(set(found)) < len(found):
            raise PinFew(pictures=len(found), frames=self.num_frames)
        return tuple(found)

    def _story(self) -> list[int]:
        """Of the storyboard's pictures: where they were put, else evenly over what the other two leave."""
        count = len(self.pictures)
        if self.pins.strip():
            found = places(self.pins, self.num_frames, fps=self.fps, option="pins")
            if len(found) != count:
                raise PinsUnmatched(times=len(found), pictures=count)
            return list(found)
        if count == 0:
            return []
        slots = count + (self.image is not None) + (self.last is not None)
        spread = [round(slot * (self.num_frames - 1) / max(1, slots - 1)) for slot in range(slots)]
        return spread[self.image is not None :][:count]

    @property
    def candidates(self) -> tuple[Module, ...]:
        """PIA alone, or what SparseCtrl was learned on, or any."""
        if self.pia:
            return ("pia",)
        return ("v3",) if self.pinned else super().candidates

    @property
    def control(self) -> str | None:
        """The SparseCtrl that holds the pinned pictures."""
        if not self.pinned or self.pia:
            return None
        return "sparsectrl-scribble" if self.follow == "drawing" else "sparsectrl-rgb"

    @property
    def wanted(self) -> frozenset[str]:
        """With what pins and looks need."""
        more = {self.control} if self.control else set[str]()
        if self.look:
            more |= {self.look_adapter, "clip-vit-h"}
        return super().wanted | more

    def settled(self, installed: Collection[str]) -> Self:
        """A picture is followed by what is installed: SparseCtrl, else PIA.

        Raises:
            Refusal: nothing that is installed can do it.
        """
        request = self
        one = self.image and not self.last and not self.pictures
        without = not {"sparsectrl-rgb", MODULES["v3"].weights} <= set(installed)
        if self.follow == "auto" and self.module is None and one and without and "pia" in installed:
            request = self.model_copy(update={"follow": "pia", "module": "pia"})
        settled = super(AnimateDiffRequest, request).settled(installed)
        if settled.adapter is None and settled.module == "v3":
            # As its authors have it: with pinned pictures, without where there are none.
            settled = settled.model_copy(update={"adapter": 1.0 if settled.pinned and ADAPTER in installed else 0.0})
        return settled

    @classmethod
    def usual(cls) -> Self:
        """A prompt alone."""
        return cls(prompt="a sailing boat on a calm sea")

    @classmethod
    def from_brief(cls, brief: Brief) -> Self:
        """The picture is pinned to the first frame; `motion` 127 is motion scale 1, 255 is 1.4."""
        frames = 16 if brief.seconds is None else max(8, round(brief.seconds * 8))
        scale = 1 + (brief.motion - 127) / 128 * 0.4
        return cls(
            image=brief.image, prompt=brief.prompt, num_frames=frames, motion_scale=f"{scale:.2f}", **seed_of(brief)
        )

    def size(self, sources: Sources) -> tuple[int, int]:
        """Width and height in pixels: the module's own area in the shape that is wanted."""
        if self.width and self.height:
            return self.width, self.height
        first = next(iter(self.pinned), None)
        if self.shape != "auto":
            aspect = ASPECTS[self.shape]
        elif first is not None and first in sources:
            aspect = shape_of(sources[first].width, sources[first].height)
        else:
            aspect = 1.0
        side = self.profile.side
        if self.width:
            return self.width, on_grid(self.width / aspect, LEAST)
        if self.height:
            return on_grid(self.height * aspect, LEAST), self.height
        return canvas(side, aspect, LEAST)

    def gives(self, sources: Sources) -> Shape:
        """What was asked for.

        Raises:
            AnimateDiffTooLarge: one side was said, and the other one that belongs to it is too long.
        """
        width, height = self.size(sources)
        if width * height > LARGEST:
            raise AnimateDiffTooLarge(width=width, height=height, most=LARGEST / 1e6)
        return Shape(width, height, self.num_frames, Fraction(self.fps))

    def work(self, sources: Sources) -> Work:
        """Windows overlap, so some frames are denoised twice; without guidance each costs half."""
        width, height = self.size(sources)
        return Work(self.num_frames, width * height / 1e6, self.passes(self.num_frames))
