"""The contract of a system room: it answers `load` and `render`, and knows nothing of queues, Discord or files."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from jobs.errors import Fact, Note
from jobs.requests import Request
from media.frames import Frame, FrameSpool, Sound

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

    from inference.residency import Residency

R = TypeVar("R", bound=Request)
__all__ = ["Clip", "Frame", "Place", "Sources", "System", "Thrift", "Tick"]


class Cancelled(Exception):
    """The person pressed Cancel; raised inside a render at its next step."""


class Tick(Protocol):
    """How a render says where it is. Calling it is also the point at which a cancel takes effect."""

    def __call__(self, stage: str, step: int, total: int) -> None:
        """`step` of `total` in `stage` ("loading", "depth", "denoising", "decoding", …) is done.

        Raises:
            Cancelled: the job was cancelled meanwhile.
        """
        ...


@dataclass(frozen=True)
class Clip:
    """What a step gives: frames that are made as they are read, so that no clip is ever held whole by its maker.

    Reading `frames` does the last part of the work (decoding, warping), may tick, and may raise `Cancelled`.
    """

    width: int
    height: int
    num_frames: int
    fps: Fraction
    frames: Iterator[Frame]
    channels: int = 3
    """4: the frames carry straight alpha, RGBA."""
    sound: Sound | None = None
    weights: tuple[str, ...] = ()
    """Names of the published checkpoints that it was made with."""
    notes: tuple[Note, ...] = ()
    facts: Mapping[str, Fact] = field(default_factory=dict[str, Fact])
    """What the result line should name beside system, seed and seconds: `{"model": "svd-xt"}`."""
    learned: bytes | None = None
    """A motion that was learned meanwhile: a whole safetensors file."""


@dataclass(frozen=True)
class Sources:
    """The recipe's inputs for one step, by the name of the field that takes them."""

    images: Mapping[str, Image]
    """Normalised pictures: RGB, upright, no metadata."""

    clips: Mapping[str, FrameSpool] = field(default_factory=dict[str, FrameSpool])
    """Decoded clips, `PREVIOUS` among them: frames to be read in any order and as often as one likes."""
    sounds: Mapping[str, Sound] = field(default_factory=dict[str, Sound])
    motions: Mapping[str, Path] = field(default_factory=dict[str, "Path"])
    """Files that `/learnmotion` made."""

    def image(self, name: str) -> Image:
        """The picture that a request's `ImageRef` names."""
        return self.images[name]

    def clip(self, name: str) -> FrameSpool:
        """The clip that a request's `ClipRef` names."""
        return self.clips[name]

    def motion(self, name: str) -> Path:
        """The file that a request's `MaybeMotionRef` names."""
        return self.motions[name]

    def sound(self, name: str) -> Sound:
        """The sound that a request's `SoundRef` names."""
        return self.sounds[name]


@dataclass(frozen=True)
class Thrift:
    """What a render does without, so that it needs less memory. As it stands: nothing."""

    decode_chunk_size: int | None = None
    """Frames to decode at a time; None: as many as this kind of device can."""
    offload: bool = False
    """Networks wait in main memory, and each comes to the device, alone or even in pieces, only while it computes."""
    num_frames: int | None = None
    """Frames to make at most, though more were asked for."""


PLENTY = Thrift()
"""There is memory enough."""


Show = Callable[[Callable[[], Frame]], None]
"""Takes a way to draw a preview, and draws one where it is time for one."""


def unseen(draw: Callable[[], Frame]) -> None:
    """Nobody looks."""


@dataclass(frozen=True)
class Place:
    """Where a system may work: folder of checkpoints, device, dtype of big networks, and who gets memory."""

    models: Path
    device: torch.device
    dtype: torch.dtype
    residency: Residency
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """The system's own table in `config.toml` (`[systems.<name>]`)."""
    show: Show = unseen
    """Whom to offer a preview at every step; the frames themselves are looked at anyway."""


class System(ABC, Generic[R]):
    """One published system. Built once in the renderer child and kept; its networks live in `Place.residency`."""

    def __init__(self, place: Place) -> None:
        self.place = place

    @abstractmethod
    def render(self, request: R, sources: Sources, tick: Tick, thrift: Thrift = PLENTY) -> Clip:
        """Turn a request into a clip: the same frames for the same seed, inputs, models, thrift and kind of device.

        What `thrift` did to the clip is said in its notes.

        Raises:
            Failure: something a person can read is in the way.
            Cancelled: from `tick`.
        """

    def thriftier(self, thrift: Thrift, stage: str) -> Thrift | None:
        """What to try next where memory ran out in `stage` of the last render, or None where nothing is left to try."""
        return None if thrift.offload else replace(thrift, offload=True)

    def holding(self) -> Iterable[str]:
        """Kinds of jobs that it could start now without reading any network."""
        return ()


SystemFactory = Callable[[Place], "System[Any]"]
