"""What is to be made, over which sources. It travels with the result, so that a clip can be made again."""

from collections.abc import Mapping
from fractions import Fraction
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from jobs.requests import AnyRequest, Finishing, Request
from jobs.requests.base import PREVIOUS, Seeded, Shape, Shaped, SourceKind, Sources, Work

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Format = Literal["mp4", "gif", "both", "webp", "webm", "apng", "sticker", "emoji"]
MOST_STEPS = 12
FITTING: Mapping[SourceKind, tuple[str, ...]] = {
    "image": ("image", "clip"),
    "clip": ("clip",),
    "sound": ("sound",),
    "motion": ("motion",),
}
"""What a step may be given for what it takes: where it takes a picture, a clip stands for its last frame."""


class Value(BaseModel):
    """A frozen value that knows exactly its own fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Source(Value):
    """One input, already checked, in the media store under its SHA-256.

    A picture is normalised; a clip or a sound lies there as it came, and these are its facts once it is decoded.
    """

    digest: Digest
    kind: SourceKind = "image"
    width: int = Field(ge=0, description="pixels, as it is shown; 0 for a sound")
    height: int = Field(ge=0, description="pixels, as it is shown; 0 for a sound")
    num_frames: int = Field(default=1, ge=0, description="1 for a picture, 0 for a sound")
    fps: Fraction = Field(default=Fraction(1), gt=0)
    has_alpha: bool = False
    has_sound: bool = False
    seconds: float = Field(default=0.0, ge=0, description="of a sound")


class Output(Value):
    """How the finished clip is written. Every rendering command offers these options beside its system's own."""

    format: Format = Field(default="mp4", description="the file that comes back")


class Recipe(Value):
    """Version 1: named sources, a chain of steps, one output. What a step gives the next may take as `PREVIOUS`."""

    version: Literal[1] = 1
    sources: dict[str, Source]
    steps: tuple[Annotated[AnyRequest, Field(discriminator="system")], ...] = Field(min_length=1, max_length=MOST_STEPS)
    output: Output = Output()

    @model_validator(mode="after")
    def _takes_what_is_there(self) -> Self:
        for number, step in enumerate(self.steps):
            for field, name, kind in step.named():
                there = self._kind_of(name, first=number == 0)
                if there not in FITTING[kind]:
                    raise ValueError(f"step {number + 1} takes a {kind} as {field}, and {name!r} is {there}")
        return self

    def _kind_of(self, name: str, *, first: bool) -> str:
        if name == PREVIOUS and not first:
            return "clip"
        return self.sources[name].kind if name in self.sources else "nothing"

    @property
    def lead(self) -> Request:
        """The step after which the job is called and that decides who can do it: finishing is done everywhere."""
        return next((step for step in self.steps if not isinstance(step, Finishing)), self.steps[0])

    @property
    def title(self) -> str:
        """The systems in their order, as people read them."""
        return " → ".join(step.name() for step in self.steps)

    @property
    def seed(self) -> int | None:
        """The leading step's, where it has one."""
        return self.lead.seed if isinstance(self.lead, Seeded) else None

    def views(self) -> tuple[Sources, ...]:
        """For each step, what it may name.

        Raises:
            Refusal: a step does not fit the clip that it would get.
        """
        known: dict[str, Shaped] = dict(self.sources)
        views: list[Sources] = []
        for number, step in enumerate(self.steps):
            views.append(dict(known))
            if number + 1 < len(self.steps):
                known[PREVIOUS] = step.gives(known)
        return tuple(views)

    def shapes(self) -> tuple[Shape, ...]:
        """The clip after each step.

        Raises:
            Refusal: a step does not fit the clip that it would get.
        """
        return tuple(step.gives(view) for step, view in zip(self.steps, self.views(), strict=True))

    def works(self) -> tuple[Work, ...]:
        """How much each step has to do.

        Raises:
            Refusal: a step does not fit the clip that it would get.
        """
        return tuple(step.work(view) for step, view in zip(self.steps, self.views(), strict=True))

    def again(self) -> Self:
        """The same recipe with a new seed in every step that has one."""
        return self.model_copy(update={"steps": tuple(step.again() for step in self.steps)})
