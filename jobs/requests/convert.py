"""Convert: the clip as it is, in another format."""

from dataclasses import replace
from typing import ClassVar, Literal

from pydantic import Field

from jobs.requests.base import Finishing, Rates, Shape, Sources


class ConvertRequest(Finishing):
    """Turn a clip into another format: MP4, GIF, WebP, WebM or APNG."""

    prior: ClassVar[Rates] = Rates(per_step=0.0, per_frame=5.0, constant=100.0)

    system: Literal["convert"] = "convert"
    sound: Literal["keep", "remove"] = Field(default="keep", description="whether its sound stays")

    def gives(self, sources: Sources) -> Shape:
        """The clip as it is, without its sound where that is not wanted."""
        taken = self.taken(sources)
        return taken if self.sound == "keep" else replace(taken, has_sound=False)
