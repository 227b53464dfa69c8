"""Smooth: what it promises of rate, length, cuts, seams and files, with weights and without."""

from __future__ import annotations

import io
import json
import os
import pickle
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.smooth import BlendMaker, psnr, scene
from inference.residency import Residency
from inference.systems.base import PLENTY, Cancelled, Clip, Frame, Place, Sources, Thrift
from inference.systems.rife.driver import FilmMaker, RifeMaker, feather, scale_for, spans
from inference.systems.rife.errors import SmoothForeign, SmoothUnreadable
from inference.systems.rife.film import Film
from inference.systems.rife.flow import FlowMaker
from inference.systems.rife.ifnet import IFNet
from inference.systems.rife.loader import load_film, load_rife, recognised, rife_tensors, script_tensors, shapes_of
from inference.systems.rife.system import Smooth
from inference.systems.rife.timeline import Look, instants, keys, looked, plan, ssim, thumbnail
from inference.systems.rife.versions import VERSIONS, version_in
from inference.systems.rife.weights import FILM, RIFE_4_7, RIFE_4_26
from jobs.requests.base import Shape
from jobs.requests.smooth import MOST_FRAMES, SmoothRequest, SmoothTooMany, frames_given
from media.frames import FrameSpool
from tests.tiny_models.rife import tiny_film, tiny_rife, training_file, write_film, write_rife

