"""The steps that change a clip's time: loops without a seam, other speeds, parts cut out; and their sound."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from inference.systems.base import Frame
from inference.systems.loop.morph import Morph
from inference.systems.speed.system import shares
from jobs.errors import Note
from jobs.requests.loop import LoopOverlap, LoopRequest, LoopShort
from jobs.requests.speed import SpeedRequest
from jobs.requests.trim import TrimOrder, TrimPastEnd, TrimRequest
from media.frames import SOUND_RATE
from tests.editing import colours, drifting, noise, numbered, rendered, shape
from tests.spools import spool_of

pytestmark = pytest.mark.usefixtures("closed_spools")


# -- loop --


def steps_of(frames: list[Frame]) -> np.ndarray:
    """Mean difference of each frame to the next, the last one's to the first at the end."""
    return np.array([np.abs(a.astype(int) - b).mean() for a, b in zip(frames, [*frames[1:], frames[0]], strict=True)])


@pytest.mark.parametrize("style", ["blend", "crossfade", "boomerang"])
def test_a_loops_seam_is_no_larger_than_its_usual_step(style: str) -> None:
    source = drifting(24, 1)
    spool = spool_of(source)
    frames = list(rendered(LoopRequest.model_validate({"style": style}), spool).frames)
    steps, usual = steps_of(frames), float(np.median(steps_of(source)[:-1]))

    assert steps_of(source)[-1] > 3 * usual  # as it was, it jumped
    assert steps[-1] <= (1.1 if style == "crossfade" else 1.0) * usual + 1e-9
    assert np.max(steps) <= (1.6 if style == "blend" else 2.5) * usual


def test_closing_frames_are_in_between_not_two_pictures_over_each_other() -> None:
    """What a crossfade washes out, motion keeps: the texture's contrast."""
    spool = spool_of(drifting(24, 1))
    blend, fade = ([*rendered(LoopRequest(style=style), spool).frames] for style in ("blend", "crossfade"))
    whole = float(np.mean([frame.std() for frame in blend[:8]]))

    assert min(float(frame.std()) for frame in blend[-8:]) > 0.9 * whole
    assert min(float(frame.std()) for frame in fade[-8:]) < 0.8 * whole
    assert np.array_equal(blend[0], drifting(9, 1)[8])  # it begins with a frame as it was


def test_a_morph_goes_half_way_with_things_that_move() -> None:
    first, _, second = drifting(3, 2)
    halfway = Morph.between(first, second).at(0.5)
    inner = (slice(8, -8), slice(8, -8))

    assert np.abs(halfway.astype(int) - drifting(2, 2)[1])[inner].mean() < 2.5
    assert np.array_equal(Morph.between(first, second).at(0.0)[inner], first[inner])
    assert np.array_equal(Morph.between(first, second).at(1.0)[inner], second[inner])


def test_ends_that_have_nothing_in_common_are_crossfaded_and_the_person_hears_it() -> None:
    random = np.random.default_rng(0)
    spool = spool_of([random.integers(0, 256, (64, 96, 3), np.uint8) for _ in range(12)])
    clip = rendered(LoopRequest(), spool)
    faded = rendered(LoopRequest(style="crossfade"), spool)
    frames, plain = list(clip.frames), list(faded.frames)

    assert clip.notes == (Note("loop_crossfaded"),)
    assert faded.notes == ()
    assert all(np.array_equal(a, b) for a, b in zip(frames, plain, strict=True))


@pytest.mark.parametrize("style", ["blend", "crossfade"])
def test_what_is_hidden_never_shines_through(style: str) -> None:
    """The same clip with magenta and with black where nothing can be seen gives the same picture."""
    clips: list[list[Frame]] = []
    for hidden in ((255, 0, 255, 0), (0, 0, 0, 0)):
        frames = drifting(12, 1, channels=4)
        for frame in frames:
            frame[frame[..., 3] == 0] = hidden
        clips.append(list(rendered(LoopRequest.model_validate({"style": style}), spool_of(frames)).frames)[-4:])

    for one, other in zip(*clips, strict=True):
        assert 0.1 < (one[..., 3] > 0).mean() < 0.6
        assert np.array_equal(one[..., 3], other[..., 3])
        assert np.array_equal(one[one[..., 3] > 0], other[other[..., 3] > 0])


def test_a_boomerang_shows_its_ends_once() -> None:
    spool = spool_of(numbered(5), sound=noise(0.625))
    clip = rendered(LoopRequest(style="boomerang"), spool)

    assert colours(clip) == [0, 1, 2, 3, 4, 3, 2, 1]
    assert clip.sound is not None
    assert np.array_equal(clip.sound[30_000:], spool.sound[6_000:24_000][::-1])  # type: ignore[index]


