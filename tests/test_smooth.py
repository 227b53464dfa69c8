"""Smooth: what it promises of rate, length, cuts and seams, with weights and without."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.smooth import BlendMaker, psnr, scene
from inference.systems.base import PLENTY, Cancelled, Clip, Frame, Sources, Thrift
from inference.systems.rife.flow import FlowMaker
from inference.systems.rife.system import Smooth
from jobs.requests.base import Shape
from jobs.requests.smooth import MOST_FPS, MOST_FRAMES, SmoothFast, SmoothRequest, SmoothTooMany
from jobs.texts import say, word
from media.frames import FrameSpool
from tests.smoothing import keep_going, moving, place, small, with_alpha
from tests.tiny_models.rife import write_film, write_rife


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both tiny checkpoints."""
    folder = tmp_path_factory.mktemp("models")
    write_rife(folder)
    write_film(folder)
    return folder


OPEN: list[FrameSpool] = []


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    """No test leaves a spool open."""
    yield
    while OPEN:
        OPEN.pop().close()


def spool(frames: Sequence[Frame], fps: Fraction | int = 8) -> FrameSpool:
    height, width, channels = frames[0].shape
    OPEN.append(FrameSpool.filled(frames, width, height, fps, channels=channels))
    return OPEN[-1]


def render(
    clip: FrameSpool, models: Path = Path("none"), thrift: Thrift = PLENTY, **fields: Any
) -> tuple[Clip, list[Frame]]:
    made = Smooth(place(models)).render(SmoothRequest(**fields), Sources({}, {"clip": clip}), keep_going, thrift)
    return made, list(made.frames)


# -- rate, length, cuts, seams: the whole room --


@pytest.mark.parametrize("weights", [True, False], ids=["rife", "flow"])
@pytest.mark.parametrize("factor", ["x2", "x4"])
def test_a_clip_with_alpha_and_sound_comes_out_longer_in_frames_only(models: Path, weights: bool, factor: str) -> None:
    frames = with_alpha(moving(4))
    clip = spool(frames, 8)
    clip.sound = np.arange(2 * 24_000, dtype=np.int16).reshape(-1, 2)
    made, given = render(clip, models if weights else Path("none"), factor=factor)
    multi = int(factor[1])

    assert made.fps == 8 * multi
    assert len(given) == made.num_frames == 3 * multi + 1
    assert all(frame.shape == (64, 96, 4) and frame.dtype == np.uint8 for frame in given)
    for index, frame in enumerate(frames):
        assert (given[index * multi] == frame).all(), "what was there stays as it was"
    assert made.sound is not None
    assert len(made.sound) == round(48_000 * made.num_frames / made.fps)
    assert (made.sound == clip.sound[: len(made.sound)]).all()
    assert made.facts["method"] == ("RIFE 4.26" if weights else "optical flow")
    assert [note.code for note in made.notes] == ([] if weights else ["smooth_by_flow"])


def test_alpha_travels_with_the_picture() -> None:
    """Between two places the disc is in the middle: neither twice half there nor with a dark rim."""
    frames = with_alpha([np.full((64, 96, 3), (200, 80, 40), np.uint8)] * 2)
    frames[1] = np.roll(frames[0], 12, axis=1)
    _, given = render(spool(frames), method="flow")
    middle, wanted = given[1], np.roll(frames[0], 6, axis=1)

    assert np.abs(middle[..., 3].astype(int) - wanted[..., 3]).mean() < 6
    solid = middle[..., 3] > 128
    assert np.abs(middle[solid][:, :3].astype(int) - (200, 80, 40)).max() <= 3


@pytest.mark.parametrize("method", ["rife", "film", "flow"])
def test_the_same_clip_gives_the_same_frames(models: Path, method: str) -> None:
    clip = spool(moving(3))
    one, other = (render(clip, models, method=method)[1] for _ in range(2))

    assert all((first == second).all() for first, second in zip(one, other, strict=True))


@pytest.mark.parametrize("method", ["rife", "film", "flow"])
def test_a_loop_has_no_seam(models: Path, method: str) -> None:
    """A loop that starts elsewhere is the same loop: the seam is made exactly as any other place."""
    frames = moving(4)
    _, given = render(spool(frames), models, method=method, loop=True)
    _, turned = render(spool(frames[2:] + frames[:2]), models, method=method, loop=True)

    assert len(given) == 8
    assert all((one == other).all() for one, other in zip(given[4:] + given[:4], turned, strict=True))
    assert not (given[7] == frames[3]).all()


