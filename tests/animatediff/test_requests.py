"""What is refused of AnimateDiff before a job waits, and what is settled when it is accepted."""

from fractions import Fraction
from typing import Any

import pytest

from jobs.errors import Refusal
from jobs.requests import Request
from jobs.requests.animatediff import AnimateDiffRequest
from jobs.requests.animatediff_modules import MODULES
from jobs.requests.base import Shape
from jobs.requests.cameras import CAMERAS, cameras, suggest_cameras
from jobs.requests.holds import HOLDS, suggest_holds
from jobs.requests.image_models import image_models
from jobs.requests.learnmotion import LearnMotionRequest
from jobs.requests.restyle import RestyleRequest
from jobs.texts import word
from jobs.workers import Advert, best_system

EVERYTHING = (
    "toonyou", "stable-diffusion-v1-5", "sdxl-base", *(profile.weights for profile in MODULES.values()),
    *CAMERAS.values(), "animatediff-v3-adapter", "sparsectrl-rgb", "sparsectrl-scribble", "ip-adapter-plus-sd15",
    "clip-vit-h", *(name for each in HOLDS.values() for name in each),
)  # fmt: skip
CLIP = {"clip": Shape(320, 240, 20, Fraction(5))}
STILL = {"image": Shape(640, 480, 1, Fraction(1))}


def code_of(kind: type[Request], fields: dict[str, Any], sources: dict[str, Shape] | None = None) -> str:
    """The code of the refusal, whose sentence can be said."""

    def asked() -> object:
        return kind(**fields).settled(EVERYTHING).gives(sources or {})

    with pytest.raises(Refusal) as refused:
        asked()
    assert word(refused.value)
    return refused.value.code


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({}, "nothing_to_animate"),
        ({"prompt": "x", "module": "pia"}, "pia_needs_picture"),
        ({"prompt": "x", "follow": "pia"}, "pia_needs_picture"),
        ({"image": "image", "follow": "pia", "module": "v3"}, "follow_module"),
        ({"image": "image", "follow": "drawing", "module": "pia"}, "follow_module"),
        ({"prompt": "x", "follow": "drawing"}, "follow_nothing"),
        ({"prompt": "x", "loop": True, "context": "batched"}, "loop_context"),
        ({"prompt": "x", "module": "sdxl", "sampler": "lcm"}, "lcm_steps"),
        ({"prompt": "😀" * 1000}, "prompt_long"),
        ({"schedule": "0: " + "長" * 1100}, "prompt_long"),
        ({"prompt": "x", "width": 1536, "shape": "tall"}, "animatediff_size"),
        ({"prompt": "x", "module": "v3", "context_overlap": 16}, "context_overlap"),
        ({"prompt": "x", "camera": "zoom in, zoom in 0.5"}, "camera_twice"),
        ({"prompt": "x", "camera": "zoom in 3"}, "camera_strength"),
        ({"prompt": "x", "model": "sdxl-base", "module": "v3"}, "module_family"),
        ({"image": "image", "last": "last", "num_frames": 1}, "pin_few"),
        ({"pictures": ("a", "b"), "pins": "0s"}, "pins_unmatched"),
        ({"pictures": ("a",), "pins": "9s"}, "schedule_beyond"),
    ],
    ids=str,
)
def test_what_does_not_go_together_is_refused(fields: dict[str, Any], code: str) -> None:
    assert code_of(AnimateDiffRequest, fields, STILL) == code


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({}, "restyle_nothing"),
        ({"prompt": "x", "module": "pia"}, "restyle_module"),
        ({"prompt": "x", "hold": "none, depth"}, "hold_unknown"),
        ({"prompt": "x", "hold": "depth 5"}, "hold_strength"),
        ({"prompt": "x", "hold": "depth", "module": "sdxl"}, "restyle_family"),
        # Of this clip, as long as it is: at five frames a second there are twenty, and none at the 25th.
        ({"prompt": "x", "seconds": 20, "motion_scale": "0:(40/max_f)"}, "schedule_value_outside"),
    ],
    ids=str,
)
def test_what_does_not_fit_the_clip_is_refused(fields: dict[str, Any], code: str) -> None:
    short = {"clip": Shape(320, 240, 5, Fraction(5))} if "motion_scale" in fields else CLIP
    assert code_of(RestyleRequest, fields, short) == code


def test_a_schedule_is_shown_as_it_will_be_over_the_very_clip() -> None:
    """Two seconds are ten frames of a clip that has five a second, whatever `fps` allows."""
    asked = RestyleRequest(schedule="0s: oil | 2s: water", fps=12)

    assert "frame 10" in (asked.ahead(CLIP) or "")


