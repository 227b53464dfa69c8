"""Sound: a clip gets a track, instead of its own or beside it, as loud as the web plays."""

from dataclasses import replace
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from jobs.requests.base import Advanced, Finishing, Rates, Shape, SoundRef, Sources


class SoundRequest(Finishing):
    """Give a clip sound: instead of its own, or mixed with it."""

    prior: ClassVar[Rates] = Rates(per_step=0.0, per_frame=5.0, constant=500.0)

    system: Literal["sound"] = "sound"
    sound: SoundRef = Field(default="sound", description="the music or sound")
    mode: Literal["replace", "mix"] = Field(
        default="replace", description="instead of the clip's own sound, or with it"
    )
    volume: int = Field(default=100, ge=0, le=200, description="percent; 100: as loud as usual")
    length: Literal["repeat", "once"] = Field(default="repeat", description="where the sound is shorter than the clip")
    start: float = Field(default=0.0, ge=0, le=3600, description="seconds into the sound at which it begins")
    fade: Annotated[float, Advanced()] = Field(default=0.5, ge=0, le=10, description="seconds it fades out at the end")

    def gives(self, sources: Sources) -> Shape:
        """The same picture, with sound."""
        return replace(self.taken(sources), has_sound=True)
