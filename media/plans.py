"""What a format without rate control gives up to become lighter, in which order: quality, size, frames, length."""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

from jobs.errors import Note
from media.fitting import Encoded
from media.frames import Footage, Frame
from media.likeness import likeness
from media.passes import Meter, OnFrame, frames_at, resized, runs

MODEST_SIDE = 320
"""Down to this long side the picture shrinks; below it, frames are dropped first."""
SHORTEST_SIDE = 32
FEWEST_FPS = Fraction(6)
PIXEL_BITS = 0.85
"""Halvings of weight for each halving of the number of pixels: details that are left cost more. Measured at half the
quality on the clips of benchmarks/encode.py, from the first size to a quarter of each side: 0.7 (WebP), 0.8 (WebM),
0.85 (APNG) and 0.9 (GIF) on the mean, 0.2 to 1.3 on single ones, which samples find out."""
RATE_BITS = 0.8
"""The same for frames: what moves between two that are left moves farther. Measured alike, down to a quarter of the
frames: 1.0 (WebP, APNG), 0.8 (GIF), and 0.1 to 0.8 (WebM, which stores motion rather than pictures)."""


@dataclass(frozen=True)
class Plan:
    """How one pass is made."""

    fps: Fraction
    quality: float = 1.0
    """1 (best) to 0: what the format makes of it."""
    scale: float = 1.0
    share: float = 1.0
    """Of the clip's length, from its start."""


@dataclass(frozen=True)
class Road:
    """The way from the best plan to the poorest, in steps that each about halve the weight."""

    footage: Footage
    first_fps: Fraction
    quality_bits: float
    """Halvings between best and worst quality."""
    fixed_size: bool = False
    size_first: bool = False
    """Few colours look worse than a smaller picture; low quality of other formats looks better."""

    @property
    def _stretches(self) -> tuple[tuple[str, float], ...]:
        longest = max(self.footage.width, self.footage.height)
        modest, smallest = min(1.0, MODEST_SIDE / longest), min(1.0, SHORTEST_SIDE / longest)
        slower = RATE_BITS * math.log2(max(1, self.first_fps / FEWEST_FPS))
        if self.fixed_size:
            return ("quality", self.quality_bits), ("fps", slower), ("share", math.log2(max(1, self.footage.count)))
        quality, smaller = ("quality", self.quality_bits), ("scale", -2 * PIXEL_BITS * math.log2(modest))
        return (
            *((smaller, quality) if self.size_first else (quality, smaller)),
            ("fps", slower),
            ("scale", 2 * PIXEL_BITS * math.log2(modest / smallest)),
        )

    @property
    def end(self) -> float:
        """The last step."""
        return sum(length for _, length in self._stretches)

    def plan(self, step: float) -> Plan:
        """The plan that stands `step` along the road."""
        gone = {"quality": 0.0, "scale": 0.0, "fps": 0.0, "share": 0.0}
        for what, length in self._stretches:
            walked = min(step, length)
            gone[what] += walked
            step -= walked
        slower = Fraction(2 ** -(gone["fps"] / RATE_BITS)).limit_denominator(200)
        return Plan(
            fps=self.first_fps if not gone["fps"] else min(self.first_fps, max(FEWEST_FPS, self.first_fps * slower)),
            quality=1 - gone["quality"] / self.quality_bits if self.quality_bits else 1.0,
            scale=2 ** -(gone["scale"] / (2 * PIXEL_BITS)),
            share=2 ** -gone["share"],
        )


class Format(Protocol):
    """How one format writes frames, all of them or a run."""

    def write(self, plan: Plan, places: list[int], path: Path, meter: Meter, on_frame: OnFrame | None) -> bool:
        """Write the footage's frames at `places`; False where the meter gave the pass up."""
        ...