CPU = torch.device("cpu")
REFERENCE = Path(os.environ.get("ZOETROPE_GOLDENS", Path(__file__).resolve().parents[2] / "shared" / "reference"))
MANIFESTS = REFERENCE / "rife" / "manifest"
published = pytest.mark.skipif(not MANIFESTS.is_dir(), reason=f"no manifests in {MANIFESTS}; set ZOETROPE_GOLDENS")


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both tiny checkpoints."""
    folder = tmp_path_factory.mktemp("models")
    write_rife(folder)
    write_film(folder)
    return folder


def keep_going(stage: str, step: int, total: int) -> None:
    """A tick of a job that nobody cancels."""


def place(models: Path = Path("none"), **options: Any) -> Place:
    return Place(models=models, device=CPU, dtype=torch.float32, residency=Residency(CPU), options=options)


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


def small(at: Callable[[float], Frame], moments: Sequence[float], size: tuple[int, int] = (96, 64)) -> list[Frame]:
    """A few frames of a benchmark scene, small."""
    return [np.asarray(cv2.resize(at(moment), size, interpolation=cv2.INTER_AREA), np.uint8) for moment in moments]


def moving(count: int, size: tuple[int, int] = (96, 64), seed: int = 1) -> list[Frame]:
    return small(scene(seed, 6, 3, 10), range(count), size)


def with_alpha(frames: Sequence[Frame]) -> list[Frame]:
    """A disc that travels over nothing."""
    given: list[Frame] = []
    for index, frame in enumerate(frames):
        alpha = np.zeros(frame.shape[:2], np.uint8)
        cv2.circle(alpha, (30 + 4 * index, 30), 18, 255, -1, cv2.LINE_AA)
        given.append(np.dstack([frame, alpha]))
    return given


def render(
    clip: FrameSpool, models: Path = Path("none"), thrift: Thrift = PLENTY, **fields: Any
) -> tuple[Clip, list[Frame]]:
    made = Smooth(place(models)).render(SmoothRequest(**fields), Sources({}, {"clip": clip}), keep_going, thrift)
    return made, list(made.frames)


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


@pytest.mark.parametrize("size", [(97, 61), (1, 1), (200, 17), (33, 128), (130, 66)])
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


# -- the request --


def test_what_it_gives_is_what_comes_out() -> None:
    clip = Shape(96, 64, 5, Fraction(8), has_alpha=True, has_sound=True)
    request = SmoothRequest(factor="x4", loop=True)

    assert request.gives({"clip": clip}) == Shape(96, 64, 20, Fraction(32), has_alpha=True, has_sound=True)
    assert SmoothRequest(fps=24).gives({"clip": clip}) == Shape(96, 64, 13, Fraction(24), True, True)
    assert request.work({"clip": clip}).frames == 20


def test_more_frames_than_a_clip_may_have_are_refused() -> None:
    with pytest.raises(SmoothTooMany) as refused:
        SmoothRequest(factor="x8").gives({"clip": Shape(96, 64, 1800, Fraction(30))})

    assert refused.value.facts == {"frames": 14393, "limit": MOST_FRAMES}


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


# -- large pictures --


@given(st.integers(1, 5000), st.integers(300, 1024))
def test_tiles_cover_everything_and_overlap(length: int, tile: int) -> None:
    parts = spans(length, tile, 128)

    assert parts[0].start == 0
    assert parts[-1].stop == length
    assert all(part.stop - part.start == min(tile, length) for part in parts)
    assert all(before.stop - after.start >= 128 for before, after in pairwise(parts))
    total = torch.zeros(length)
    for part in parts:
        total[part] += feather(part, length, CPU)
    assert total.min() > 0.4


def test_film_in_tiles_is_film_whole(models: Path) -> None:
    """But for what lies farther than the overlap, which a random network hardly looks at."""
    first, second = moving(2, (320, 200))
    whole, tiled = (FilmMaker(place(models), FILM, PLENTY) for _ in range(2))
    tiled.tile = 256
    [one], [other] = (list(maker.between(first, second, [0.5])) for maker in (whole, tiled))

    assert np.abs(one.astype(int) - other).mean() < 3
    assert one.std() > 5, "there is a picture"


def test_large_clips_look_for_motion_at_a_smaller_size() -> None:
    assert [scale_for(*size) for size in ((1920, 1080), (3840, 2160), (2160, 3840), (7680, 4320))] == [
        1,
        0.5,
        0.5,
        0.25,
    ]


@pytest.mark.parametrize("scale", ["0.25", "0.5", "2"])
def test_every_scale_comes_back_to_size(models: Path, scale: str) -> None:
    _, given = render(spool(moving(2, (97, 61))), models, scale=scale)

    assert given[1].shape == (61, 97, 3)


# -- files --


@published
@pytest.mark.parametrize("name", VERSIONS)
def test_every_version_has_the_published_names_and_shapes(name: str) -> None:
    manifest = json.loads((MANIFESTS / "versions.json").read_text("utf-8"))
    assert manifest.keys() == VERSIONS.keys()
    tensors = json.loads((MANIFESTS / manifest[name]).read_text("utf-8"))["tensors"]
    wanted = {key.removeprefix("module."): tuple(shape) for key, (shape, _) in tensors.items()}

    assert shapes_of(VERSIONS[name]) == wanted
    found = recognised(wanted, f"flownet_v{name}.pkl")
    assert found is not None
    assert found == VERSIONS[name]


@published
def test_film_has_the_published_names_and_shapes() -> None:
    tensors = json.loads((MANIFESTS / "film_net.json").read_text("utf-8"))["tensors"]
    with torch.device("meta"):
        ours = {name: tuple(tensor.shape) for name, tensor in Film().state_dict().items()}

    assert ours == {name: tuple(shape) for name, (shape, _) in tensors.items()}


def test_of_versions_with_the_same_tensors_the_name_decides_and_else_the_newest() -> None:
    shapes = shapes_of(VERSIONS["4.25"])

    for names, name in (
        (("flownet_v4.25.pkl",), "4.25"),
        (("flownet.pkl", "rife-4.25"), "4.25"),
        (("flownet.pkl",), "4.26"),
        (("rife47.pth",), "4.26"),
    ):
        found = recognised(shapes, *names)
        assert found is not None
        assert found.name == name


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("flownet_v4.26.pkl", "4.26"),
        ("rife47.pth", "4.7"),
        ("rife417.pth", "4.17"),
        ("rife426_heavy.pth", "4.26.heavy"),
        ("flownet_v4.25.lite.pkl", "4.25.lite"),
        ("RIFEv4.26_0921.zip", "4.26"),
        ("rife-4.9", "4.9"),
        ("flownet.pkl", None),
        ("rife46.pth", "4.6"),
        ("model14.26", None),
        ("rife499.pth", None),
    ],
)
def test_names_that_speak_of_a_version(text: str, version: str | None) -> None:
    assert version_in(text) == version


@pytest.mark.parametrize("version", ["4.0", "4.4", "4.6", "4.7", "4.12", "4.22", "4.25.lite", "4.26.heavy"])
@pytest.mark.parametrize("layout", ["module", "bare"])
def test_every_published_form_is_read_and_recognised(tmp_path: Path, version: str, layout: str) -> None:
    network = tiny_rife(version)
    path = tmp_path / f"flownet_v{version}.pkl"
    torch.save(training_file(network) if layout == "module" else network.state_dict(), path)
    tensors = rife_tensors("rife", path)
    found = recognised({name: tuple(tensor.shape) for name, tensor in tensors.items()}, path.name)

    assert found is not None
    assert found.name == version
    assert tensors.keys() == network.state_dict().keys()
    assert all(torch.equal(tensors[name], tensor) for name, tensor in network.state_dict().items())


def test_the_archive_that_was_never_run_gives_what_running_it_would(models: Path) -> None:
    path = models / "film" / "film_net_fp32.pt"
    ours, wanted = script_tensors("film", path), tiny_film().state_dict()

    assert ours.keys() == wanted.keys()
    assert all(torch.equal(ours[name], tensor) for name, tensor in wanted.items())
    network = load_film(FILM, models, torch.float32)
    assert all(torch.equal(tensor, wanted[name]) for name, tensor in network.state_dict().items())


class _Trap:
    """Unpickled as such, it would write a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.mark),)


