"""Parallax: what its camera promises, and its moves over a flat picture."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from inference.systems.base import Cancelled, Sources
from inference.systems.parallax.camera import planar_path
from inference.systems.parallax.easing import instants, orbit_at, progress
from inference.systems.parallax.planar import reduced
from inference.systems.parallax.system import Parallax, flat
from inference.systems.parallax.trip import deep_path
from inference.systems.parallax.window import Window, matrix_of, seen_corners, window_for
from jobs.requests.parallax import DEEP_MOVES, Easing, Move, ParallaxRequest
from tests.travelling import clip_of, frames_of, keep_going, place, texture, travel

MOVES: tuple[Move, ...] = get_args(Move)
EASINGS: tuple[Easing, ...] = get_args(Easing)
requests = st.builds(
    ParallaxRequest,
    move=st.sampled_from(MOVES),
    amount=st.integers(1, 100),
    seconds=st.floats(0.5, 10),
    loop=st.booleans(),
    easing=st.sampled_from(EASINGS),
)
windows = st.builds(window_for, st.integers(1, 9000), st.integers(1, 9000), st.sampled_from((360, 480, 720, 1080)))
times = st.floats(0, 1)


# -- the camera --


@given(requests, windows, times)
@settings(max_examples=400, deadline=None)
def test_no_view_of_a_flat_picture_leaves_it(request: ParallaxRequest, window: Window, t: float) -> None:
    corners = seen_corners(matrix_of(planar_path(request, window)(t), window), window)

    assert (corners > -1e-3 * window.scale).all()
    assert (corners < np.array([window.width, window.height]) + 1e-3 * window.scale).all()


@given(requests.filter(lambda request: request.move in DEEP_MOVES), windows, times, times, st.sampled_from((0.0, 1.0)))
@settings(max_examples=400, deadline=None)
def test_no_line_of_sight_leaves_a_picture_with_depth(
    request: ParallaxRequest, window: Window, t: float, pivot: float, q: float
) -> None:
    matrix = np.vstack([deep_path(request, window, pivot)(t).at(q), [0, 0, 1]])
    corners = seen_corners(matrix, window)

    assert (corners > -1e-6 * window.width - 1e-6 * window.height).all()
    assert (corners < np.array([window.width, window.height]) * (1 + 1e-6) + 1e-6).all()


@given(requests, windows)
@settings(max_examples=150, deadline=None)
def test_a_loop_arrives_where_it_started_at_the_speed_at_which_it_started(
    request: ParallaxRequest, window: Window
) -> None:
    path = planar_path(request.model_copy(update={"loop": True}), window)

    def corners(t: float) -> np.ndarray:
        return seen_corners(matrix_of(path(t), window), window) / max(window.width, window.height)

    start, end = corners(0), corners(1)
    leaving, arriving = (corners(1e-4) - start) / 1e-4, (end - corners(1 - 1e-4)) / 1e-4
    assert np.abs(end - start).max() < 1e-6
    assert np.abs(leaving - arriving).max() < 0.02


@pytest.mark.parametrize("easing", EASINGS)
@pytest.mark.parametrize("loop", [True, False])
def test_no_easing_jumps_or_leaves_its_way(easing: Easing, loop: bool) -> None:
    steps = np.linspace(0, 1, 2001)
    way = np.array([progress(float(t), easing, loop) for t in steps])
    ring = np.array([orbit_at(float(t), easing, loop) for t in steps])

    assert way.min() >= 0
    assert way.max() <= 1
    assert way[0] == pytest.approx(0, abs=1e-9)
    assert way.max() == pytest.approx(1, abs=1e-6)
    assert np.abs(np.diff(way, n=2)).max() < 1e-4  # no jump of speed
    assert np.abs(np.diff(ring, n=2, axis=0)).max() < 1e-4
    assert np.hypot(*ring.T) == pytest.approx(1)


def test_a_smooth_move_starts_and_stops_at_rest_and_a_linear_one_keeps_its_speed() -> None:
    smooth, linear = ([progress(i / 100, easing, loop=False) for i in range(101)] for easing in ("smooth", "linear"))

    assert max(smooth[1], 1 - smooth[-2]) < 1e-4
    assert np.ptp(np.diff(linear)) < 1e-9


def test_a_loop_shows_no_instant_twice_and_a_one_way_move_arrives() -> None:
    assert instants(4, loop=True) == [0, 0.25, 0.5, 0.75]
    assert instants(5, loop=False) == [0, 0.25, 0.5, 0.75, 1]


# -- sizes --


@pytest.mark.parametrize(
    ("picture", "size", "output"),
    [
        ((1920, 1080), 720, (1280, 720)),
        ((1080, 1920), 720, (720, 1280)),
        ((512, 512), 720, (512, 512)),  # never larger than the picture
        ((301, 201), 720, (300, 200)),  # even sides
        ((6000, 4000), 1080, (1620, 1080)),
        ((4000, 2000), 1080, (1920, 960)),  # the longer side has a limit too
        ((30000, 1000), 720, (1728, 720)),  # a panorama is seen through cinema's shape
        ((3000, 100), 720, (240, 100)),
        ((1, 1), 720, (64, 64)),
    ],
)
def test_the_output_has_the_pictures_shape_within_limits(
    picture: tuple[int, int], size: int, output: tuple[int, int]
) -> None:
    window = window_for(*picture, size)

    assert (window.out_width, window.out_height) == output


@pytest.mark.parametrize("size", [(1, 1), (1, 700), (2000, 3), (63, 64), (1200, 40)])
@pytest.mark.parametrize("move", MOVES)
def test_odd_pictures_give_clips_of_their_own_colour(size: tuple[int, int], move: Move) -> None:
    frames = frames_of(Image.new("RGB", size, (10, 200, 90)), move=move, seconds=0.5, fps=10)

    assert len(frames) == 5
    assert all((frame == (10, 200, 90)).all() for frame in frames)


def test_the_clip_says_truly_what_its_frames_are() -> None:
    clip = clip_of(texture(300, 200), seconds=1.5, fps=10)
    frames = list(clip.frames)

    assert (clip.num_frames, clip.fps) == (15, 10)
    assert {frame.shape for frame in frames} == {(clip.height, clip.width, 3)}
    assert {frame.dtype for frame in frames} == {np.dtype(np.uint8)}
    assert len(frames) == 15


# -- flat moves --


@pytest.mark.parametrize(
    ("move", "right", "down"), [("pan left", 1, 0), ("pan right", -1, 0), ("pan up", 0, 1), ("pan down", 0, -1)]
)
def test_a_pan_moves_the_camera_so_the_content_goes_the_other_way(move: Move, right: int, down: int) -> None:
    picture = texture(320, 320)
    first, *_, last = frames_of(picture, move=move, amount=20, loop=False, seconds=0.5, easing="linear", fps=10)
    measured = travel(first, last)

    # 20 % of 0.3 sides, seen through the zoom that makes room for it.
    distance = 0.06 * 320 / (1 - 0.06)
    assert measured == pytest.approx((right * distance, down * distance), abs=0.5)


@pytest.mark.parametrize("move", ["pan right", "zoom in", "orbit"])
def test_frames_lie_where_the_camera_says_to_a_fiftieth_of_a_pixel(move: Move) -> None:
    """No jitter: a slow move's positions are not rounded to parts of a pixel."""

    def spot(u: np.ndarray, v: np.ndarray) -> np.ndarray:
        return 250 * np.exp(-((u - 170) ** 2 + (v - 150) ** 2) / 200)

    v, u = np.indices((320, 320)) + 0.5
    picture = Image.fromarray(np.round(spot(u, v))[..., None].repeat(3, axis=2).astype(np.uint8))
    request = ParallaxRequest(move=move, amount=8, loop=False, seconds=1)
    window = window_for(320, 320, 720)
    path = planar_path(request, window)
    for t, frame in zip(instants(24, loop=False), flat(request, picture, window, keep_going), strict=True):
        x, y, depth = np.tensordot(matrix_of(path(t), window), np.stack([u, v, np.ones_like(u)]), 1)
        ideal = spot(x / depth, y / depth)
        for slope in np.gradient(ideal):
            offset = ((frame[..., 0] - ideal) * slope).sum() / (slope**2).sum()
            assert abs(offset) < 0.02


