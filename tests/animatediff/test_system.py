"""AnimateDiff as a system, on small random checkpoints in the published layouts.

Most of it runs on Lightning's two-step module, which needs no guidance: what is tried here is that every option reaches
the networks and leaves no trace, and that every published file is found by its name.
"""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.models.unets.unet_motion_model import UNetMotionModel

from inference.residency import Residency
from inference.systems.animatediff.engine import windowing_for
from inference.systems.animatediff.errors import AnimateDiffForeign, AnimateDiffNotInstalled, AnimateDiffUnreadable
from inference.systems.animatediff.installed import installed
from inference.systems.animatediff.system import AnimateDiff
from inference.systems.base import Cancelled, Place, Sources, Thrift
from jobs.errors import Failure, Refusal
from jobs.requests.animatediff import AnimateDiffRequest
from jobs.requests.animatediff_modules import MODULES
from jobs.requests.cameras import CAMERAS
from jobs.requests.holds import HOLDS
from jobs.requests.image_models import ModelUnknown, ModuleMissing
from jobs.texts import word
from tests.animatediff.rendering import CPU, STYLES, frames_of, pinned, render, request, untold

pytestmark = [
    # diffusers 0.42's EulerDiscreteScheduler hands tensors to numpy 2's `array` in a way that numpy means to end.
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"),
    pytest.mark.timeout(300),
]


@pytest.fixture(scope="module")
def room(place: Place) -> AnimateDiff:
    return AnimateDiff(place)


# --- what there is ---


def test_everything_that_is_published_is_found_by_its_name(models: Path) -> None:
    names = installed(models, {"styles": STYLES})

    assert names is not None
    assert names[:2] == ("toonyou", "dreams"), "the owner's own come first"
    assert {profile.weights for profile in MODULES.values()} <= set(names)
    assert set(CAMERAS.values()) <= set(names)
    assert {weights for each in HOLDS.values() for weights in each} <= set(names)


def test_without_an_image_model_or_a_motion_module_nothing_can_be_done(models: Path, tmp_path: Path) -> None:
    assert installed(tmp_path, {}) is None
    for name in ("stable-diffusion-v1-5", "clip-tokenizer"):
        (tmp_path / name).symlink_to(models / name)
    assert installed(tmp_path, {}) is None
    (tmp_path / "animatediff-sdxl").symlink_to(models / "animatediff-sdxl")
    assert installed(tmp_path, {}) is None, "SDXL's motion does not go with SD 1.5"
    (tmp_path / "animatediff-v3").symlink_to(models / "animatediff-v3")
    assert installed(tmp_path, {}) is not None
    (tmp_path / "clip-tokenizer").unlink()
    assert installed(tmp_path, {}) is None, "a single file has no vocabulary"


# --- every module, every model ---


SELDOM = tuple(name for name in MODULES if name not in ("pia", "v3", "sdxl"))


@pytest.mark.parametrize("module", ["v3", "sdxl", *(pytest.param(name, marks=pytest.mark.slow) for name in SELDOM)])
def test_every_motion_module_makes_a_clip_as_it_was_made_for(room: AnimateDiff, module: str) -> None:
    profile = MODULES[module]  # type: ignore[index]
    few: dict[str, Any] = {} if profile.distilled else {"num_inference_steps": 5}
    frames = render(room, request(module=module, num_frames=2, **few))

    assert np.abs(np.diff(frames.astype(int), axis=0)).mean() > 0.5


@pytest.mark.parametrize("model", ["toonyou", pytest.param("dreams", marks=pytest.mark.slow)])
def test_the_image_model_makes_the_style(room: AnimateDiff, model: str) -> None:
    usual = render(room, request(model="stable-diffusion-v1-5"))

    assert not np.array_equal(usual, render(room, request(model=model)))


def test_nothing_is_left_of_what_one_job_wanted_when_the_next_one_renders(room: AnimateDiff) -> None:
    """Every way of steering between two renders of the same request, on the same networks."""
    first = render(room, request())
    others: tuple[dict[str, Any], ...] = (
        {"camera": "zoom in, pan left 0.5"},
        {"look": "look"},
        {"motion_scale": "0:(1), 3:(1.4)"},
        {"schedule": "0: a red cat | 3: a blue dog"},
        {"loop": True},
        {"num_frames": 20, "context": "in the module"},
    )
    for other in others:
        assert not np.array_equal(first, render(room, request(**other))[:4]), other
    assert np.array_equal(first, render(room, request()))


