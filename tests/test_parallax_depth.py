"""Parallax through a picture with depth: near and far, what comes out from behind, and the network that sees it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from inference.depth_weights import DEPTH
from inference.systems.base import Frame, Sources
from inference.systems.parallax.layers import deep_frames
from inference.systems.parallax.relief import normalised, relief_of
from inference.systems.parallax.system import Parallax, deep
from inference.systems.parallax.trip import Stand, view_of
from inference.systems.parallax.window import window_for
from jobs.errors import Note
from jobs.requests.parallax import DEEP_MOVES, Move, ParallaxRequest
from jobs.texts import say
from tests.tiny_models.depth import write_depth
from tests.travelling import clip_of, frames_of, keep_going, place, texture, travel

# -- depth --


def disc_before_wall() -> tuple[Image.Image, np.ndarray]:
    """A red disc (disparity 0.9) before a grey wall (0.1), both textured, with the blurred rim that networks give."""
    width, height, radius = 480, 320, 70
    wall = np.asarray(texture(width, height)).mean(axis=2, keepdims=True).repeat(3, axis=2)
    stripes = 150 + 100 * (np.indices((height, width)).sum(axis=0) // 12 % 2)
    disc = np.stack([stripes, 0 * stripes, 0 * stripes], axis=-1)
    v, u = np.indices((height, width))
    inside = np.hypot(u - width / 2, v - height / 2) < radius
    disparity = cv2.GaussianBlur(np.where(inside, 0.9, 0.1).astype(np.float32), (0, 0), 2)
    return Image.fromarray(np.where(inside[..., None], disc, wall).astype(np.uint8)), disparity


def deep_frames_of(picture: Image.Image, disparity: np.ndarray, **fields: object) -> list[Frame]:
    request = ParallaxRequest.model_validate({"seconds": 1, "fps": 12, **fields})
    return list(deep(request, picture, disparity, window_for(*picture.size, request.size), keep_going))


def is_red(frame: Frame) -> np.ndarray:
    return frame[..., 0].astype(int) - frame[..., 1] > 100


def test_under_an_orbit_near_things_stay_and_far_ones_pass_behind() -> None:
    picture, disparity = disc_before_wall()
    frames = deep_frames_of(picture, disparity, move="orbit", amount=60)
    left, right = frames[9], frames[3]  # of twelve: the ends of the ellipse
    disc = travel(left[120:200, 200:280], right[120:200, 200:280])
    wall = travel(left[:60], right[:60])

    # 60 % of 5 % of 480 pixels to either side, for the whole range of disparity, of which 0.8 lie between.
    assert abs(disc[0]) < 0.3  # it is in the middle, so the camera goes around it
    assert wall[0] == pytest.approx(2 * 0.6 * 0.05 * 480 * 0.8, rel=0.12)


def test_a_dolly_makes_near_things_grow_more_than_far_ones() -> None:
    picture, disparity = disc_before_wall()
    first, *_, last = deep_frames_of(picture, disparity, move="dolly in", amount=50, loop=False)
    growth = (is_red(last).sum() / is_red(first).sum()) ** 0.5

    assert growth == pytest.approx(1 / (1 - 0.18 * (0.25 + 0.9)), rel=0.03)


@pytest.mark.parametrize("move", sorted(DEEP_MOVES - {"dolly in", "dolly out"}))
def test_what_comes_out_from_behind_is_filled_and_the_thing_keeps_its_shape(move: Move) -> None:
    picture, disparity = disc_before_wall()
    whole = is_red(np.asarray(picture)).sum()
    frames = deep_frames_of(picture, disparity, move=move, amount=70)
    zoom = (is_red(frames[0]).sum() / whole) ** 0.5

    assert zoom > 0.97
    for frame in frames:
        red = is_red(frame)
        assert red.sum() == pytest.approx(is_red(frames[0]).sum(), rel=0.03)  # no ghost stays behind, nothing tears
        outside = cv2.dilate(red.astype(np.uint8), np.ones((7, 7), np.uint8)) == 0
        greyness = np.ptp(frame[outside].astype(int), axis=1)
        assert (greyness > 40).mean() < 0.002  # and where it was there is wall, not a smear of the disc
        assert frame[outside].min() > 20


def test_the_layer_behind_continues_the_farther_side() -> None:
    picture, disparity = disc_before_wall()
    relief = relief_of(np.asarray(picture), disparity, reach=10)
    ring = np.hypot(*(np.indices((320, 480)) - np.array([159.5, 239.5])[:, None, None]))
    rim = (ring > 60) & (ring < 68)  # inside the disc, within reach of its rim

    assert is_red(relief.front)[rim].mean() > 0.95
    assert is_red(relief.back)[rim].mean() < 0.01
    assert np.percentile(relief.far[rim], 99) < 0.3
    assert np.isfinite(relief.near).all()


def test_a_camera_that_stands_still_shows_the_picture() -> None:
    picture, disparity = disc_before_wall()
    window = window_for(*picture.size, 720)
    (frame,) = deep_frames(picture, disparity, window, [view_of(Stand(), 1.0, window, 0.5)], keep_going)

    difference = np.abs(frame.astype(int) - np.asarray(picture))
    assert np.percentile(difference, 97) <= 1  # all but the outline, which is antialiased


def test_a_depth_map_without_depth_is_none() -> None:
    assert normalised(np.zeros((20, 20), np.float32)) is None
    assert normalised(np.full((20, 20), 7.0, np.float32)) is None
    spread = normalised(np.arange(400, dtype=np.float32).reshape(20, 20))
    assert spread is not None
    assert (spread.min(), spread.max()) == (0, 1)


# -- the depth network --


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    write_depth(folder)
    return folder


def rewritten(models: Path, to: Path, change: Callable[[Path], None]) -> Path:
    """A changed copy of the checkpoint, in a models folder of its own."""
    copy = to / DEPTH.name
    copy.mkdir(parents=True)
    for file in (models / DEPTH.name).iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    change(copy)
    return to


def test_with_the_network_installed_a_picture_gets_depth(models: Path) -> None:
    picture = texture(160, 120)
    clip = clip_of(picture, models, seconds=0.5)
    flat = frames_of(picture, seconds=0.5, depth="off")
    frames = list(clip.frames)

    assert clip.notes == ()
    assert clip.facts == {"model": "depth-anything-v2-small"}
    assert len(frames) == 12
    assert any(not np.array_equal(a, b) for a, b in zip(frames, flat, strict=True))


def test_without_the_network_the_move_is_flat_and_the_person_hears_how_to_get_depth(tmp_path: Path) -> None:
    clip = clip_of(texture(160, 120), tmp_path, seconds=0.5)

    assert clip.notes == (Note("parallax_planar"),)
    assert "models pull depth-anything-v2-small" in say("parallax_planar")
    assert clip.facts == {}


@pytest.mark.parametrize("fields", [{"depth": "off"}, {"move": "zoom in"}, {"move": "roll left"}])
def test_nobody_waits_for_depth_that_changes_nothing(models: Path, fields: dict[str, str]) -> None:
    here = place(models)
    request = ParallaxRequest.model_validate({"seconds": 0.5, **fields})
    clip = Parallax(here).render(request, Sources({"image": texture(160, 120)}), keep_going)

    assert clip.notes == ()
    assert here.residency.residents == ()


def test_a_picture_without_near_and_far_is_moved_flat_and_the_person_hears_it(models: Path, tmp_path: Path) -> None:
    def blind(folder: Path) -> None:
        state = load_file(folder / "model.safetensors")
        state["head.conv3.weight"] = torch.zeros_like(state["head.conv3.weight"])
        save_file(state, folder / "model.safetensors", {"format": "pt"})

    clip = clip_of(texture(160, 120), rewritten(models, tmp_path, blind), seconds=0.5)

    assert clip.notes == (Note("parallax_flat"),)
    assert say("parallax_flat")
    assert len(list(clip.frames)) == 12


def test_a_config_of_an_older_transformers_loads(models: Path, tmp_path: Path) -> None:
    def older(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, "max_depth": None}))

    clip = clip_of(texture(160, 120), rewritten(models, tmp_path, older), seconds=0.5)

    assert clip.facts == {"model": "depth-anything-v2-small"}


def test_the_tiny_checkpoint_has_the_published_layout(models: Path) -> None:
    assert DEPTH.layout_in(models) is DEPTH.layouts[0]
    names = set(load_file(models / DEPTH.name / "model.safetensors"))
    assert {
        "backbone.embeddings.cls_token",
        "backbone.encoder.layer.0.attention.attention.query.weight",
        "neck.reassemble_stage.layers.0.resize.weight",
        "neck.fusion_stage.layers.0.residual_layer1.convolution1.weight",
        "head.conv3.weight",
    } <= names


def test_knowing_the_weights_needs_neither_torch_nor_opencv() -> None:
    probe = (
        "import sys, inference.systems.parallax.weights;"
        "sys.exit(any(name in sys.modules for name in ('torch', 'cv2', 'transformers')))"
    )
    assert subprocess.run([sys.executable, "-c", probe], check=False).returncode == 0