def test_zooming_in_begins_with_the_whole_picture_and_zooming_out_ends_with_it() -> None:
    picture = texture(320, 200)
    zooming_in = frames_of(picture, move="zoom in", loop=False, seconds=0.5)
    zooming_out = frames_of(picture, move="zoom out", loop=False, seconds=0.5)

    assert np.abs(zooming_in[0].astype(int) - np.asarray(picture)).max() <= 1
    assert np.array_equal(zooming_in[0], zooming_out[-1])
    assert np.array_equal(zooming_in[-1], zooming_out[0])
    assert not np.array_equal(zooming_in[0], zooming_in[-1])


def test_rolling_left_turns_the_picture_clockwise() -> None:
    picture = Image.new("RGB", (200, 200))
    picture.paste((255, 255, 255), (150, 95, 160, 105))  # right of the middle
    first, *_, last = frames_of(picture, move="roll left", loop=False, seconds=0.5)

    rows = [np.nonzero(frame[..., 0] > 128)[0].mean() for frame in (first, last)]
    assert rows[1] > rows[0] + 5  # it went down


@pytest.mark.parametrize("move", MOVES)
def test_nothing_but_the_picture_is_ever_seen(move: Move) -> None:
    """A view that went over the rim would smear the rim's magenta line over several pixels."""
    pixels = np.full((240, 360, 3), (0, 160, 0), np.uint8)
    pixels[[0, -1]] = pixels[:, [0, -1]] = (255, 0, 255)
    for frame in frames_of(Image.fromarray(pixels), move=move, amount=100, seconds=1, fps=12):
        magenta = frame[..., 0] > 100
        lines = [*magenta[120:121, :20], *magenta[120:121, -20:], *magenta[:20, 180:181].T, *magenta[-20:, 180:181].T]
        assert max(line.sum() for line in lines) <= 3