@pytest.mark.parametrize("method", ["rife", "film", "flow"])
def test_no_morphing_over_a_cut(models: Path, method: str) -> None:
    frames = moving(3) + moving(3, seed=40)
    made, given = render(spool(frames), models, method=method, factor="x4")

    assert made.facts["cuts"] == "1 cut"
    for index in range(9, 12):
        assert (given[index] == frames[2]).all()
    assert (given[12] == frames[3]).all()
    assert not (given[5] == frames[1]).all(), "elsewhere it does its work"


def test_a_seam_that_is_a_cut_is_left_and_said() -> None:
    frames = moving(3) + moving(3, seed=40)
    made, given = render(spool(frames), loop=True)

    assert [note.code for note in made.notes] == ["smooth_by_flow", "smooth_no_seam"]
    assert (given[-1] == frames[-1]).all()


@pytest.mark.parametrize("size", [(97, 61), (1, 1), (200, 12), (200, 17), (33, 128), (130, 66)])
@pytest.mark.parametrize("method", ["rife", "film", "flow"])
def test_any_size(models: Path, method: str, size: tuple[int, int]) -> None:
    frames = moving(2, size)
    _, given = render(spool(frames), models, method=method)

    assert [frame.shape for frame in given] == [(size[1], size[0], 3)] * 3


@pytest.mark.parametrize("loop", [True, False])
def test_one_frame_is_said_to_be_one(loop: bool) -> None:
    frames = moving(1)
    made, given = render(spool(frames), method="flow", factor="x4", loop=loop)

    assert len(given) == made.num_frames == (4 if loop else 1)
    assert all((frame == frames[0]).all() for frame in given)
    assert [note.code for note in made.notes] == ["smooth_one_frame"]


def test_two_frames_and_back() -> None:
    _, given = render(spool(moving(2)), method="flow", loop=True)

    assert len(given) == 4


