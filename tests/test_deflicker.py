"""Deflicker: what jumps becomes steady, and what is wanted stays: detail, fades, cuts, alpha, sound."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from fractions import Fraction
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pydantic import ValidationError

from inference.residency import Residency
from inference.systems.base import PLENTY, Cancelled, Clip, Place, Sources
from inference.systems.deflicker import baselines
from inference.systems.deflicker.colour import (
    GAINS,
    Look,
    Tone,
    course_of,
    lines_from,
    look_at,
    steadying,
    tone_between,
)
from inference.systems.deflicker.flow import WORKING, LocalLight
from inference.systems.deflicker.metrics import detail, flows_of, luma_flicker, psnr, warping_error
from inference.systems.deflicker.motion import chained, flow_between, unmatched, warp
from inference.systems.deflicker.networks import Atlas, LocalRefinement, NeuralFilter
from inference.systems.deflicker.shots import segments, steps_in
from inference.systems.deflicker.system import LEVELS, Deflicker, corrected
from jobs.errors import Note
from jobs.requests.base import PREVIOUS, Shape
from jobs.requests.deflicker import DeflickerRequest
from jobs.texts import say
from media.frames import FrameSpool
from tests.flickering import Floats, Kind, Made, eight_bit, flickered, floats, parallax, spooled, texture

ROOT = Path(__file__).resolve().parents[1]
MANIFESTS = Path(os.environ.get("ZOETROPE_GOLDENS", ROOT.parent / "shared" / "reference")) / "deflicker" / "manifest"
CPU = torch.device("cpu")
HEIGHT, WIDTH = 72, 96
STEADY_NOTE = (Note("deflicker_steady"),)


def keep_going(stage: str, step: int, total: int) -> None:
    """A tick of a job that nobody cancels."""


@pytest.fixture
def room(tmp_path: Path) -> Deflicker:
    return Deflicker(Place(models=tmp_path, device=CPU, dtype=torch.float32, residency=Residency(CPU)))


@cache
def made(count: int = 20, seed: int = 3) -> Made:
    return parallax(count, HEIGHT, WIDTH, seed, pace=0.7)


def render(room: Deflicker, spool: FrameSpool, **options: object) -> tuple[Clip, NDArray[np.uint8]]:
    """The clip and all of its frames; the spool is closed."""
    with spool:
        clip = room.render(DeflickerRequest.model_validate(options), Sources({}, {"clip": spool}), keep_going)
        return clip, np.stack(list(clip.frames))


def mended(room: Deflicker, frames: Floats, **options: object) -> Floats:
    return floats(render(room, spooled(frames), **options)[1])


def brightness(*levels: float) -> Floats:
    return np.array(levels, np.float32)[:, None, None, None]


# What is taken away


@pytest.mark.parametrize(
    ("kind", "times", "gained_db"), [("exposure", 30, 10), ("colour", 15, 8), ("local", 8, 4), ("mixed", 15, 5)]
)
def test_flicker_goes_and_detail_stays(room: Deflicker, kind: Kind, times: float, gained_db: float) -> None:
    """Told by the true motion, against the clean clip."""
    clean = made()
    shaken = flickered(clean.frames, kind)

    steady = mended(room, shaken)

    assert warping_error(steady, clean.flows) * times < warping_error(shaken, clean.flows)
    assert psnr(steady, clean.frames) > psnr(shaken, clean.frames) + gained_db
    assert luma_flicker(steady) < luma_flicker(shaken) / 2
    assert 0.95 < detail(steady, clean.frames) < 1.05


def test_it_does_better_than_what_others_do(room: Deflicker) -> None:
    """Than ffmpeg's luma scaling and than per-channel statistics, on flicker of all kinds at once."""
    clean = made()
    shaken = flickered(clean.frames, "mixed")
    others = {
        "ffmpeg": np.stack(
            [
                baselines.ffmpeg_deflicker(eight_bit(shaken)[..., c]).astype(np.float32) / np.float32(255)
                for c in range(3)
            ],
            -1,
        ),
        "statistics": baselines.mean_and_spread(shaken),
    }

    error = warping_error(mended(room, shaken), clean.flows)

    for name, other in others.items():
        assert error * 5 < warping_error(other, clean.flows), name


