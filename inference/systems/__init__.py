"""The rooms, one for each published system, and what can be known of them without importing torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inference.depth_weights import DEPTH
from inference.systems.animatediff.installed import installed as animatediff_installed
from inference.systems.animatediff.weights import WEIGHTS as ANIMATEDIFF
from inference.systems.parallax.weights import WEIGHTS as PARALLAX
from inference.systems.rife.weights import WEIGHTS as RIFE
from inference.systems.svd.weights import WEIGHTS as SVD
from inference.systems.upscale.weights import WEIGHTS as UPSCALE
from inference.weights import Weights

if TYPE_CHECKING:
    from inference.systems.base import Place, System


@dataclass(frozen=True)
class Room:
    """A system's name, its published checkpoints, and the class to import in the renderer child."""

    name: str
    factory: str
    """`module:Class`; imported only where torch may be."""
    weights: tuple[Weights, ...] = ()
    runs_without: bool = False
    """Whether it renders without any checkpoint."""
    first: tuple[str, ...] = ()
    """What to fetch for a beginning, where one checkpoint is not enough."""
    family: str = ""
    """The room whose table of `config.toml` holds for this one as well, for they share their checkpoints."""
    tells: Callable[[Path, Mapping[str, Any]], tuple[str, ...] | None] | None = None
    """Which checkpoints can be used, where several must be there together."""

    @property
    def folder(self) -> str:
        """Its folder's name: the published system's, which its command need not bear."""
        return self.factory.split(".")[2]

    def installed(self, models: Path, options: Mapping[str, Any]) -> tuple[str, ...] | None:
        """Names of the checkpoints that can be used; None where the system cannot run."""
        if not options.get("enabled", True):
            return None
        if self.tells:
            return self.tells(models, options)
        offered = options.get("checkpoints", [weights.name for weights in self.weights])
        found = tuple(w.name for w in self.weights if w.name in offered and w.layout_in(models))
        return found if found or self.runs_without else None

    def open(self, place: Place) -> System[Any]:
        """The system itself. Imports torch."""
        module, name = self.factory.split(":")
        return getattr(import_module(module), name)(place)


ANIMATEDIFF_FIRST = ("stable-diffusion-v1-5", "animatediff-v3")
ROOMS = {
    room.name: room
    for room in (
        Room("svd", "inference.systems.svd.system:StableVideoDiffusion", SVD),
        Room(
            "animatediff",
            "inference.systems.animatediff.system:AnimateDiff",
            ANIMATEDIFF,
            first=ANIMATEDIFF_FIRST,
            tells=animatediff_installed,
        ),
        Room(
            "restyle",
            "inference.systems.animatediff.restyle:Restyle",
            first=(*ANIMATEDIFF_FIRST, "controlnet-depth", DEPTH.name),
            family="animatediff",
            tells=animatediff_installed,
        ),
        Room(
            "learnmotion",
            "inference.systems.animatediff.learner:LearnMotion",
            first=ANIMATEDIFF_FIRST,
            family="animatediff",
            tells=animatediff_installed,
        ),
        Room("parallax", "inference.systems.parallax.system:Parallax", PARALLAX, runs_without=True),
        Room("smooth", "inference.systems.rife.system:Smooth", RIFE, runs_without=True),
        Room("deflicker", "inference.systems.deflicker.system:Deflicker", runs_without=True),
        Room("loop", "inference.systems.loop.system:Loop", runs_without=True),
        Room("upscale", "inference.systems.upscale.system:Upscale", UPSCALE, runs_without=True),
        Room("trim", "inference.systems.trim.system:Trim", runs_without=True),
        Room("crop", "inference.systems.crop.system:Crop", runs_without=True),
        Room("speed", "inference.systems.speed.system:Speed", runs_without=True),
        Room("stitch", "inference.systems.stitch.system:Stitch", runs_without=True),
        Room("sound", "inference.systems.sound.system:AddSound", runs_without=True),
        Room("convert", "inference.systems.convert.system:Convert", runs_without=True),
        Room("sticker", "inference.systems.sticker.system:Sticker", runs_without=True),
        Room("emoji", "inference.systems.emoji.system:Emoji", runs_without=True),
    )
}
