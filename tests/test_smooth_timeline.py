"""Smooth's timeline: when frames are made and of which two, and what is seen in a clip before."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.smooth import scene
from inference.systems.rife.timeline import Look, instants, keys, looked, plan, ssim, thumbnail
from jobs.requests.smooth import frames_given
from tests.smoothing import keep_going, moving, small

# -- when --


@given(
    st.integers(1, 12),
    st.fractions(1, 60, max_denominator=1001),
    st.fractions(1, 60, max_denominator=1001),
    st.booleans(),
)
@settings(max_examples=100, deadline=None)
def test_new_frames_are_evenly_spaced_and_never_beyond_the_clip(
    count: int, fps: Fraction, rate: Fraction, loop: bool
) -> None:
    moments = list(instants(count, fps, rate, loop))

    assert len(moments) == frames_given(count, fps, rate, loop)
    assert moments[0] == 0
    assert len({after - before for before, after in pairwise(moments)}) <= 1
    if loop:
        step = Fraction(count, len(moments))
        assert moments[-1] + step == count, "the step over the seam is a step as any"
    else:
        assert count - 1 - fps / rate < moments[-1] <= count - 1


@given(st.integers(1, 12), st.sampled_from([2, 4, 8]))
def test_a_factor_gives_the_published_number_of_frames(count: int, multi: int) -> None:
    fps = Fraction(7)

    assert frames_given(count, fps, fps * multi, loop=False) == (count - 1) * multi + 1
    assert frames_given(count, fps, fps * multi, loop=True) == count * multi


@st.composite
def looks(draw: st.DrawFn) -> Look:
    count = draw(st.integers(1, 14))
    return Look(
        count,
        draw(st.frozensets(st.integers(0, count - 1))),
        draw(st.frozensets(st.integers(1, count - 1))) if count > 1 else frozenset(),
    )


@given(looks(), st.fractions(1, 60, max_denominator=7), st.fractions(1, 60, max_denominator=7), st.booleans())
@settings(max_examples=150, deadline=None)
def test_nothing_is_ever_mixed_over_a_cut_or_beyond_the_ends(
    look: Look, fps: Fraction, rate: Fraction, loop: bool
) -> None:
    moments = list(instants(look.count, fps, rate, loop))
    steps = list(plan(look, moments, loop))

    assert len(steps) == len(moments)
    for moment, step in zip(moments, steps, strict=True):
        if step.t == 0:
            assert step.left <= moment < step.left + 1, "a frame stands no longer than until the next one's time"
            continue
        right = step.right or look.count
        assert step.left < moment < right
        assert moment == step.left + Fraction(step.t).limit_denominator(10**6) * (right - step.left)
        assert not look.cuts & set(range(step.left, right))
        assert right < look.count or loop
        assert set(range(step.left + 1, right)) <= look.repeats, "only repeats are passed over"


def test_originals_are_handed_on_and_in_betweens_lie_in_the_middle() -> None:
    steps = list(plan(Look(3), instants(3, Fraction(8), Fraction(16), loop=False), loop=False))

    assert [(step.left, step.right, step.t) for step in steps] == [
        (0, 0, 0), (0, 1, 0.5), (1, 1, 0), (1, 2, 0.5), (2, 2, 0),
    ]  # fmt: skip


def test_a_frame_that_repeats_for_a_moment_gives_way_and_a_standing_picture_stays() -> None:
    assert keys(Look(6, repeats=frozenset({1, 3, 5}))) == [0, 2, 4]
    assert keys(Look(7, repeats=frozenset({2, 3, 4}))) == [0, 1, 2, 3, 4, 5, 6]


# -- what is seen in a clip --


def test_a_picture_is_like_itself_and_not_like_another() -> None:
    first, other = (thumbnail(frame) for frame in (*moving(1), *moving(1, seed=40)))

    assert ssim(first, first) == pytest.approx(1)
    assert ssim(first, other) < 0.2


@pytest.mark.parametrize("speed", [2, 12, 30])
def test_fast_motion_is_no_cut_and_a_cut_in_it_is_found(speed: float) -> None:
    one, other = scene(1, speed / 3, 4, speed), scene(40, -speed / 3, 4, speed)
    frames = small(one, range(5)) + small(other, range(5))

    assert looked(frames, keep_going).cuts == {4, 9}, "4, and the seam from one scene to the other"


def test_a_cut_between_like_compositions_is_told_by_its_colours() -> None:
    """The same shapes in other colours, so that structure alone would not tell."""
    frames = moving(10)
    turned = [np.ascontiguousarray(255 - frame[..., ::-1] // 2) for frame in frames[5:]]

    assert 4 in looked(frames[:5] + turned, keep_going).cuts


def test_a_fade_is_no_cut() -> None:
    frame = moving(1)[0].astype(np.float32)
    fade = [(frame * level).astype(np.uint8) for level in np.linspace(1, 0.05, 16)]

    assert looked([*fade, *fade[::-1]], keep_going).cuts == frozenset()


def test_frames_coded_twice_are_told_from_frames_that_move_a_little() -> None:
    frames = moving(3)
    noise = np.random.default_rng(0).integers(0, 4, frames[0].shape) == 0
    again = np.clip(frames[1].astype(int) + noise, 0, 255).astype(np.uint8)
    blink = frames[2].copy()
    blink[20:26, 20:30] = 255

    assert looked([frames[0], frames[1], again, frames[2], blink], keep_going).repeats == {2}