@dataclass(frozen=True)
class Sampled:
    """A `Course` over a format that can write any run of frames."""

    road: Road
    format: Format
    on_frame: OnFrame | None
    run_frames: int = 3
    """The shortest run from which the rest can be told."""
    sound_bytes: int = 0
    """What sound will add; runs are written without it."""

    @property
    def end(self) -> float:
        """The last step."""
        return self.road.end

    def encode(self, step: float, path: Path, limit_bytes: int) -> int:
        """Write the whole clip; its size or a forecast of it."""
        plan = self.road.plan(step)
        places = picked(self.road.footage, plan)
        meter = Meter(limit_bytes, len(places))
        whole = self.format.write(plan, places, path, meter, self.on_frame)
        return path.stat().st_size if whole else meter.forecast()

    def sample(self, step: float) -> int:
        """The weight of a first frame and of the many that follow one, from a few runs."""
        plan = self.road.plan(step)
        places = picked(self.road.footage, plan)
        firsts, others, besides = list[float](), list[float](), list[int]()
        with TemporaryDirectory(prefix="zoetrope-sample-") as folder:
            for run in runs(places, self.run_frames):
                path, meter = Path(folder) / "run", Meter(math.inf, len(run))
                self.format.write(plan, run, path, meter, self.on_frame)
                firsts.append(meter.sizes[0])
                others += meter.sizes[1:]
                besides.append(path.stat().st_size - sum(meter.sizes))
        following = sum(others) / len(others) if others else 0.0
        pictures = sum(firsts) / len(firsts) + following * (len(places) - 1)
        return round(pictures + min(besides) + self.sound_bytes)


Read = Callable[[Path, int], Iterable[Frame]]
"""Every so-many-th frame of a file, from the first on."""


def finished(road: Road, step: float, path: Path, passes: int, read: Read, poorer: Note | None) -> Encoded:
    """What is to be known of the file at `path`, made by the plan at `step`; `poorer` tells of quality given up."""
    footage, plan = road.footage, road.plan(step)
    (width, height), places = size(footage, plan), picked(footage, plan)
    return Encoded(
        path=path,
        size_bytes=path.stat().st_size,
        width=width,
        height=height,
        num_frames=len(places),
        fps=plan.fps,
        passes=passes,
        notes=given_up(footage, road.plan(0), plan, poorer),
        ssim=likeness(footage, places, partial(read, path)),
    )


def picked(footage: Footage, plan: Plan) -> list[int]:
    """Which frames are shown: for each moment of the file the one that is on at that time."""
    kept = max(1, round(footage.count * plan.share))
    count = max(1, math.ceil(kept * plan.fps / footage.fps))
    return [math.floor(number * footage.fps / plan.fps) for number in range(count)]


def size(footage: Footage, plan: Plan) -> tuple[int, int]:
    """Width and height in pixels by a plan."""
    return max(1, round(footage.width * plan.scale)), max(1, round(footage.height * plan.scale))


def shown(footage: Footage, plan: Plan, places: list[int]) -> Iterator[Frame]:
    """The frames at `places` in the plan's size."""
    width, height = size(footage, plan)
    return (resized(frame, width, height) for frame in frames_at(footage, places))


def moments(footage: Footage, plan: Plan, places: list[int], unit: Fraction, shortest: int = 1) -> list[int]:
    """When each frame begins, and when the last one ends, in units of the format's clock.

    Moments are rounded, not delays: those differ by a unit, their mean is exact. The file lasts as long as what is
    shown of the footage, its last frame at least `shortest` units.
    """
    begins = [round(number / plan.fps / unit) for number in range(len(places))]
    end = round(max(1, round(footage.count * plan.share)) / footage.fps / unit)
    return [*begins, max(begins[-1] + shortest, end)]


def given_up(footage: Footage, first: Plan, plan: Plan, quality: Note | None) -> tuple[Note, ...]:
    """What to tell people: smaller, `quality` where it is given, fewer frames, fewer seconds."""
    notes: list[Note] = []
    if plan.scale < 1:
        width, height = size(footage, plan)
        was = {"from_width": footage.width, "from_height": footage.height}
        notes.append(Note("made_smaller", {"width": width, "height": height, **was}))
    if quality:
        notes.append(quality)
    if plan.fps < first.fps:
        notes.append(Note("fewer_frames", {"fps": round(float(plan.fps), 1)}))
    if plan.share < first.share:
        seconds = round(float(round(footage.count * plan.share) / footage.fps), 1)
        notes.append(Note("fewer_seconds", {"seconds": seconds}))
    return tuple(notes)