def _zipped(members: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return packed.getvalue()


def _bad_files(mark: Path) -> dict[str, bytes]:
    good = io.BytesIO()
    torch.save(training_file(tiny_rife()), good)
    trap = io.BytesIO()
    torch.save({"module.block0": _Trap(mark)}, trap)
    inner = io.BytesIO()
    torch.save([1, 2, 3], inner)
    return {
        "cut off": good.getvalue()[:-2000],
        "empty": b"",
        "text": b"<html>not found</html>" * 50,
        "a trap": trap.getvalue(),
        "a bare trap": pickle.dumps(_Trap(mark)),
        "a trap in a release": _zipped({"train_log/flownet.pkl": trap.getvalue()}),
        "a trap as a program": _zipped({"a/data.pkl": pickle.dumps(_Trap(mark)), "a/version": b"3"}),
        "a list": inner.getvalue(),
        "an empty archive": _zipped({}),
        "a storage of another size": _zipped({"a/data.pkl": b"\x80\x02(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x09tQ.", "a/data/0": b"\0" * 8}),  # noqa: E501
    }  # fmt: skip


@pytest.mark.parametrize("kind", list(_bad_files(Path("none"))))
@pytest.mark.parametrize("read", [rife_tensors, script_tensors])
def test_no_stranger_s_file_does_anything(
    tmp_path: Path, kind: str, read: Callable[[str, Path], dict[str, torch.Tensor]]
) -> None:
    mark, path = tmp_path / "mark", tmp_path / "flownet.pkl"
    path.write_bytes(_bad_files(mark)[kind])

    with pytest.raises(SmoothUnreadable) as refused:
        read("rife-4.26", path)
    assert refused.value.facts == {"model": "rife-4.26", "file": "flownet.pkl"}
    assert not mark.exists()


@pytest.mark.parametrize("read", [rife_tensors, script_tensors])
def test_what_unpacks_to_too_much_is_not_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: Callable[[str, Path], dict[str, torch.Tensor]]
) -> None:
    path = tmp_path / "flownet.pkl"
    path.write_bytes(_zipped({"a/data.pkl": b"\0" * 3_000_000, "train_log/flownet.pkl": b"\0"}))
    monkeypatch.setattr("inference.systems.rife.loader.MOST_BYTES", 1_000_000)
    assert path.stat().st_size < 1_000_000

    with pytest.raises(SmoothUnreadable):
        read("rife-4.26", path)


def test_a_foreign_checkpoint_is_named(tmp_path: Path, models: Path) -> None:
    folder = tmp_path / RIFE_4_7.name
    folder.mkdir()
    torch.save({**tiny_rife().state_dict(), "contextnet.conv1.weight": torch.zeros(2, 2)}, folder / "rife47.pth")
    with pytest.raises(SmoothForeign) as refused:
        load_rife(RIFE_4_7, tmp_path, torch.float32)
    assert refused.value.facts == {"model": "rife-4.7", "file": "rife47.pth"}

    (tmp_path / FILM.name).mkdir()
    (tmp_path / FILM.name / "film_net_fp32.pt").write_bytes(
        _zipped({"a/data.pkl": b"\x80\x02c__torch__\nOther\n)\x81}b."})
    )
    with pytest.raises(SmoothForeign):
        load_film(FILM, tmp_path, torch.float32)


def test_half_precision_is_close_to_full() -> None:
    """The head and blocks in float16, coordinates in float32: what a GPU does."""
    network = tiny_rife().requires_grad_(requires_grad=False)
    first, second = (torch.from_numpy(frame).permute(2, 0, 1)[None].float() / 255 for frame in moving(2, (128, 64)))
    full = network.between(network.pair(first, second), 0.5)
    half = network.half().between(network.pair(first.half(), second.half()), 0.5)

    assert half.dtype == torch.float16
    assert float((half.float() - full).abs().max()) < 0.02


def test_the_oldest_look_again_at_fast_motion() -> None:
    """4.0 and 4.1 double their scales where both flows exceed 32 pixels; the same blocks without the rule do not."""
    network = tiny_rife("4.0")
    with torch.no_grad():
        network.get_submodule("block1").get_parameter("lastconv.bias")[:4] = 40.0
    calm = IFNet(VERSIONS["4.0"].narrowed(8))
    calm.version = replace(calm.version, doubles=False)
    calm.load_state_dict(network.state_dict())
    first, second = (torch.from_numpy(frame).permute(2, 0, 1)[None].float() / 255 for frame in moving(2, (128, 64)))
    asked: list[float] = []
    network.get_submodule("block0").register_forward_pre_hook(lambda _, given: asked.append(given[2]))
    again = network.between(network.pair(first, second), 0.5)

    assert asked == [8, 16]
    assert not torch.equal(again, calm.between(calm.pair(first, second), 0.5))


def test_the_installed_release_archive_is_rife_4_26(models: Path) -> None:
    maker = RifeMaker(place(models), RIFE_4_26, PLENTY)

    assert maker.label == "RIFE 4.26"