@pytest.mark.slow
def test_pins_leave_nothing_behind_either(room: AnimateDiff) -> None:
    plain = render(room, pinned())
    others: tuple[dict[str, Any], ...] = (
        {"image": "image", "last": "last"},
        {"image": "image", "follow": "drawing"},
        {"adapter": 0.8},
    )
    for other in others:
        assert not np.array_equal(plain, render(room, pinned(**other))), other
    assert np.array_equal(plain, render(room, pinned()))


@pytest.mark.slow
def test_the_same_seed_gives_the_same_frames_in_another_renderer(models: Path, room: AnimateDiff) -> None:
    other = AnimateDiff(Place(models, CPU, torch.float32, Residency(CPU), {"styles": STYLES}))

    assert np.array_equal(render(room, request(model="dreams")), render(other, request(model="dreams")))
    assert not np.array_equal(render(room, request()), render(room, request(seed=6)))


# --- options reach the networks ---


@pytest.mark.parametrize(
    "change",
    [
        {"prompt": "a blue dog"},
        {"clip_skip": 1},
        {"prompt": "a (red:1.4) cat"},
        {"camera": "zoom in 0.5"},
        {"look": "look", "look_scale": 1.0},
        {"sampler": "euler a"},
        {"sampler": "lcm"},
        {"guidance_scale": 2.0, "negative": "dark"},
        {"motion_scale": "1.3"},
    ],
    ids=str,
)
def test_an_option_changes_the_clip(room: AnimateDiff, change: dict[str, Any]) -> None:
    assert not np.array_equal(render(room, request()), render(room, request(**change)))


def test_without_guidance_the_negative_prompt_has_no_say_and_that_is_said(room: AnimateDiff) -> None:
    with torch.inference_mode():
        clip = room.render(request(negative="dark"), Sources({}), untold)

    assert np.array_equal(frames_of(clip), render(room, request()))
    assert "negative_unread" in {note.code for note in clip.notes}


def test_a_prompt_schedule_changes_only_the_frames_it_is_about(room: AnimateDiff) -> None:
    """With the motion modules switched off a frame knows only its own words."""
    still = request(schedule="0: a red cat | 1: a red cat | 3: a blue dog", prompt="", num_frames=4)
    times = 4, Fraction(8)
    words = room.engine.words(still, room.engine.pair(room.engine.settled(still)), times, (128, 128), untold, Thrift())
    first, second, third, last = words.context(range(4), guided=False)

    assert torch.equal(first, second)
    assert not torch.allclose(second, third)
    assert torch.allclose(third, (second + last) / 2, atol=1e-6)


def test_a_long_clip_is_made_in_windows_whose_number_of_frames_does_not_grow(room: AnimateDiff) -> None:
    seen: list[int] = []
    unet = room.engine.unet(room.engine.pair(room.engine.settled(request()))).network
    hook = unet.register_forward_pre_hook(lambda _, args: seen.append(args[0].shape[2]))
    try:
        frames = render(room, request(num_frames=24))
    finally:
        hook.remove()

    assert len(frames) == 24
    assert set(seen) == {16}


@pytest.mark.slow
@pytest.mark.parametrize("context", ["uniform", "looped", "batched"])
def test_every_way_of_cutting_windows_gives_a_whole_clip(room: AnimateDiff, context: str) -> None:
    asked = request(num_frames=10, context=context, context_length=8, context_overlap=2, freenoise=False)

    assert len(render(room, asked)) == 10


def test_in_a_loop_the_end_is_as_close_to_the_beginning_as_neighbours_are(room: AnimateDiff) -> None:
    """No two frames are always its ends: at each step another one comes first."""
    windowing = windowing_for(request(num_frames=8, loop=True))

    assert {windowing.at(8, step)[0][0] for step in range(8)} == set(range(8))
    assert all(sorted(window) == list(range(8)) for step in range(8) for window in windowing.at(8, step))


# --- pictures ---


@pytest.mark.slow
def test_pinned_pictures_are_what_the_clip_is_held_by(room: AnimateDiff) -> None:
    one = render(room, pinned(image="image"))
    other = render(room, pinned(image="last"))
    both = render(room, pinned(image="image", last="last"))

    assert not np.array_equal(one, other)
    assert not np.array_equal(one, both)
    assert not np.array_equal(one, render(room, pinned(image="image", pin_scale=0.4)))


@pytest.mark.slow
def test_a_storyboard_pins_each_picture_where_it_says(room: AnimateDiff) -> None:
    story = pinned(image="image", pictures=("picture_1",), last="last", num_frames=5)

    assert story.places == (0, 2, 4)
    assert len(render(room, story)) == 5


