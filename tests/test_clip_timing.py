"""From the times of a stranger's frames to a steady rate that can be written again."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from media.clip_timing import MOST_FPS, timeline
from media.formats import encode
from media.frames import FrameSpool


@pytest.mark.parametrize(
    "fps", [Fraction(24000, 1001), Fraction(25), Fraction(30000, 1001), Fraction(60), Fraction(15)]
)
@pytest.mark.parametrize("clock", [1000, 90_000])
def test_a_rate_is_recognised_through_a_coarse_clock(fps: Fraction, clock: int) -> None:
    starts = [Fraction(round(number / fps * clock), clock) for number in range(90)]
    line = timeline(starts, None, 1800)

    assert (line.fps, line.picks, line.uneven) == (fps, tuple(range(90)), False)


def test_gaps_are_filled_and_the_rate_is_that_between_them() -> None:
    starts = [Fraction(number, 30) for number in (*range(10), *range(90, 100))]
    line = timeline(starts, None, 1800)

    assert (line.fps, len(line.picks), line.uneven) == (30, 100, True)
    assert line.picks[10:90] == (9,) * 80


@pytest.mark.parametrize(("fps", "seconds", "kept"), [(60, 45, 30), (240, 10, 60), (30, 60, 30), (144, 10, 48)])
def test_too_many_frames_are_thinned_out_evenly(fps: int, seconds: int, kept: int) -> None:
    line = timeline([Fraction(number, fps) for number in range(fps * seconds)], None, 1800)
    steps = {later - earlier for earlier, later in zip(line.picks, line.picks[1:], strict=False)}

    assert (line.fps, len(line.picks), steps) == (kept, kept * seconds, {fps // kept})
    assert line.thinned == (fps != kept)


@pytest.mark.parametrize("beat", [Fraction(20_000_003, 1_000_000_007), Fraction(999_983, 16_000_057)])
def test_a_rate_made_of_huge_numbers_becomes_one_that_can_be_encoded(beat: Fraction, tmp_path: Path) -> None:
    line = timeline([beat * number for number in (0, 1, 2, 4, 5, 6, 7, 8)], None, 1800)
    pictures = (np.full((64, 64, 3), 25 * pick, np.uint8) for pick in line.picks)

    assert line.picks == (0, 1, 2, 2, 3, 4, 5, 6, 7)
    assert line.fps == pytest.approx(float(1 / beat), rel=1e-4)
    assert (line.fps <= MOST_FPS, line.fps.denominator <= 1001) == (True, True)
    with FrameSpool.filled(pictures, 64, 64, line.fps) as spool:
        for kind in ("mp4", "webm"):
            assert encode(kind, spool, tmp_path / kind, 1_000_000).num_frames == 9


def test_a_rate_of_ntsc_stays_exact_where_frames_are_left_out() -> None:
    beat = Fraction(1001, 30_000)

    assert timeline([beat * number for number in (0, 1, 2, 4, 5)], None, 1800).fps == Fraction(30_000, 1001)
