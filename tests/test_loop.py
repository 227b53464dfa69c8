"""Loop's request: how much of a clip may close it."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.requests.base import Shape
from jobs.requests.loop import LoopOverlap, LoopRequest, LoopShort


def clip(frames: int, fps: Fraction | int) -> Shape:
    return Shape(64, 48, frames, Fraction(fps))


@given(st.integers(3, 600), st.fractions(1, 120, max_denominator=1001), st.floats(0.1, 5))
def test_the_length_that_a_refusal_advises_is_accepted(frames: int, fps: Fraction, seconds: float) -> None:
    known = clip(frames, fps)
    request = LoopRequest(seconds=seconds)
    try:
        overlap = request.overlap(known)
    except LoopOverlap as refused:
        overlap = LoopRequest.model_validate({"seconds": refused.facts["most"]}).overlap(known)

    assert 1 <= overlap <= frames // 2


def test_half_an_odd_number_of_frames_is_rounded_down() -> None:
    """7 frames at 10 a second: 0.35 s would be four of them."""
    with pytest.raises(LoopOverlap) as refused:
        LoopRequest(seconds=1).overlap(clip(7, 10))

    assert refused.value.facts == {"most": 0.3, "seconds": 0.7}
    assert LoopRequest(seconds=0.3).overlap(clip(7, 10)) == 3


def test_the_least_that_can_be_asked_for_always_fits() -> None:
    with pytest.raises(LoopOverlap) as refused:
        LoopRequest(seconds=0.2).overlap(clip(3, 24))

    assert refused.value.facts["most"] == 0.1
    assert LoopRequest(seconds=0.1).overlap(clip(3, 24)) == 1
    with pytest.raises(LoopShort):
        LoopRequest(seconds=0.1).overlap(clip(2, 24))
