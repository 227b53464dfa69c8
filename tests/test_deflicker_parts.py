"""Deflicker's parts: how light is compared, followed and bounded, and the measures it is judged by."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from benchmarks import flicker_baselines as baselines
from benchmarks.flicker_metrics import detail, flows_of, luma_flicker, psnr, warping_error
from inference.flow import warp
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
from inference.systems.deflicker.motion import chained, flow_between, unmatched
from inference.systems.deflicker.shots import segments, steps_in
from inference.systems.deflicker.system import LEVELS, corrected
from tests import references
from tests.flickering import HEIGHT, WIDTH, brightness, eight_bit, flickered, made, parallax, texture
from tests.golden_adapters.deflicker_networks import Atlas, LocalRefinement, NeuralFilter

ROOT = Path(__file__).resolve().parents[1]
MANIFESTS = references.FOLDER / "deflicker" / "manifest"


def test_a_new_thing_in_the_picture_is_not_taken_for_light() -> None:
    """Statistics of the whole picture would darken everything around it."""
    frames = made().frames.copy()
    for t in range(20):
        frames[t, :, : max(0, min(48, 16 * (t - 8)))] = np.array([0.9, 0.85, 0.2], np.float32)

    course = course_of(look_at(frame) for frame in eight_bit(frames))

    assert all(np.abs(tone(np.full(3, 0.5)) - 0.5).max() < 0.01 for tone in steadying(course, 4.0))
    assert psnr(baselines.mean_and_spread(frames), frames) < 34


def test_flicker_and_motion_are_no_cuts_and_new_scenes_are() -> None:
    for pace in (0.5, 3.0):
        shaken = flickered(parallax(12, HEIGHT, WIDTH, pace=pace).frames, "mixed")
        assert course_of(look_at(frame) for frame in eight_bit(shaken)).shots == (range(12),)

    scenes = [texture(HEIGHT, WIDTH, seed) for seed in range(8)]
    seen = course_of(look_at(frame) for scene in scenes for frame in eight_bit(np.stack([scene, scene])))
    assert seen.shots == tuple(range(start, start + 2) for start in range(0, 16, 2))


def looks_in_memory() -> int:
    return sum(type(held) is Look for held in gc.get_objects())


def test_it_holds_a_window_and_never_the_clip() -> None:
    """Small pictures and flows of the neighbours, however long the clip: and no frame is decoded twice for them."""
    frames = eight_bit(flickered(parallax(30, 24, 32, pace=0.3).frames, "local"))
    course, asked = course_of(look_at(frame) for frame in frames), list[int]()
    level = LEVELS["strong"]

    def look(t: int) -> Look:
        asked.append(t)
        return look_at(frames[t], WORKING)

    light, before = LocalLight(look, course, steadying(course, level.sigma), level.reach), looks_in_memory()
    for t in range(30):
        light.correction(t)
        if t % 7 == 0:
            assert looks_in_memory() - before <= 2 * level.reach.frames + 1

    assert sorted(asked) == list(range(30))


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
