"""What every system's request has in common. A parameter is declared once, here or in a subclass; the slash option, the
modal, validation, the stored recipe and the docs row are derived from it."""

import secrets
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Annotated, Any, ClassVar, Literal, Protocol, Self

from pydantic import BaseModel, ConfigDict, Field

MAX_SEED = 2**32 - 1
PREVIOUS = "previous"
"""Instead of a source's name: the clip that the step before this one gave."""
SourceKind = Literal["image", "clip", "sound", "motion"]
"""`motion`: a file that `/learnmotion` made, by the name that a person gave it."""


class Shaped(Protocol):
    """What is known of a source, or of the clip that a step gives, without looking at a pixel of it."""

    @property
    def width(self) -> int: ...  # noqa: D102
    @property
    def height(self) -> int: ...  # noqa: D102
    @property
    def num_frames(self) -> int: ...  # noqa: D102
    @property
    def fps(self) -> Fraction: ...  # noqa: D102
    @property
    def has_alpha(self) -> bool: ...  # noqa: D102
    @property
    def has_sound(self) -> bool: ...  # noqa: D102


@dataclass(frozen=True)
class Shape:
    """A clip that is yet to be made."""

    width: int
    height: int
    num_frames: int
    fps: Fraction
    has_alpha: bool = False
    has_sound: bool = False

    @property
    def seconds(self) -> float:
        """How long it lasts."""
        return float(self.num_frames / self.fps)

    @property
    def megapixels(self) -> float:
        """Of one frame."""
        return self.width * self.height / 1e6

    @property
    def raw_bytes(self) -> int:
        """What its frames take between two steps."""
        return self.width * self.height * (4 if self.has_alpha else 3) * self.num_frames

    @classmethod
    def of(cls, known: Shaped) -> Self:
        """The same as a value that `dataclasses.replace` can change."""
        return cls(known.width, known.height, known.num_frames, known.fps, known.has_alpha, known.has_sound)


Sources = Mapping[str, Shaped]
"""What a step may name: the recipe's sources, and `PREVIOUS`."""


@dataclass(frozen=True)
class Attached:
    """Marks a field that names one of the recipe's sources; in Discord it is an attachment option."""

    kind: SourceKind


@dataclass(frozen=True)
class Collected:
    """Marks a field that is no option of its own: something else fills it (`/storyboard`, from messages)."""


@dataclass(frozen=True)
class Advanced:
    """Marks a field that people seldom touch: listed last among the options, and in the Advanced… form where a command
    has more options than Discord takes."""


@dataclass(frozen=True)
class Suggested:
    """Marks a text for which choices are offered while somebody types.

    A function and not a list, for it may read on from what is there: "zoom in, " goes on with another move.
    """

    after: Callable[[str, Collection[str]], Sequence[str]]
    """What is typed, and what is installed for this system → whole texts to choose from."""


@dataclass(frozen=True)
class Work:
    """How much a request asks for: what its cost is told by."""

    frames: int
    megapixels: float
    """Of one frame."""
    steps: int
    """Passes of the network over all frames; 0 where there is none."""

    @property
    def megapixel_frames(self) -> float:
        """What decoding and drawing grow with."""
        return self.frames * self.megapixels

    @property
    def megapixel_frame_steps(self) -> float:
        """What denoising grows with."""
        return self.megapixel_frames * self.steps


@dataclass(frozen=True)
class Rates:
    """What work costs on a device, in milliseconds. `jobs.costs` learns them; a system's prior is where it begins."""

    per_step: float
    """For each megapixel, frame and step."""
    per_frame: float
    """For each megapixel and frame, beside the steps."""
    constant: float
    """For each render."""

    def ms(self, work: Work) -> float:
        """What so much work costs."""
        stepped = self.per_step * work.megapixel_frame_steps
        return stepped + self.per_frame * work.megapixel_frames + self.constant


def new_seed() -> int:
    """A fresh seed, uniform in 0 … 2³²-1 (what torch, numpy and a Discord integer option can all carry exactly)."""
    return secrets.randbelow(MAX_SEED + 1)


ImageRef = Annotated[str, Attached("image")]
"""A picture; where the name is a clip's, its last frame."""
ClipRef = Annotated[str, Attached("clip")]
SoundRef = Annotated[str, Attached("sound")]
MaybeImageRef = Annotated[str | None, Attached("image")]
"""A picture that may be left out."""
ImageRefs = Annotated[tuple[str, ...], Attached("image"), Collected()]
"""Any number of pictures."""
MaybeMotionRef = Annotated[str | None, Attached("motion")]
"""A motion that was learned from a clip; in Discord its name."""
Seed = Annotated[int, Field(ge=0, le=MAX_SEED)]


