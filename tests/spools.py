"""Spools of frames for one test."""

from __future__ import annotations

from fractions import Fraction

from media.frames import Frame, FrameSpool, Sound

OPEN: list[FrameSpool] = []
"""Those of the test that runs; `closed_spools` closes them after it."""


def spool_of(frames: list[Frame], fps: Fraction | int = 8, sound: Sound | None = None) -> FrameSpool:
    height, width, channels = frames[0].shape
    spool = FrameSpool.filled(frames, width, height, fps, channels=channels)
    spool.sound = sound
    OPEN.append(spool)
    return spool