@pytest.mark.parametrize(("fps", "wanted"), [(7, 24), (Fraction(24000, 1001), 60), (30, 24), (8, 60)])
def test_any_rate_is_reached_exactly(fps: Fraction | int, wanted: int) -> None:
    at = scene(1, 9, 3, 18)
    clip = spool(small(at, range(6)), fps)
    made, given = render(clip, method="flow", fps=wanted)

    assert made.fps == wanted
    assert len(given) == made.num_frames
    for index in (1, len(given) // 2):
        moment = float(index * Fraction(fps) / wanted)
        [truth] = small(at, [moment])
        held = clip[round(moment)]
        assert psnr(given[index], truth) > psnr(held, truth) + 2


def test_repeated_frames_give_way_to_motion() -> None:
    """A clip of 4 frames a second that was brought to 8 by showing each twice: the motion becomes even again."""
    at = scene(1, 4, 1, 6)
    frames = [frame for frame in small(at, [0, 2, 4]) for _ in range(2)]
    _, given = render(spool(frames), method="flow")
    [truth] = small(at, [1.0])

    assert (given[4] == frames[2]).all()
    assert psnr(given[2], truth) > psnr(frames[1], truth) + 5


def test_a_cancel_takes_effect_at_every_step(models: Path) -> None:
    clip, ticks = spool(moving(2)), 0

    def counting(stage: str, step: int, total: int) -> None:
        nonlocal ticks
        ticks += 1

    list(Smooth(place(models)).render(SmoothRequest(), Sources({}, {"clip": clip}), counting).frames)
    assert ticks == 1 + 2 + 3
    for last in range(ticks):
        left = iter(range(last))

        def stop(stage: str, step: int, total: int, left: Iterator[int] = left) -> None:
            if next(left, None) is None:
                raise Cancelled

        with pytest.raises(Cancelled):
            list(Smooth(place(models)).render(SmoothRequest(), Sources({}, {"clip": clip}), stop).frames)


@pytest.mark.parametrize("method", ["rife", "film"])
def test_with_thrift_it_looks_at_less_and_gives_as_much(models: Path, method: str) -> None:
    clip = spool(moving(2))
    system = Smooth(place(models))
    thrift, tried = PLENTY, 0
    while (thriftier := system.thriftier(thrift, "interpolating")) is not None:
        thrift, tried = thriftier, tried + 1
        made, given = render(clip, models, thrift, method=method)
        assert len(given) == made.num_frames == 3
    assert tried == 2


def test_what_was_asked_for_and_is_missing_is_said(models: Path, tmp_path: Path) -> None:
    write_rife(tmp_path)
    clip = spool(moving(2))

    assert render(clip, tmp_path, method="film")[0].notes[0].facts == {"model": "film"}
    assert render(clip, tmp_path, method="auto")[0].facts["method"] == "RIFE 4.26"
    assert render(clip, models, method="film")[0].facts["method"] == "FILM"
    (tmp_path / "rife-4.26" / "RIFEv4.26_0921.zip").unlink()
    assert render(clip, tmp_path, method="rife")[0].notes[0].facts == {"model": "rife-4.26"}
    chosen = Smooth(place(models, checkpoints=("film",)))
    assert chosen.render(SmoothRequest(), Sources({}, {"clip": clip}), keep_going).facts["method"] == "FILM"


@pytest.mark.parametrize("scale", ["0.25", "0.5", "2"])
def test_every_scale_comes_back_to_size(models: Path, scale: str) -> None:
    _, given = render(spool(moving(2, (97, 61))), models, scale=scale)

    assert given[1].shape == (61, 97, 3)


# -- the request --


def test_what_it_gives_is_what_comes_out() -> None:
    clip = Shape(96, 64, 5, Fraction(8), has_alpha=True, has_sound=True)
    request = SmoothRequest(factor="x4", loop=True)

    assert request.gives({"clip": clip}) == Shape(96, 64, 20, Fraction(32), has_alpha=True, has_sound=True)
    assert SmoothRequest(fps=24).gives({"clip": clip}) == Shape(96, 64, 13, Fraction(24), True, True)
    assert request.work({"clip": clip}).frames == 20


def test_more_frames_than_a_clip_may_have_are_refused() -> None:
    with pytest.raises(SmoothTooMany) as refused:
        SmoothRequest(factor="x8").gives({"clip": Shape(96, 64, 1800, Fraction(7))})

    assert refused.value.facts == {"frames": 14393, "limit": MOST_FRAMES}


@pytest.mark.parametrize("fps", [15, 24])
def test_a_rate_that_is_no_higher_is_made_and_said(fps: int) -> None:
    made, _ = render(spool(moving(8), 24), fps=fps, method="flow")

    assert made.fps == fps
    assert [note.code for note in made.notes] == ["smooth_no_more"]
    assert all(say(note.code, note.facts) for note in made.notes)


@pytest.mark.parametrize(
    ("fps", "factor", "rate"),
    [
        (7, "x8", 56),
        (15, "x4", 60),
        (24, "x2", 48),
        (24, "x4", 48),
        (30, "x8", 60),
        (Fraction(30000, 1001), "x4", Fraction(60000, 1001)),
    ],
)
def test_no_factor_leads_beyond_60_frames_a_second(fps: Fraction | int, factor: Any, rate: Fraction | int) -> None:
    """What would gives way to the largest factor that does not, and the person hears it."""
    request = SmoothRequest(factor=factor, method="flow")
    made, given = render(spool(moving(2), fps), factor=factor, method="flow")
    capped = request.asked(Fraction(fps)) > MOST_FPS

    assert request.gives({"clip": Shape(96, 64, 2, Fraction(fps))}).fps == made.fps == rate
    assert len(given) == rate / fps + 1
    assert [note.code for note in made.notes] == ["smooth_capped"] * capped
    assert all(say(note.code, note.facts) for note in made.notes)


@pytest.mark.parametrize("fps", [31, 50, 60, 120])
def test_a_clip_that_is_fast_already_is_refused_with_what_would_do(fps: int) -> None:
    known = {"clip": Shape(96, 64, 50, Fraction(fps))}
    with pytest.raises(SmoothFast) as refused:
        SmoothRequest(factor="x2").gives(known)

    assert word(refused.value).startswith(f"This clip already has {fps} frames a second; ×2 would make {2 * fps}")
    assert SmoothRequest(factor="x2", fps=60).gives(known).fps == 60


# -- quality --


@pytest.mark.parametrize(("pan", "spin", "travel"), [(2, 1, 3), (-3, 2, 8), (1, 6, 3)])
def test_flow_is_far_better_than_blending(pan: float, spin: float, travel: float) -> None:
    at = scene(11, pan, spin, travel)
    for t in (0.5, 0.25):
        truth = at(2 * t)
        [ours] = FlowMaker().between(at(0), at(2), [t])
        [blended] = BlendMaker().between(at(0), at(2), [t])
        assert psnr(ours, truth) > psnr(blended, truth) + 5


def test_what_comes_to_light_is_taken_from_the_frame_that_shows_it() -> None:
    """Around a travelling disc, where one frame shows the disc and the other the ground, there is no ghost."""
    at = scene(3, 0, 0, 14)
    [ours] = FlowMaker().between(at(0), at(2), [0.5])
    truth = at(1).astype(int)
    touched = (np.abs(at(0).astype(int) - at(2)).max(axis=2) > 24) & (
        np.abs(at(0).astype(int) - truth).max(axis=2) > 24
    )
    [blended] = BlendMaker().between(at(0), at(2), [0.5])

    assert np.abs(ours.astype(int) - truth)[touched].mean() < 0.2 * np.abs(blended.astype(int) - truth)[touched].mean()