def test_detail_too_fine_for_the_output_becomes_grey_instead_of_shimmering() -> None:
    checks = (np.indices((1500, 1500)).sum(axis=0) % 2 * 255).astype(np.uint8)
    picture = Image.fromarray(np.repeat(checks[..., None], 3, axis=2))

    for frame in frames_of(picture, move="pan left", size=360, seconds=0.5, fps=8):
        assert np.abs(frame.astype(int) - 127).max() < 12


def test_a_still_zoom_is_as_sharp_as_the_picture_allows() -> None:
    """The end of a zoom is read from a finer reduction than its start, so it does not soften."""
    picture = texture(2000, 2000)
    zooming = frames_of(picture, move="zoom in", amount=100, loop=False, seconds=0.5, fps=8, size=360)
    left = round((2000 - 2000 / 1.7) / 2)
    ideal = reduced(picture.crop((left, left, 2000 - left, 2000 - left)), 2000 / 1.7 / 360, oversampling=1).pixels

    height, width = ideal.shape[:2]
    assert np.abs(zooming[-1][:height, :width].astype(int) - ideal).mean() < 4


@pytest.mark.parametrize("move", MOVES)
def test_a_loop_has_no_seam(move: Move) -> None:
    frames = frames_of(texture(240, 160), move=move, seconds=1, fps=24)
    changes = [np.abs(a.astype(int) - b).mean() for a, b in zip(frames, [*frames[1:], frames[0]], strict=True)]

    assert changes[-1] <= 1.05 * max(changes[:-1])
    assert max(changes) > 0.5


def test_a_panorama_is_travelled_not_zoomed() -> None:
    window = window_for(6000, 720, 720)
    path = planar_path(ParallaxRequest(move="pan right", amount=60, loop=False), window)

    assert path(0).zoom == path(1).zoom == 1
    assert path(1).x - path(0).x == pytest.approx(0.6 * 1.2 * window.crop[0])  # 0.4 windows a second is the limit


def test_the_same_request_gives_the_same_frames_whatever_its_seed() -> None:
    picture = texture(200, 120)
    once, again = (frames_of(picture, seconds=0.5, seed=seed) for seed in (1, 2))

    assert all(np.array_equal(a, b) for a, b in zip(once, again, strict=True))


def test_a_cancel_takes_effect_between_two_frames() -> None:
    seen: list[int] = []

    def cancel_at_third(stage: str, step: int, total: int) -> None:
        assert (stage, total) == ("moving", 12)
        seen.append(step)
        if step == 3:
            raise Cancelled

    request = ParallaxRequest(seconds=0.5)
    clip = Parallax(place(Path("none"))).render(request, Sources({"image": texture(200, 120)}), cancel_at_third)

    with pytest.raises(Cancelled):
        list(clip.frames)
    assert seen == [1, 2, 3]
