"""Learn a motion: from a short clip how it moves, not how it looks, by MotionDirector's recipe (Zhao et al. 2023)."""

import re
import unicodedata
from collections.abc import Collection, Iterable
from fractions import Fraction
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, field_validator

from jobs.errors import Refusal
from jobs.requests.animatediff_modules import MODULES
from jobs.requests.base import PREVIOUS, Advanced, ClipRef, Rates, Seeded, Shape, Sources, Suggested, Work
from jobs.requests.canvas import canvas, shape_of
from jobs.requests.image_models import ModelUnknown, ModuleMissing, image_models, kind_of, kinds_with, suggest_models
from jobs.requests.strengths import some
from jobs.schedules.passage import quoted

SHORTEST, LONGEST = 1.0, 8.0
"""Seconds of a clip that shows one motion."""
FEWEST_FRAMES = 8
LEAST = 128
LOOK_FRAMES, LOOK_FPS, LOOK_STEPS = 16, 8, 20
"""Of the clip that shows what was learned."""
NAME = re.compile(r"[^\W_][\w .+-]{0,31}")
TAKEN = frozenset({PREVIOUS, "image", "last", "look", "keep", "clip", "second", "sound", "none"})
"""Names that mean something else in a recipe."""

LearnedOn = Literal["v3", "v15-v2"]


class MotionClipLength(Refusal):
    """A clip that is too short to move, or too long to show one motion."""

    code = "motion_clip_length"


class MotionClipFrames(Refusal):
    """A clip of so few frames that no motion is seen in it."""

    code = "motion_clip_frames"


class BadMotionName(Refusal):
    """A name that nobody could type again, or that means something else."""

    code = "bad_motion_name"


def motion_name(text: str) -> str:
    """A name as it is kept: one spelling for what looks alike, and single spaces.

    Raises:
        BadMotionName: it cannot be one.
    """
    name = " ".join(unicodedata.normalize("NFC", text).split())
    if not NAME.fullmatch(name) or name.casefold() in TAKEN or name.casefold().startswith("picture"):
        raise BadMotionName(name=quoted(text))
    return name


class LearnMotionRequest(Seeded):
    """Teach a motion from a short clip; /animatediff motion: puts it into anything you like."""

    # A step of learning is some three passes, forward and backward, over 16 frames.
    prior: ClassVar[Rates] = Rates(per_step=450.0, per_frame=1_000.0, constant=5_000.0)

    system: Literal["learnmotion"] = "learnmotion"
    clip: ClipRef = Field(default="clip", description="a clip of 1 to 8 seconds that shows one motion")
    save_as: str = Field(default="my motion", max_length=64, description="the name that you will call it by")
    prompt: str = Field(default="", max_length=500, description="what the clip shows, so that only the motion is left")
    model: Annotated[str | None, Suggested(suggest_models)] = Field(
        default=None, max_length=60, description="image model to learn with; empty: the first installed"
    )
    module: LearnedOn | None = Field(
        default=None, description="motion module to learn for; the motion goes with this one alone"
    )
    learning_steps: int = Field(default=400, ge=20, le=1500, description="how long to learn: 300 to 700 as a rule")
    size: Annotated[Literal[192, 256, 320, 384], Advanced()] = Field(
        default=320, description="side of a square of the clip's area while learning, in pixels"
    )
    rank: Annotated[Literal[4, 8, 16, 32, 64], Advanced()] = Field(default=32, description="how much it can hold")

    @field_validator("save_as")
    @classmethod
    def _can_be_typed(cls, text: str) -> str:
        return motion_name(text)

    @property
    def kind(self) -> str:
        """By image model and motion module."""
        return kind_of(self.name(), self.model, self.module)

    @classmethod
    def kinds(cls, checkpoints: Iterable[str]) -> frozenset[str]:
        """Every image model with every motion module that goes with it."""
        return kinds_with(cls.name(), checkpoints)

    @property
    def wanted(self) -> frozenset[str]:
        """The motion module."""
        return frozenset({MODULES[self.module].weights}) if self.module else frozenset()

    def settled(self, installed: Collection[str]) -> Self:
        """With an image model of SD 1.5 and a motion module.

        Raises:
            Refusal: there is none.
        """
        models = [model for model in image_models(installed) if not model.startswith("sdxl-")]
        if not models or (self.model and self.model not in models):
            raise ModelUnknown(model=self.model or "SD 1.5", installed=some(models))
        modules: tuple[LearnedOn, ...] = (self.module,) if self.module else ("v3", "v15-v2")
        there = [module for module in modules if MODULES[module].weights in installed]
        if not there:
            raise ModuleMissing(fitting=", ".join(modules), weights=MODULES[modules[0]].weights)
        return self.model_copy(update={"model": self.model or models[0], "module": there[0]})

    def pixels(self, sources: Sources) -> tuple[int, int]:
        """Width and height at which it is learned: the clip's shape, within 2 to 1."""
        clip = sources[self.clip]
        seconds = float(clip.num_frames / clip.fps)
        if not SHORTEST <= seconds <= LONGEST + 0.5:
            raise MotionClipLength(seconds=round(seconds, 1), least=SHORTEST, most=LONGEST)
        if clip.num_frames < FEWEST_FRAMES:
            raise MotionClipFrames(frames=clip.num_frames, least=FEWEST_FRAMES)
        return canvas(self.size, shape_of(clip.width, clip.height), LEAST)

    def gives(self, sources: Sources) -> Shape:
        """A clip that shows what was learned.

        Raises:
            MotionClipLength: the clip is too short or too long.
        """
        return Shape(*self.pixels(sources), LOOK_FRAMES, Fraction(LOOK_FPS))

    def work(self, sources: Sources) -> Work:
        """Steps of learning, over 16 frames each."""
        width, height = self.pixels(sources)
        return Work(LOOK_FRAMES, width * height / 1e6, self.learning_steps)