def test_stronger_is_steadier(room: Deflicker) -> None:
    clean = made(9)
    shaken = flickered(clean.frames, "mixed")

    errors = [
        warping_error(mended(room, shaken, strength=strength), clean.flows)
        for strength in ("light", "medium", "strong")
    ]

    assert errors == sorted(errors, reverse=True)
    assert errors[0] * 5 < warping_error(shaken, clean.flows)


def test_exposure_mode_leaves_the_parts_of_the_picture_alone(room: Deflicker) -> None:
    """One tone line for each frame and channel: what was equal before is equal after."""
    shaken = flickered(made().frames, "mixed")
    given = eight_bit(shaken)

    _, frames = render(room, spooled(shaken), mode="exposure")

    for before, after in zip(given, frames, strict=True):
        for channel in range(3):
            pairs = np.unique(np.stack([before[..., channel].ravel(), after[..., channel].ravel()]), axis=1)
            assert len(pairs[0]) == len(np.unique(pairs[0]))
            assert (np.diff(pairs[1].astype(int)) >= 0).all()


def test_auto_looks_at_parts_only_where_they_flicker(room: Deflicker) -> None:
    exposure, local = (flickered(made(9).frames, kind) for kind in ("exposure", "local"))

    assert np.array_equal(mended(room, exposure), mended(room, exposure, mode="exposure"))
    assert np.array_equal(mended(room, local), mended(room, local, mode="full"))


def test_bands_that_roll_over_the_picture_are_light_and_no_motion(room: Deflicker) -> None:
    clean, rows = made(), np.arange(HEIGHT)[:, None, None]
    bands = np.stack([1 + 0.15 * np.sin(2 * np.pi * (rows / 40 + 0.37 * t)) for t in range(20)])

    shaken = floats(eight_bit((clean.frames * bands).astype(np.float32)))

    assert warping_error(mended(room, shaken), clean.flows) * 8 < warping_error(shaken, clean.flows)


def test_a_new_thing_in_the_picture_is_not_taken_for_light() -> None:
    """Statistics of the whole picture would darken everything around it."""
    frames = made().frames.copy()
    for t in range(20):
        frames[t, :, : max(0, min(48, 16 * (t - 8)))] = np.array([0.9, 0.85, 0.2], np.float32)

    course = course_of(look_at(frame) for frame in eight_bit(frames))

    assert all(np.abs(tone(np.full(3, 0.5)) - 0.5).max() < 0.01 for tone in steadying(course, 4.0))
    assert psnr(baselines.mean_and_spread(frames), frames) < 34


# What stays


@pytest.mark.parametrize("mode", ["auto", "full"])
def test_a_clean_clip_is_left_as_it_is(room: Deflicker, mode: str) -> None:
    """In `auto` to the last bit, and it is said; in `full` all but unseen, even in fast motion and grain."""
    fast = parallax(8, HEIGHT, WIDTH, pace=2.0).frames
    grain = np.random.default_rng(1).normal(0, 0.02, fast.shape).astype(np.float32)
    for frames in (made(8).frames, fast + grain):
        clip, given = render(room, spooled(frames), mode=mode)

        assert clip.notes == (STEADY_NOTE if mode == "auto" else ())
        assert psnr(floats(given), floats(eight_bit(frames))) >= (38 if mode == "full" else 1000)


FADES = {
    "out": (8 * [1.0], np.linspace(1, 0, 8), 4 * [0.0]),
    "steep": (8 * [1.0], [0.7, 0.35], 10 * [0.1]),
    "in and out": (np.linspace(0, 1, 9), 12 * [1.0], np.linspace(1, 0, 9)),
    "lamp": (9 * [0.5], 11 * [1.0]),
}


@pytest.mark.parametrize(("fade", "mode"), [*((fade, "auto") for fade in FADES), ("out", "full")])
def test_a_real_fade_stays(room: Deflicker, fade: str, mode: str) -> None:
    course = brightness(*np.concatenate(FADES[fade]))
    given = floats(eight_bit(made(len(course)).frames * course))

    kept = mended(room, given, mode=mode)

    assert psnr(kept, given) >= 38
    assert np.abs(kept.mean((1, 2, 3)) - given.mean((1, 2, 3))).max() < 0.01


