"""Deflicker: the whole picture's tones are steadied, then the light of its parts. No network, no seed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from inference.editing import clip_of, shape_of
from inference.flow import Floats
from inference.systems.base import PLENTY, Clip, Frame, Sources, System, Thrift, Tick
from inference.systems.deflicker.colour import Course, Look, Tone, course_of, look_at, restlessness, steadying
from inference.systems.deflicker.flow import WORKING, LocalLight, Reach
from jobs.errors import Note
from jobs.requests.deflicker import DeflickerRequest, Strength
from media.frames import FrameSpool

STEADY = 0.0015
"""Levels, 0..1, by which a clip may jump and yet be left alone: half of what eight bits can say."""
CALM = 0.006
"""Luma, 0..1, by which parts of a picture may jump and yet be left alone."""


@dataclass(frozen=True)
class Level:
    """What a strength means."""

    sigma: float
    """Frames to either side over which the whole picture's tones are smoothed."""
    reach: Reach
    """How far the light of its parts is."""


LEVELS: dict[Strength, Level] = {
    "light": Level(2.0, Reach(2, 1.5, 0.8)),
    "medium": Level(4.0, Reach(3, 2.0, 1.0)),
    "strong": Level(8.0, Reach(5, 3.5, 1.0)),
}


class Deflicker(System[DeflickerRequest]):
    """The clip is read once to learn how it flickers; the frames are made at a second reading."""

    def render(self, request: DeflickerRequest, sources: Sources, tick: Tick, thrift: Thrift = PLENTY) -> Clip:
        """Learn the clip's course, and hand over its frames with what jumps in it taken away."""
        spool, level = sources.clip(request.clip), LEVELS[request.strength]
        course = measured(spool, tick)
        tones = steadying(course, level.sigma)
        steady = restlessness(course, tones) < STEADY
        parts = request.mode == "full" or (request.mode == "auto" and course.unrest >= CALM)
        if steady and not parts:
            frames, notes = untouched(spool, tick), (Note("deflicker_steady"),)
        else:
            light = LocalLight(lambda t: look_at(spool[t], WORKING), course, tones, level.reach) if parts else None
            frames, notes = steadied(spool, tones, light, tick), ()
        return clip_of(shape_of(spool), frames, spool.channels, spool.sound, notes)

    def thriftier(self, thrift: Thrift, stage: str) -> None:
        """There is nothing to do without: a handful of small pictures is all that is held."""
        return


def measured(spool: FrameSpool, tick: Tick) -> Course:
    """The first reading."""

    def looks() -> Iterator[Look]:
        for t, frame in enumerate(spool):
            tick("measuring", t, spool.count)
            yield look_at(frame)

    return course_of(looks())


def untouched(spool: FrameSpool, tick: Tick) -> Iterator[Frame]:
    """The frames as they are."""
    for t, frame in enumerate(spool):
        tick("steadying", t, spool.count)
        yield frame


def steadied(spool: FrameSpool, tones: list[Tone], light: LocalLight | None, tick: Tick) -> Iterator[Frame]:
    """The frames, each with its tone line and, where there is one, its parts' correction."""
    for t, frame in enumerate(spool):
        tick("steadying", t, spool.count)
        yield corrected(frame, tones[t], light.correction(t) if light else None)


def corrected(frame: Frame, tone: Tone, light: Floats | None) -> Frame:
    """A frame uint8 `[H, W, 3 or 4]` behind a tone line, `light` `[h, w, 3]` (0..1) added; alpha as it was."""
    levels = np.arange(256, dtype=np.float64)[:, None]
    table = (levels * tone.gain + 255 * tone.offset).astype(np.float32)  # [256, 3]
    colours = np.ascontiguousarray(frame[..., :3])
    if light is None:
        done = cv2.LUT(colours, np.rint(table.clip(0, 255)).astype(np.uint8)[None])
    else:
        full = cv2.resize(255 * light, (frame.shape[1], frame.shape[0]), interpolation=cv2.INTER_LINEAR)
        done = np.rint((cv2.LUT(colours, table[None]) + full).clip(0, 255)).astype(np.uint8)
    return np.asarray(np.dstack([done, frame[..., 3:]]) if frame.shape[-1] == 4 else done, np.uint8)