class Wish(BaseModel):
    """What somebody says of a clip to be made, in no system's own parameters."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompt: str = Field(default="", max_length=1000, description="what should happen, for systems that read words")
    motion: int = Field(default=127, ge=1, le=255, description="how much may move: 1 barely, 127 usual, 255 wild")
    seconds: float | None = Field(default=None, ge=0.5, le=10, description="how long the clip lasts")
    seed: Seed | None = Field(default=None, description="the same seed gives the same clip; empty: a new one")


class Brief(Wish):
    """What somebody says at the front door (`/animate`, the menu, a mention)."""

    image: ImageRef = Field(default="image", description="the picture to animate")


class Request(BaseModel):
    """One step of a recipe, for one system. The class docstring's first line is the command's description.

    Subclasses set `system` to a one-value `Literal` with that value as default: the discriminator by which a stored
    recipe finds its class again.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    prior: ClassVar[Rates] = Rates(per_step=200.0, per_frame=500.0, constant=1_000.0)
    """What it costs on a usual machine, until this installation's own renders have taught better."""

    system: str

    @classmethod
    def name(cls) -> str:
        """The system's name, as typed and stored."""
        return str(cls.model_fields["system"].default)

    @classmethod
    def usual(cls) -> Self:
        """With every option at its default, or where that asks for nothing, the commonest choice."""
        return cls.model_validate({})

    @classmethod
    def attached(cls) -> dict[str, Attached]:
        """The fields that name sources, with what kind each takes."""
        return {
            name: mark
            for name, field in cls.model_fields.items()
            for mark in field.metadata
            if isinstance(mark, Attached)
        }

    def named(self) -> Iterator[tuple[str, str, SourceKind]]:
        """Every source that it looks at: the field, the source's name, what it is taken as."""
        for field, mark in self.attached().items():
            value: str | tuple[str, ...] | None = getattr(self, field)
            for name in value if isinstance(value, tuple) else (value,):
                if name is not None:
                    yield field, name, mark.kind

    @property
    def wanted(self) -> frozenset[str]:
        """Checkpoints without which it cannot be done, by name, beside the one that `kind` names."""
        return frozenset()

    def settled(self, installed: Collection[str]) -> Self:
        """The same request with nothing left to the machine: what is open is chosen from the checkpoints there are.

        Done when a job is accepted, so that its recipe gives the same clip when something better is installed.

        Raises:
            Refusal: what was chosen does not go together.
        """
        return self

    def ahead(self, sources: Sources) -> str | None:
        """What a person should look at before this is queued, in their words; None where there is nothing to see."""
        return None

    def work(self, sources: Sources) -> Work:
        """How much there is to do over these sources. A subclass must say.

        What the request leaves to the checkpoint is taken as the usual one's.
        """
        raise NotImplementedError

    def gives(self, sources: Sources) -> Shape:
        """The clip that will come out, as far as it can be told before. A subclass must say."""
        raise NotImplementedError

    @property
    def kind(self) -> str:
        """What a worker must have: the system, or `system/checkpoint` where the person chose a checkpoint."""
        chosen = getattr(self, "model", None)
        return f"{self.name()}/{chosen}" if chosen else self.name()

    @classmethod
    def kinds(cls, checkpoints: Iterable[str]) -> frozenset[str]:
        """All values that `kind` may have where these checkpoints are installed."""
        return frozenset({cls.name(), *(f"{cls.name()}/{checkpoint}" for checkpoint in checkpoints)})

    def again(self) -> Self:
        """The same request once more: with a new seed, where it has one."""
        return self


def called(kind: str) -> str:
    """What people call it: the checkpoints that were chosen, or the system."""
    return kind.rpartition("/")[2].replace("+", " with ")


def source_kinds(steps: Sequence[Request]) -> dict[str, SourceKind]:
    """What each source must be that the steps name. One may be a clip to one of them and a picture to another."""
    kinds: dict[str, SourceKind] = {}
    for step in steps:
        for _, name, kind in step.named():
            if name != PREVIOUS and kinds.get(name) != "clip":
                kinds[name] = kind
    return kinds


class Seeded(Request):
    """A step that makes frames which were not there before, from a seed."""

    seed: Seed = Field(default_factory=new_seed, description="the same seed gives the same clip; empty: a new one")

    def again(self) -> Self:
        """The same request with a new seed."""
        return self.model_copy(update={"seed": new_seed()})


class Generation(Seeded):
    """One that a picture alone is enough for: the front door may choose it."""

    reads_prompt: ClassVar[bool] = False
    """Whether words in the brief mean anything to this system; said to the person when they do not."""
    front_door_rank: ClassVar[int] = 0
    """Among the systems that are installed, `/animate` takes the one with the highest rank."""

    @classmethod
    def from_brief(cls, brief: Brief) -> Self:
        """This system's request for what was said at the front door. A subclass translates `motion` and `seconds`.

        Raises:
            Refusal: the brief asks for something this system cannot do.
        """
        raise NotImplementedError


class Finishing(Request):
    """A step that changes a clip which is there: `clip` names it. Every worker can do it, with weights or without.

    The same clip and the same options give the same frames, so there is no seed.
    """

    clip: ClipRef = Field(default="clip", description="the video or GIF")

    def taken(self, sources: Sources) -> Shape:
        """The clip that this step works on."""
        return Shape.of(sources[self.clip])

    def gives(self, sources: Sources) -> Shape:
        """The clip as it is; a subclass that changes length, size or rate says so."""
        return self.taken(sources)

    def work(self, sources: Sources) -> Work:
        """One look at each frame that comes out, in `steps` 0. A subclass with a network says more."""
        given = self.gives(sources)
        return Work(given.num_frames, given.width * given.height / 1e6, 0)


def seed_of(brief: Brief) -> dict[str, Any]:
    """The `seed` argument a request takes from a brief: nothing where the brief leaves it open."""
    return {} if brief.seed is None else {"seed": brief.seed}