def test_a_fade_that_flickers_stays_a_fade(room: Deflicker) -> None:
    fading = made().frames * brightness(*np.linspace(1, 0.2, 20))
    shaken = flickered(fading, "exposure")

    kept = mended(room, shaken)

    assert psnr(kept, fading) > psnr(shaken, fading) + 3
    assert np.abs(kept.mean((1, 2, 3)) - fading.mean((1, 2, 3))).max() < 0.06


def test_nothing_bleeds_over_a_cut(room: Deflicker) -> None:
    """Each scene comes out as if the other had never been there."""
    first, second = flickered(made(10).frames, "mixed"), flickered(made(10, 40).frames * np.float32(0.5), "mixed", 8)

    together = mended(room, np.concatenate([first, second]), mode="full")

    assert np.array_equal(together[:10], mended(room, first, mode="full"))
    assert np.array_equal(together[10:], mended(room, second, mode="full"))


def test_flicker_and_motion_are_no_cuts_and_new_scenes_are() -> None:
    for pace in (0.5, 3.0):
        shaken = flickered(parallax(12, HEIGHT, WIDTH, pace=pace).frames, "mixed")
        assert course_of(look_at(frame) for frame in eight_bit(shaken)).shots == (range(12),)

    scenes = [texture(HEIGHT, WIDTH, seed) for seed in range(8)]
    seen = course_of(look_at(frame) for scene in scenes for frame in eight_bit(np.stack([scene, scene])))
    assert seen.shots == tuple(range(start, start + 2) for start in range(0, 16, 2))


def test_alpha_and_sound_pass_untouched(room: Deflicker) -> None:
    shaken = flickered(made(10).frames, "mixed")
    alpha = np.random.default_rng(2).integers(0, 256, shaken.shape[:3], np.uint8)
    spool = spooled(shaken, alpha=alpha)
    spool.sound = np.random.default_rng(3).integers(-9, 9, (4000, 2), np.int16)

    clip, frames = render(room, spool)

    assert clip.channels == 4
    assert np.array_equal(frames[..., 3], alpha)
    assert not np.array_equal(frames[..., :3], eight_bit(shaken))
    assert clip.sound is spool.sound
    assert (clip.width, clip.height, clip.num_frames, clip.fps) == (WIDTH, HEIGHT, 10, Fraction(24))


def test_what_nobody_sees_tells_nothing_about_light(room: Deflicker) -> None:
    """A sticker on a clear ground whose hidden colours are noise: the visible part is steadied as if it were alone."""
    shaken = flickered(made().frames, "exposure")
    shown = np.zeros(shaken.shape[:3], np.uint8)
    shown[:, 10:64, 12:84] = 255
    noisy = np.where(shown[..., None] > 0, shaken, np.random.default_rng(4).random(shaken.shape)).astype(np.float32)

    _, frames = render(room, spooled(noisy, alpha=shown))

    middle = np.s_[:, 14:60, 16:80]
    assert (
        psnr(floats(frames[..., :3])[middle], made().frames[middle]) > psnr(shaken[middle], made().frames[middle]) + 8
    )


# The step itself


def test_the_same_clip_gives_the_same_frames(room: Deflicker) -> None:
    shaken = flickered(made(8).frames, "mixed")

    assert np.array_equal(mended(room, shaken), mended(room, shaken))


@pytest.mark.parametrize(("width", "height"), [(1, 1), (7, 5), (13, 300), (301, 11)])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_any_clip_comes_through(room: Deflicker, width: int, height: int, count: int) -> None:
    frames = np.random.default_rng(width).random((count, height, width, 3)).astype(np.float32)

    _, given = render(room, spooled(frames), mode="full", strength="strong")

    assert given.shape == frames.shape


@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
def test_plain_pictures_come_through(room: Deflicker, level: float) -> None:
    frames = np.full((6, 24, 32, 3), level, np.float32)

    assert np.array_equal(mended(room, frames, mode="full"), floats(eight_bit(frames)))