def test_a_loops_sound_closes_too() -> None:
    t = np.arange(3 * SOUND_RATE) / SOUND_RATE
    wave = np.stack([9000 * np.sin(2 * np.pi * 100.3 * t)] * 2, axis=1).astype(np.int16)
    spool = spool_of(numbered(24), sound=wave)
    sound = rendered(LoopRequest(), spool).sound

    assert sound is not None
    steps = np.abs(np.diff(np.concatenate([sound, sound[:1]])[:, 0].astype(int)))
    assert steps[-1] <= 1.1 * np.abs(np.diff(wave[:, 0].astype(int))).max()


def test_a_loop_that_cannot_be_made_is_refused_with_what_would_do() -> None:
    with pytest.raises(LoopShort) as short:
        LoopRequest().gives({"clip": shape(frames=2)})
    with pytest.raises(LoopOverlap) as overlap:
        LoopRequest(seconds=2).gives({"clip": shape(frames=24)})

    assert short.value.facts == {"frames": 2, "least": 3}
    assert overlap.value.facts == {"most": 1.5, "seconds": 3.0}
    assert LoopRequest(seconds=1.5).gives({"clip": shape(frames=24)}).num_frames == 12


# -- speed --


def test_faster_and_slower_keep_every_frame_while_the_rate_allows() -> None:
    spool = spool_of(numbered(6), 8)
    twice, half = (rendered(SpeedRequest(factor=factor), spool) for factor in (2, 0.5))

    assert (colours(twice), twice.fps) == ([0, 1, 2, 3, 4, 5], 16)
    assert (colours(half), half.fps) == ([0, 1, 2, 3, 4, 5], 4)
    assert SpeedRequest(factor=4).gives({"clip": shape(fps=30, frames=60)}) == shape(fps=60, frames=30)


def test_at_its_own_rate_frames_are_left_out_or_shown_again() -> None:
    spool = spool_of(numbered(6), 8)
    twice, half = (rendered(SpeedRequest(factor=factor, frames="nearest"), spool) for factor in (2, 0.5))

    assert (colours(twice), twice.fps) == ([0, 2, 4], 8)
    assert colours(half) == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]


def test_a_blend_mixes_what_is_passed() -> None:
    assert shares(Fraction(1, 2), Fraction(1, 2), 9) == [(0, Fraction(1, 2)), (1, Fraction(1, 2))]
    assert shares(Fraction(2), Fraction(2), 9) == [(2, Fraction(1, 2)), (3, Fraction(1, 2))]
    assert shares(Fraction(9), Fraction(3), 9) == [(9, Fraction(1))]
    spool = spool_of([frame * 20 for frame in numbered(6)], 8)
    assert colours(rendered(SpeedRequest(factor=2, frames="blend"), spool)) == [10, 50, 90]


# -- trim --


def test_a_part_is_cut_out_with_its_own_sound() -> None:
    sound = noise(2)
    spool = spool_of(numbered(16), 8, sound)
    part = rendered(TrimRequest(start=0.5, end=1.25), spool)
    thinned = rendered(TrimRequest(start=0.5, every=4), spool)

    assert colours(part) == [4, 5, 6, 7, 8, 9]
    assert part.sound is not None
    assert np.array_equal(part.sound, sound[24_000:60_000])
    assert (colours(thinned), thinned.fps) == ([4, 8, 12], 2)


@pytest.mark.parametrize(("count", "kept"), [(10, [0, 3, 6]), (9, [0, 3, 6]), (11, [0, 3, 6]), (4, [0]), (2, [0])])
@pytest.mark.parametrize("more", [0, 5])
def test_what_is_thinned_out_ends_with_its_sound_and_not_later(count: int, kept: list[int], more: int) -> None:
    """A rest of frames goes: for the time that the last one would stay there is no sound, or none was asked for."""
    sound = noise((count + more) / 10)
    spool = spool_of(numbered(count + more), 10, sound)
    thinned = rendered(TrimRequest(every=3, end=count / 10), spool)
    assert thinned.sound is not None
    seconds = len(kept) / thinned.fps

    assert colours(thinned) == kept
    assert (seconds, thinned.fps) == (Fraction(count // 3 * 3 or count, 10), Fraction(10, min(3, count)))
    assert np.array_equal(thinned.sound, sound[: round(seconds * SOUND_RATE)])


def test_a_part_that_is_not_there_is_refused_with_the_clips_length() -> None:
    for request, asked in ((TrimRequest(start=3), 3.0), (TrimRequest(end=3.2), 3.2)):
        with pytest.raises(TrimPastEnd) as refused:
            request.gives({"clip": shape(frames=20)})
        assert refused.value.facts == {"asked": asked, "seconds": 2.5}
    assert TrimRequest(end=2.55).gives({"clip": shape(frames=20)}).num_frames == 20
    with pytest.raises(TrimOrder) as refused:
        TrimRequest(start=2, end=1)
    assert refused.value.facts == {"start": 2.0, "end": 1.0}
