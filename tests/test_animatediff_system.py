"""AnimateDiff, restyling and motion learning as systems, on small random checkpoints in the published layouts.

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
from numpy.typing import NDArray
from PIL import Image

from inference.residency import Residency
from inference.systems.animatediff.engine import windowing_for
from inference.systems.animatediff.errors import AnimateDiffForeign, AnimateDiffNotInstalled, AnimateDiffUnreadable
from inference.systems.animatediff.frames import filled
from inference.systems.animatediff.installed import installed
from inference.systems.animatediff.learner import LearnMotion
from inference.systems.animatediff.learning_errors import LearnedMotionElsewhere
from inference.systems.animatediff.restyle import Restyle
from inference.systems.animatediff.system import AnimateDiff
from inference.systems.base import Cancelled, Clip, Place, Sources, Thrift
from jobs.errors import Failure, Refusal
from jobs.requests.animatediff import AnimateDiffRequest
from jobs.requests.animatediff_modules import MODULES
from jobs.requests.cameras import CAMERAS
from jobs.requests.diffusion import Diffusion, ModelUnknown, ModuleMissing
from jobs.requests.holds import HOLDS
from jobs.requests.learnmotion import LearnMotionRequest
from jobs.requests.restyle import RestyleRequest
from jobs.texts import word
from media.frames import FrameSpool
from tests.tiny_models.animatediff import write_animatediff
from tests.tiny_models.controls import write_controls
from tests.tiny_models.depth import write_depth
from tests.tiny_models.pictures import write_pictures
from tests.tiny_models.stable_diffusion import random_model, write_hub, write_single, write_stable_diffusion

pytestmark = [
    # diffusers 0.42's EulerDiscreteScheduler hands tensors to numpy 2's `array` in a way that numpy means to end.
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"),
    pytest.mark.timeout(300),
]

CPU = torch.device("cpu")
Frames = NDArray[np.uint8]
STYLES = {"toonyou": "checkpoints/toonyou_beta6.safetensors", "dreams": "checkpoints/dreams"}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for write in (write_stable_diffusion, write_animatediff, write_pictures, write_controls, write_depth):
        write(folder)
    (folder / "checkpoints").mkdir()
    write_single(folder / STYLES["toonyou"], random_model("sd15", seed=5))
    write_hub(folder / STYLES["dreams"], random_model("sd15", seed=6))
    return folder


@pytest.fixture(scope="module")
def place(models: Path) -> Place:
    """One renderer for all: nothing that one test does may be seen by the next."""
    return Place(models, CPU, torch.float32, Residency(CPU), {"styles": STYLES})


@pytest.fixture(scope="module")
def room(place: Place) -> AnimateDiff:
    return AnimateDiff(place)


def untold(stage: str, step: int, total: int) -> None:
    """A tick that nobody watches."""


def picture(hue: int, size: tuple[int, int] = (96, 64)) -> Image.Image:
    """A square on a ground."""
    pixels = np.full((size[1], size[0], 3), (hue, 255 - hue, 120), np.uint8)
    pixels[20:44, 30:60] = (255 - hue, hue, 20)
    return Image.fromarray(pixels)


PICTURES = {"image": picture(20), "last": picture(220), "look": picture(120), "picture_1": picture(90)}


def request(**fields: Any) -> AnimateDiffRequest:
    """Quick: two steps without guidance, four frames."""
    size: dict[str, Any] = {"num_frames": 4, "width": 128, "height": 128}
    usual: dict[str, Any] = {"prompt": "a red cat", "seed": 5, "module": "lightning-2", **size}
    return AnimateDiffRequest(**{**usual, **fields})


def pinned(**fields: Any) -> AnimateDiffRequest:
    """Version 3, with the fewest steps it takes."""
    return request(**{"module": "v3", "num_inference_steps": 5, "num_frames": 3, **fields})


def render(room: AnimateDiff, asked: AnimateDiffRequest, thrift: Thrift | None = None) -> Frames:
    sources = Sources({name: PICTURES[name] for _, name, kind in asked.named() if kind == "image"})
    with torch.inference_mode():
        return frames_of(room.render(asked, sources, untold, thrift or Thrift()))


def frames_of(clip: Clip) -> Frames:
    frames = np.stack(list(clip.frames))
    assert frames.shape == (clip.num_frames, clip.height, clip.width, 3)
    assert frames.dtype == np.uint8
    assert frames.std() > 10, "no flat picture"
    return frames


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


# --- restyle ---


def footage(frames: int = 8) -> FrameSpool:
    spool = FrameSpool(96, 64, Fraction(8))
    for number in range(frames):
        frame = np.full((64, 96, 3), 200, np.uint8)
        frame[20:40, 5 + 6 * number : 25 + 6 * number] = (200, 40, 30)
        spool.append(frame)
    return spool


def restyled(place: Place, **fields: Any) -> Frames:
    usual: dict[str, Any] = {
        "prompt": "an oil painting", "seed": 5, "module": "lightning-2", "seconds": 0.5, "fps": 4, "size": 256,
        "hold": "none",
    }  # fmt: skip
    asked = RestyleRequest(**{**usual, **fields})
    images = {name: PICTURES.get(name) or mask() for _, name, kind in asked.named() if kind == "image"}
    with torch.inference_mode(), footage() as spool:
        return frames_of(Restyle(place).render(asked, Sources(images, {"clip": spool}), untold))


def mask() -> Image.Image:
    """The left half stays."""
    pixels = np.zeros((64, 96), np.uint8)
    pixels[:, :48] = 255
    return Image.fromarray(pixels).convert("RGB")


@pytest.mark.slow
@pytest.mark.parametrize("hold", [*HOLDS, "depth, tile 0.5"])
def test_a_clip_is_held_by_what_a_controlnet_sees(place: Place, hold: str) -> None:
    free, held = restyled(place), restyled(place, hold=hold)

    assert len(held) == 2
    assert not np.array_equal(free, held)


@pytest.mark.slow
def test_less_strength_stays_closer_to_the_clip(place: Place) -> None:
    """By the latents: what a random decoder makes of them says nothing about likeness."""
    asked: dict[str, Any] = {"num_inference_steps": 10, "module": "v3"}
    source, weak, strong = (restyled(place, strength=strength, **asked) for strength in (0.1, 0.2, 0.7))

    assert np.abs(weak.astype(int) - source).mean() < np.abs(strong.astype(int) - source).mean()


def test_what_is_white_in_the_mask_stays_as_it_is(place: Place) -> None:
    kept = restyled(place, keep="keep")
    with footage() as spool:
        left = np.asarray(filled(Image.fromarray(spool[0]), (kept.shape[2], kept.shape[1])))[:, : kept.shape[2] // 2]

    inside = kept[0][:, : kept.shape[2] // 2]
    assert np.abs(inside[:, :-16].astype(int) - left[:, :-16]).mean() < 3
    assert np.abs(kept[0][:, kept.shape[2] // 2 :].astype(int) - 200).mean() > 20


def test_a_restyled_clip_keeps_its_sound(place: Place) -> None:
    asked = RestyleRequest(prompt="oil", module="lightning-2", seconds=0.5, fps=8, size=256, hold="none")
    with torch.inference_mode(), footage() as spool:
        spool.sound = np.arange(2 * 48_000, dtype=np.int16).reshape(-1, 2)
        clip = Restyle(place).render(asked, Sources({}, {"clip": spool}), untold)
        assert clip.sound is not None
        assert np.array_equal(clip.sound, spool.sound[:24_000])
        clip.frames.close()  # type: ignore[attr-defined]


# --- learning a motion ---


@pytest.mark.slow
def test_a_motion_is_learned_and_moves_another_clip(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inference.systems.animatediff.learner.LOOK_STEPS", 5)
    monkeypatch.setattr("inference.systems.animatediff.learner.LOOK_FRAMES", 4)
    learned: list[int] = []

    def watch(stage: str, step: int, total: int) -> None:
        if stage == "learning":
            learned.append(step)

    asked = LearnMotionRequest(prompt="a red square", learning_steps=20, size=192, rank=4, seed=3)
    with torch.inference_mode(), footage(10) as spool:
        clip = LearnMotion(place).render(asked, Sources({}, {"clip": spool}), watch)
        assert clip.learned is not None
        frames_of(clip)
    assert learned == list(range(21)), "twenty steps, and that they begin"
    path = tmp_path / "spin.safetensors"
    path.write_bytes(clip.learned)

    def moved(asked: Diffusion) -> Frames:
        assert isinstance(asked, AnimateDiffRequest)
        with torch.inference_mode():
            return frames_of(AnimateDiff(place).render(asked, Sources({}, motions={"spin": path}), untold))

    plain = render(AnimateDiff(place), pinned())
    assert not np.array_equal(plain, moved(pinned(motion="spin")))
    assert np.array_equal(plain, moved(pinned(motion="spin", motion_strength=0.0)))
    assert np.array_equal(plain, render(AnimateDiff(place), pinned()))
    with pytest.raises(LearnedMotionElsewhere):
        moved(request(motion="spin", module="v15-v2", num_inference_steps=5))