@pytest.mark.parametrize("at", ["measuring", "steadying"])
@pytest.mark.parametrize("kind", ["exposure", None])
def test_a_cancel_ends_it_at_its_next_frame(room: Deflicker, at: str, kind: Kind | None) -> None:
    frames, heard = made(8).frames, list[tuple[str, int, int]]()

    def cancel(stage: str, step: int, total: int) -> None:
        heard.append((stage, step, total))
        if (stage, step) == (at, 3):
            raise Cancelled

    spool = spooled(flickered(frames, kind) if kind else frames)
    with spool, pytest.raises(Cancelled):
        list(room.render(DeflickerRequest(), Sources({}, {"clip": spool}), cancel).frames)
    assert heard[-1] == (at, 3, 8)


def test_it_holds_a_window_and_never_the_clip() -> None:
    """Small pictures and flows of the neighbours, however long the clip: and no frame is decoded twice for them."""
    frames = eight_bit(flickered(parallax(30, 24, 32, pace=0.3).frames, "local"))
    course, asked = course_of(look_at(frame) for frame in frames), list[int]()
    level = LEVELS["strong"]

    def look(t: int) -> Look:
        asked.append(t)
        return look_at(frames[t], WORKING)

    light = LocalLight(look, course, steadying(course, level.sigma), level.reach)
    for t in range(30):
        light.correction(t)
        assert light.held <= 2 * level.reach.frames + 1

    assert sorted(asked) == list(range(30))


def test_the_request_says_what_comes_out() -> None:
    sources = {"clip": Shape(640, 480, 30, Fraction(24), has_alpha=True, has_sound=True)}
    request = DeflickerRequest()

    assert request.gives(sources) == sources["clip"]
    assert request.work(sources).megapixel_frames == pytest.approx(30 * 0.3072)
    assert DeflickerRequest(clip=PREVIOUS).taken({PREVIOUS: sources["clip"]}) == sources["clip"]
    assert DeflickerRequest.model_validate_json(request.model_dump_json()) == request
    with pytest.raises(ValidationError):
        DeflickerRequest.model_validate({"strength": "brutal"})
    assert "full" in say("deflicker_steady")


def test_there_is_nothing_to_do_without(room: Deflicker) -> None:
    assert room.thriftier(PLENTY, "measuring") is None


# Its parts


def test_a_tone_line_is_found_though_a_third_of_the_picture_changed() -> None:
    rng = np.random.default_rng(0)
    befores = rng.uniform(0.1, 0.8, (3000, 3))
    afters = befores * [1.1, 0.9, 1.0] + [0.02, 0, -0.03] + rng.normal(0, 0.01, befores.shape)
    afters[:900] = rng.uniform(0.1, 0.9, (900, 3))

    tone = tone_between(befores, afters)

    assert tone.gain == pytest.approx([1.1, 0.9, 1.0], abs=0.02)
    assert tone(np.full(3, 0.5)) == pytest.approx([0.57, 0.45, 0.47], abs=0.01)


def test_tone_lines_follow_one_another_and_lead_back() -> None:
    first, second = (
        Tone(np.array([2.0, 1, 1]), np.array([0.1, 0, 0])),
        Tone(np.array([0.5, 1, 2]), np.array([0, 0.2, 0])),
    )
    level = np.array([0.3, 0.4, 0.5])

    assert second.after(first)(level) == pytest.approx(second(first(level)))
    assert first.inverse()(first(level)) == pytest.approx(level)


def test_lines_lead_from_a_frame_to_all_its_neighbours() -> None:
    factors = np.random.default_rng(6).uniform(0.8, 1.2, 8)
    still = np.repeat(made(1).frames * np.float32(0.7), 8, axis=0) * brightness(*factors)
    course = course_of(look_at(frame) for frame in eight_bit(still))

    lines = lines_from(course, 3, range(1, 8))

    for t, line in zip(range(1, 8), lines, strict=True):
        assert line(np.full(3, 0.4)) == pytest.approx(0.4 * factors[t] / factors[3], abs=0.01)


