"""Deflicker: what jumps becomes steady, and what is wanted stays: detail, fades, cuts, alpha, sound."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pydantic import ValidationError

from benchmarks import flicker_baselines as baselines
from benchmarks.flicker_metrics import detail, luma_flicker, psnr, warping_error
from inference.residency import Residency
from inference.systems.base import PLENTY, Cancelled, Clip, Place, Sources
from inference.systems.deflicker.system import Deflicker
from jobs.errors import Note
from jobs.requests.base import PREVIOUS, Shape
from jobs.requests.deflicker import DeflickerRequest
from jobs.texts import say
from media.frames import FrameSpool
from tests import references
from tests.flickering import (
    HEIGHT,
    WIDTH,
    Floats,
    Kind,
    brightness,
    eight_bit,
    flickered,
    floats,
    made,
    parallax,
    spooled,
)

ROOT = Path(__file__).resolve().parents[1]
MANIFESTS = references.FOLDER / "deflicker" / "manifest"
CPU = torch.device("cpu")
STEADY_NOTE = (Note("deflicker_steady"),)


def keep_going(stage: str, step: int, total: int) -> None:
    """A tick of a job that nobody cancels."""


@pytest.fixture
def room(tmp_path: Path) -> Deflicker:
    return Deflicker(Place(models=tmp_path, device=CPU, dtype=torch.float32, residency=Residency(CPU)))


def render(room: Deflicker, spool: FrameSpool, **options: object) -> tuple[Clip, NDArray[np.uint8]]:
    """The clip and all of its frames; the spool is closed."""
    with spool:
        clip = room.render(DeflickerRequest.model_validate(options), Sources({}, {"clip": spool}), keep_going)
        return clip, np.stack(list(clip.frames))


def mended(room: Deflicker, frames: Floats, **options: object) -> Floats:
    return floats(render(room, spooled(frames), **options)[1])


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


@pytest.mark.parametrize(("width", "height"), [(1, 1), (7, 5), (13, 300), (301, 11), (200, 20)])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_any_clip_comes_through(room: Deflicker, width: int, height: int, count: int) -> None:
    frames = np.random.default_rng(width).random((count, height, width, 3)).astype(np.float32)

    _, given = render(room, spooled(frames), mode="full", strength="strong")

    assert given.shape == frames.shape


def test_a_banner_comes_through(room: Deflicker) -> None:
    """Made small it is 14 rows high: there OpenCV's flow ends the process."""
    shaken = flickered(parallax(2, 70, 640).frames, "mixed")

    assert mended(room, shaken, mode="full").shape == shaken.shape


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