@pytest.mark.slow
@pytest.mark.parametrize("change", [{"pia_motion": "large"}, {"loop": True}], ids=str)
def test_pia_makes_a_clip_of_a_picture(room: AnimateDiff, change: dict[str, Any]) -> None:
    asked: dict[str, Any] = {"image": "image", "module": "pia", "num_inference_steps": 5, "num_frames": 3}
    usual = render(room, request(**asked))

    assert not np.array_equal(usual, render(room, request(**asked, **change)))


# --- stopping, sparing, failing ---


def test_a_cancel_at_any_tick_ends_it(room: AnimateDiff) -> None:
    ticks: list[str] = []

    def watch(stage: str, step: int, total: int) -> None:
        ticks.append(stage)

    with torch.inference_mode():
        list(room.render(request(), Sources({}), watch).frames)
    for stop in (1, len(ticks) // 2, len(ticks)):
        left = iter(range(stop - 1))

        def tick(stage: str, step: int, total: int, left: Iterator[int] = left) -> None:
            if next(left, None) is None:
                raise Cancelled

        with pytest.raises(Cancelled), torch.inference_mode():
            list(room.render(request(), Sources({}), tick).frames)
    assert set(ticks) == {"reading", "loading", "denoising", "decoding"}


@pytest.mark.slow
def test_sparing_memory_gives_the_same_clip_but_for_roundings(room: AnimateDiff) -> None:
    usual = render(room, pinned(num_frames=2))
    spared = render(room, pinned(num_frames=2), Thrift(offload=True))

    assert np.abs(usual.astype(int) - spared).mean() < 1
    assert room.thriftier(Thrift(), "denoising") == Thrift(offload=True)
    assert room.thriftier(Thrift(offload=True), "denoising") == Thrift(offload=True, num_frames=8)
    tiles = Thrift(offload=True, decode_chunk_size=1)
    assert room.thriftier(Thrift(offload=True), "decoding") == tiles
    assert room.thriftier(tiles, "decoding") is None
    assert np.abs(usual.astype(int) - render(room, pinned(num_frames=2), tiles)).mean() < 1, "one tile at this size"


@pytest.mark.slow
@pytest.mark.parametrize("thrift", [Thrift(), Thrift(offload=True)], ids=str)
def test_memory_that_runs_out_in_the_first_pass_is_known_to_have_done_so(
    room: AnimateDiff, thrift: Thrift, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the last tick before it the renderer knows what may help."""
    stages: list[str] = []

    def watch(stage: str, step: int, total: int) -> None:
        stages.append(stage)

    def full(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(UNetMotionModel, "forward", full)
    with pytest.raises(torch.OutOfMemoryError), torch.inference_mode():
        room.render(request(), Sources({}), watch, thrift)
    assert stages[-1] == "denoising"


def test_what_is_missing_or_foreign_is_named(models: Path, tmp_path: Path) -> None:
    for entry in models.iterdir():
        (tmp_path / entry.name).symlink_to(entry)
    (tmp_path / "animatediff-lightning-2").unlink()
    (tmp_path / "animatediff-lightning-2").mkdir()
    path = tmp_path / "animatediff-lightning-2" / "animatediff_lightning_2step_diffusers.safetensors"
    sparse = models / "controlnet-depth"
    failures: list[type[Failure] | type[Refusal]] = []
    for data in (b"no tensors", next(sparse.glob("*.safetensors")).read_bytes()):
        path.write_bytes(data)
        room = AnimateDiff(Place(tmp_path, CPU, torch.float32, Residency(CPU)))
        with pytest.raises(Failure) as failed:
            render(room, request())
        assert "animatediff-lightning-2" in word(failed.value)
        failures.append(type(failed.value))
    assert failures == [AnimateDiffUnreadable, AnimateDiffForeign]
    path.unlink()
    room = AnimateDiff(Place(tmp_path, CPU, torch.float32, Residency(CPU)))
    with pytest.raises(AnimateDiffNotInstalled):
        render(room, request())
    with pytest.raises(ModelUnknown):
        render(room, request(model="nobody"))


def test_nothing_that_is_installed_can_do_it(models: Path) -> None:
    with pytest.raises(ModuleMissing) as refused:
        AnimateDiffRequest(prompt="x").settled(["stable-diffusion-v1-5"])

    assert "models pull animatediff-v3" in word(refused.value)


def test_what_lies_in_memory_is_said(room: AnimateDiff) -> None:
    render(room, request())

    assert {"animatediff", "animatediff/toonyou+lightning-2"} <= set(room.holding())