def test_corrections_keep_their_bounds() -> None:
    """One frame that is all but black among bright ones is brightened as far as is allowed, and no farther."""
    frames = np.repeat(made(1).frames, 15, axis=0) * brightness(*[1.0] * 7, 0.3, *[1.0] * 7)

    tones = steadying(course_of(look_at(frame) for frame in eight_bit(frames)), 4.0)

    assert all((GAINS[0] - 1e-9 <= tone.gain).all() and (tone.gain <= GAINS[1] + 1e-9).all() for tone in tones)
    assert tones[7].gain == pytest.approx(GAINS[1])
    assert corrected(eight_bit(frames)[7], tones[7], None).mean() < 128


def test_light_that_is_switched_is_a_step_and_flicker_and_fades_are_none() -> None:
    rng = np.random.default_rng(7)
    lamp = np.r_[np.full(10, 0.3), np.full(10, 0.6)]

    assert steps_in(lamp + rng.uniform(-0.03, 0.03, 20)) == [10]
    assert steps_in(np.linspace(0, 1, 20)) == []
    assert steps_in(np.clip(np.linspace(-4, 5, 60), 0, 1)) == []
    assert sum(len(steps_in(rng.uniform(0.4, 0.6, 200))) for _ in range(50)) <= 1
    assert segments([3, 7], 10) == [range(3), range(3, 7), range(7, 10)]


def test_flow_finds_a_known_motion_whatever_the_light_does() -> None:
    clean = made(6)
    shaken = flickered(clean.frames, "mixed")
    there, back = flow_between(shaken[2], shaken[3]), flow_between(shaken[3], shaken[2])
    wrong = np.hypot(*np.moveaxis(there - clean.flows[2][0], -1, 0))

    assert np.median(wrong) < 0.35
    assert unmatched(there, back).mean() < 0.1
    assert np.array_equal(flow_between(shaken[2][:8], shaken[3][:8]), np.zeros((8, WIDTH, 2)))


def test_warps_move_and_flows_chain() -> None:
    ramp = np.tile(np.arange(20, dtype=np.float32), (14, 1))
    right = np.zeros((14, 20, 2), np.float32) + np.array([1.5, 0], np.float32)

    assert np.allclose(warp(ramp, right)[:, :18], ramp[:, :18] + 1.5, atol=0.04)
    assert np.allclose(chained(right, right), 2 * right)


# Measures, and the published networks


def test_the_measures_say_what_they_should() -> None:
    clean = made(8)
    blurred = np.stack([np.asarray(cv2.GaussianBlur(frame, (0, 0), 2), np.float32) for frame in clean.frames])
    shaken = flickered(clean.frames, "exposure")

    assert warping_error(clean.frames, clean.flows) < 1e-4 < warping_error(shaken, clean.flows)
    assert warping_error(shaken, flows_of(shaken)) == pytest.approx(warping_error(shaken, clean.flows), rel=0.15)
    assert detail(blurred, clean.frames) < 0.6
    assert psnr(clean.frames, clean.frames) == float("inf")
    assert psnr(clean.frames * 0, clean.frames * 0 + 0.1) == pytest.approx(20, abs=0.01)
    assert luma_flicker(shaken) > 10 * luma_flicker(clean.frames)


NETWORKS: dict[str, Callable[[], torch.nn.Module]] = {
    "neural_filter": NeuralFilter,
    "local_refinement_net": LocalRefinement,
    "atlas": lambda: Atlas(2, 3, layers=8, frequencies=10, again=(4, 7)),
    "atlas_mapping": lambda: Atlas(3, 2),
}


@pytest.mark.skipif(not MANIFESTS.is_dir(), reason=f"no manifests in {MANIFESTS}")
@pytest.mark.parametrize("name", NETWORKS)
def test_the_networks_have_the_published_names_and_shapes(name: str) -> None:
    published = json.loads((MANIFESTS / f"{name}.json").read_text("utf-8"))["tensors"]
    with torch.device("meta"):
        network = NETWORKS[name]()

    ours = {key: list(tensor.shape) for key, tensor in network.state_dict().items()}

    assert ours == {key: shape for key, (shape, _) in published.items()}
