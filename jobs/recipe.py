"""What is to be made, over which sources. It travels with the result, so that a clip can be made again."""

from fractions import Fraction
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from jobs.requests import AnyRequest
from jobs.requests.base import SourceKind

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Format = Literal["mp4", "gif", "both"]


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
    """Version 1: named sources, a step, one output. (`steps` is a tuple because chains are to come.)"""

    version: Literal[1] = 1
    sources: dict[str, Source]
    steps: tuple[Annotated[AnyRequest, Field(discriminator="system")], ...] = Field(min_length=1, max_length=1)
    output: Output = Output()

    def again(self) -> Self:
        """The same recipe with a new seed in every step."""
        return self.model_copy(update={"steps": tuple(step.again() for step in self.steps)})