@pytest.mark.parametrize(
    ("clip", "code"),
    [
        (Shape(320, 240, 4, Fraction(8)), "motion_clip_length"),
        (Shape(320, 240, 400, Fraction(8)), "motion_clip_length"),
        (Shape(320, 240, 6, Fraction(5)), "motion_clip_frames"),
    ],
    ids=str,
)
def test_a_clip_that_shows_no_motion_is_refused(clip: Shape, code: str) -> None:
    assert code_of(LearnMotionRequest, {}, {"clip": clip}) == code


@pytest.mark.parametrize("name", ["`x`[a](b)", "previous", "picture_1", "", "a" * 40, "x\ny `"])
def test_a_motion_has_a_name_that_can_be_typed(name: str) -> None:
    assert code_of(LearnMotionRequest, {"save_as": name}, CLIP) == "bad_motion_name"


@pytest.mark.parametrize(
    ("fields", "module", "model"),
    [
        ({"prompt": "x"}, "v3", "toonyou"),
        ({"prompt": "x", "camera": "zoom in"}, "v15-v2", "toonyou"),
        ({"prompt": "x", "model": "sdxl-base"}, "sdxl", "sdxl-base"),
        ({"prompt": "x", "module": "hotshot-xl"}, "hotshot-xl", "sdxl-base"),
        ({"image": "image"}, "v3", "toonyou"),
        ({"image": "image", "follow": "pia"}, "pia", "toonyou"),
    ],
    ids=str,
)
def test_what_is_left_open_is_settled(fields: dict[str, Any], module: str, model: str) -> None:
    settled = AnimateDiffRequest(**fields).settled(EVERYTHING)

    assert (settled.module, settled.model) == (module, model)
    assert settled.settled(EVERYTHING) == settled, "there is nothing left to settle"
    assert settled.kind == f"animatediff/{model}+{module}"
    assert settled.kind in AnimateDiffRequest.kinds(EVERYTHING)


def test_pinned_pictures_take_the_adapter_where_it_is_and_nothing_else_does() -> None:
    asked = AnimateDiffRequest(image="image")

    assert asked.settled(EVERYTHING).adapter == 1.0
    assert asked.settled([name for name in EVERYTHING if name != "animatediff-v3-adapter"]).adapter == 0.0
    assert AnimateDiffRequest(prompt="x").settled(EVERYTHING).adapter == 0.0


def test_without_sparsectrl_pia_takes_a_picture() -> None:
    there = [name for name in EVERYTHING if not name.startswith("sparsectrl")]

    assert AnimateDiffRequest(image="image").settled(there).module == "pia"


def test_machines_say_which_models_and_modules_they_have_together() -> None:
    one = Advert(worker="a", host="h", device="cpu", systems={"animatediff": ("toonyou", "animatediff-sdxl")})
    other = Advert(worker="b", host="h", device="cpu", systems={"animatediff": ("toonyou", "animatediff-v3")})
    job = AnimateDiffRequest(prompt="x", model="toonyou", module="v3")

    assert job.kind not in one.kinds
    assert job.kind in other.kinds


def test_the_front_door_takes_it_only_where_it_can_move_a_picture() -> None:
    bare = ("stable-diffusion-v1-5", "animatediff-v3")

    assert best_system({"animatediff": bare, "parallax": ()}).name() == "parallax"  # type: ignore[union-attr]
    assert best_system({"animatediff": (*bare, "sparsectrl-rgb"), "parallax": ()}).name() == "animatediff"  # type: ignore[union-attr]


def test_image_models_are_told_from_all_else() -> None:
    assert image_models(EVERYTHING) == ["toonyou", "stable-diffusion-v1-5", "sdxl-base"]


def test_choices_go_on_from_what_is_typed() -> None:
    assert suggest_cameras("zo", EVERYTHING) == ["zoom in", "zoom out"]
    assert "zoom in, pan left" in suggest_cameras("zoom in, ", EVERYTHING)
    assert "zoom in, zoom in" not in suggest_cameras("zoom in, ", EVERYTHING)
    assert "depth, tile" in suggest_holds("depth, ti", EVERYTHING)
    assert [camera.strength for camera in cameras("zoom-in 0.8; Pan_Left")] == [0.8, 1.0]


def test_windows_and_loops_cost_what_they_see() -> None:
    one, long = (AnimateDiffRequest(prompt="x", module="v3", num_frames=frames) for frames in (16, 128))
    wide = AnimateDiffRequest(prompt="x", module="v3", num_frames=128, context="uniform", context_stride=3)
    fast = AnimateDiffRequest(prompt="x", module="lightning-4")

    assert one.passes(16) == 25
    assert long.passes(128) == 34
    assert wide.passes(128) > 1.5 * long.passes(128)
    assert fast.passes(16) == 2, "half of four: there is no second branch"
