"""What the steps of one order may look at: its sources, decoded when they are first asked for, and the clip before."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self

from PIL import Image

from inference.systems.base import Sources
from jobs.requests.base import PREVIOUS
from media.clips import decode_clip
from media.passes import over_white
from media.sounds import decode_sound

if TYPE_CHECKING:
    from inference.messages import Order, Setup
    from jobs.requests import Request
    from media.frames import FrameSpool, Sound


class Inputs:
    """Opens sources and closes them again. Strangers' clips are decoded in a process of their own."""

    def __init__(self, order: Order, setup: Setup) -> None:
        self.order = order
        self.setup = setup
        self._images: dict[str, Image.Image] = {}
        self._clips: dict[str, FrameSpool] = {}
        self._sounds: dict[str, Sound] = {}

    def of(self, request: Request) -> Sources:
        """What this step names.

        Raises:
            Failure, Refusal: a source is damaged.
        """
        named = [(name, kind) for _, name, kind in request.named()]
        return Sources(
            images={name: self._image(name) for name, kind in named if kind == "image"},
            clips={name: self._clip(name) for name, kind in named if kind == "clip"},
            sounds={name: self._sound(name) for name, kind in named if kind == "sound"},
            motions={name: self.order.sources[name] for name, kind in named if kind == "motion"},
        )

    def passes(self, spool: FrameSpool, later: Sequence[Request]) -> None:
        """This is the clip that the next step may take as `PREVIOUS`. What no later step names gives its space back."""
        named = {name for request in later for _, name, _ in request.named()}
        for name in self._clips.keys() - (named - {PREVIOUS}):
            self._clips.pop(name).close()
        self._clips[PREVIOUS] = spool

    def _image(self, name: str) -> Image.Image:
        """A picture from the store: a PNG that intake wrote, so upright RGB of bounded size. Of a clip its last frame.

        Raises:
            Failure, Refusal: the clip is damaged.
        """
        if name == PREVIOUS or self.order.recipe.sources[name].kind == "clip":
            return Image.fromarray(over_white(self._clip(name)[-1]))
        if name not in self._images:
            with Image.open(self.order.sources[name], formats=("PNG",)) as picture:
                self._images[name] = picture.convert("RGB")
        return self._images[name]

    def _clip(self, name: str) -> FrameSpool:
        if name not in self._clips:
            path = self.order.sources[name]
            self._clips[name] = asyncio.run(decode_clip(path, self.setup.clips, self.setup.scratch))
        return self._clips[name]

    def _sound(self, name: str) -> Sound:
        if name not in self._sounds:
            self._sounds[name] = asyncio.run(decode_sound(self.order.sources[name], self.setup.clips))
        return self._sounds[name]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for spool in self._clips.values():
            spool.close()
        self._clips.clear()
