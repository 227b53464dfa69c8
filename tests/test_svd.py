"""Stable Video Diffusion on small random checkpoints in the published layouts."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.pipelines.stable_video_diffusion.pipeline_stable_video_diffusion import StableVideoDiffusionPipeline
from PIL import Image

from inference.residency import Residency
from inference.systems.base import Cancelled, Place, Sources
from inference.systems.svd import pictures
from inference.systems.svd.loader import follow_original
from inference.systems.svd.system import choose, chunk_size_for, guidance_of
from inference.systems.svd.weights import BY_NAME, SVD, SVD_XT, SVD_XT_1_1
from jobs.errors import Failure
from jobs.requests.svd import SvdRequest
from jobs.texts import say, word
from tests.svd_clips import CPU, frames_of, picture, render, request, system, untold
from tests.tiny_models.svd import TINY, write_svd

pytestmark = [
    # diffusers 0.42's EulerDiscreteScheduler hands tensors to numpy 2's `array` in a way that numpy means to end.
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"),
]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    write_svd(folder)
    return folder


def test_same_seed_same_frames(models: Path) -> None:
    room = system(models)
    once, again, other = (render(room, request(seed=seed)) for seed in (7, 7, 8))

    assert np.array_equal(once, again)
    assert np.array_equal(once, render(system(models), request(seed=7))), "and in another process's networks"
    assert not np.array_equal(once, other)


def test_in_inference_mode_as_in_the_renderer_the_frames_are_the_same(models: Path) -> None:
    room = system(models)
    with torch.inference_mode():
        inside = render(room, request())

    assert np.array_equal(inside, render(system(models), request()))


def test_the_picture_and_every_knob_matter(models: Path) -> None:
    room = system(models)
    usual = render(room, request())

    assert not np.array_equal(usual, render(room, request(), picture().transpose(Image.Transpose.FLIP_LEFT_RIGHT)))
    for knob in ({"motion": 20}, {"fps": 12}, {"noise_aug_strength": 0.3}, {"max_guidance_scale": 6.0}):
        assert not np.array_equal(usual, render(room, request(**knob))), knob


@pytest.mark.parametrize(("low", "high"), [(1.0, 3.0), (1.0, 1.0)])
@pytest.mark.parametrize("size", [(160, 90), (70, 120)])
def test_without_faithful_it_is_diffusers_bit_for_bit(
    models: Path, size: tuple[int, int], low: float, high: float
) -> None:
    asked = request(fps=9, motion=60, noise_aug_strength=0.1, min_guidance_scale=low, max_guidance_scale=high)
    ours = render(system(models, faithful=False), asked, picture(*size))

    video = run_diffusers(diffusers_pipeline(models), asked, picture(*size), fps=9, output_type="pil")
    assert np.array_equal(ours, np.stack([np.asarray(frame) for frame in video]))


def test_faithful_departs_from_diffusers_where_the_original_does(models: Path) -> None:
    """The fps id as it stands, GroupNorm's eps, fractions cut off: with these three, diffusers gives the same bits."""
    asked = request(fps=9, min_guidance_scale=1.5, max_guidance_scale=3.0)
    pipeline = diffusers_pipeline(models)
    follow_original(pipeline.unet)

    video = run_diffusers(pipeline, asked, picture(), fps=10, output_type="np")
    assert np.array_equal(render(system(models), asked), (video * 255).astype(np.uint8))


def diffusers_pipeline(models: Path) -> StableVideoDiffusionPipeline:
    pipeline = StableVideoDiffusionPipeline.from_pretrained(
        models / "svd-xt", variant="fp16", dtype=torch.float32, local_files_only=True
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def run_diffusers(pipeline: StableVideoDiffusionPipeline, asked: SvdRequest, still: Image.Image, **ways: Any) -> Any:
    assert asked.min_guidance_scale is not None
    assert asked.max_guidance_scale is not None
    width, height = pictures.clip_size(pictures.closest_shape(still.size), sample_size=TINY.sample_size)
    made: Any = pipeline(
        pictures.crop(still, (width, height)),
        width=width,
        height=height,
        num_frames=asked.num_frames,
        num_inference_steps=asked.num_inference_steps,
        min_guidance_scale=asked.min_guidance_scale,
        max_guidance_scale=asked.max_guidance_scale,
        motion_bucket_id=asked.motion,
        noise_aug_strength=asked.noise_aug_strength,
        generator=torch.Generator("cpu").manual_seed(asked.seed),
        **ways,
    )
    return made.frames[0]


@pytest.mark.parametrize(("model", "trained"), [("svd", 14), ("svd-xt", 25), ("svd-xt-1-1", 25)])
def test_each_checkpoint_makes_the_frames_it_was_trained_for(models: Path, model: str, trained: int) -> None:
    clip = system(models).render(request(model=model, num_frames=None), Sources({"image": picture()}), untold)

    assert (clip.num_frames, clip.width, clip.height, clip.fps) == (trained, 88, 48, 6)
    assert clip.facts == {"model": model}
    assert clip.notes == ()
    assert len(frames_of(clip)) == trained


@pytest.mark.parametrize(
    ("picture_size", "shape", "size"),
    [
        ((640, 360), "auto", (88, 48)),
        ((360, 640), "auto", (48, 88)),
        ((500, 480), "auto", (64, 64)),
        ((640, 360), "portrait", (48, 88)),
        ((3000, 100), "square", (64, 64)),
    ],
)
def test_the_shape_follows_the_picture_or_the_request(
    models: Path, picture_size: tuple[int, int], shape: str, size: tuple[int, int]
) -> None:
    asked = request(shape=shape, num_inference_steps=1, num_frames=2)
    frames = render(system(models), asked, picture(*picture_size))

    assert frames.shape[1:3] == size[::-1]


def test_the_published_training_area_gives_the_published_sizes() -> None:
    sizes = [pictures.clip_size(shape, sample_size=96) for shape in ("landscape", "portrait", "square")]

    assert sizes == [(1024, 576), (576, 1024), (768, 768)]


def test_letterbox_shows_the_whole_picture_and_crop_fills_the_frame() -> None:
    tall = Image.new("RGB", (60, 120), (200, 40, 40))
    tall.paste((40, 40, 200), (0, 0, 60, 12))  # a blue lid, which a wide crop cuts off

    boxed, cropped = (np.asarray(frame(tall, (128, 72))) for frame in (pictures.letterbox, pictures.crop))
    assert boxed.shape == cropped.shape == (72, 128, 3)
    assert tuple(boxed[1, 64]) == (40, 40, 200)
    assert tuple(cropped[1, 64]) == (200, 40, 40)
    assert boxed[36, 2, 0] > 150, "beside it lies its own blurred copy, not black"


def test_letterbox_reaches_the_networks(models: Path) -> None:
    room = system(models)
    tall = picture(60, 120)

    boxed, cropped = (render(room, request(shape="landscape", framing=way), tall) for way in ("letterbox", "crop"))
    assert not np.array_equal(boxed, cropped)


def test_every_step_is_told(models: Path) -> None:
    told: list[tuple[str, int, int]] = []
    clip = system(models).render(
        request(num_frames=20),
        Sources({"image": picture()}),
        lambda stage, step, total: told.append((stage, step, total)),
    )

    assert told == [("loading", 1, 3), ("loading", 2, 3), ("loading", 3, 3), ("denoising", 1, 2), ("denoising", 2, 2)]
    told.clear()
    frames_of(clip)
    assert told == [("decoding", 0, 20), ("decoding", 14, 20), ("decoding", 20, 20)]


@pytest.mark.parametrize("place", [("loading", 2), ("denoising", 1), ("decoding", 0), ("decoding", 4)])
def test_a_cancel_takes_effect_at_the_next_step_and_leaves_nothing_held(models: Path, place: tuple[str, int]) -> None:
    reached: list[tuple[str, int]] = []

    def tick(stage: str, step: int, total: int) -> None:
        reached.append((stage, step))
        if (stage, step) == place:
            raise Cancelled

    room = system(models)
    with pytest.raises(Cancelled):
        frames_of(room.render(request(), Sources({"image": picture()}), tick))

    assert reached[-1] == place
    assert not any(resident.holds for resident in room.place.residency.residents)
    assert np.array_equal(render(room, request()), render(system(models), request())), "the next clip is not affected"


def test_a_clip_that_nobody_finishes_reading_lets_go(models: Path) -> None:
    room = system(models)
    clip = room.render(request(), Sources({"image": picture()}), untold)
    next(clip.frames)
    assert any(resident.holds for resident in room.place.residency.residents)

    clip.frames.close()  # type: ignore[attr-defined]
    assert not any(resident.holds for resident in room.place.residency.residents)


def test_networks_stay_for_the_next_clip(models: Path) -> None:
    room = system(models)
    render(room, request())
    kept = {resident.key: resident.network for resident in room.place.residency.residents}
    render(room, request())

    assert kept.keys() == {("svd", "svd-xt", network) for network in ("unet", "vae", "image_encoder")}
    assert all(resident.network is kept[resident.key] for resident in room.place.residency.residents)


def test_the_first_that_is_offered_and_installed_is_taken(models: Path, tmp_path: Path) -> None:
    def chosen(folder: Path, *checkpoints: str) -> str:
        options = {"checkpoints": checkpoints} if checkpoints else {}
        return choose(SvdRequest(), Place(folder, CPU, torch.float32, Residency(CPU), options)).name

    assert chosen(models) == "svd-xt"
    assert chosen(models, "svd", "svd-xt") == "svd"
    (tmp_path / "svd-xt-1-1").symlink_to(models / "svd-xt-1-1")
    assert chosen(tmp_path) == "svd-xt-1-1"


def test_what_is_not_installed_says_what_would_help(tmp_path: Path) -> None:
    with pytest.raises(Failure) as missing:
        render(system(tmp_path), request())
    assert "console models pull svd-xt`" in word(missing.value)

    with pytest.raises(Failure) as missing:
        render(system(tmp_path), request(model="svd"))
    assert "console models pull svd`" in word(missing.value)


def test_what_is_not_offered_says_what_is(models: Path) -> None:
    with pytest.raises(Failure) as refused:
        render(system(models, checkpoints=("svd", "svd-xt")), request(model="svd-xt-1-1"))
    assert "Choose one of: svd, svd-xt" in word(refused.value)


def test_1_1_says_when_it_leaves_what_it_was_tuned_for(models: Path) -> None:
    clip = system(models).render(
        request(model="svd-xt-1-1", fps=12, num_inference_steps=1), Sources({"image": picture()}), untold
    )

    [note] = clip.notes
    assert "with 12 and 127" in say(note.code, note.facts)


def test_more_frames_than_trained_are_made_with_a_note(models: Path) -> None:
    clip = system(models).render(
        request(model="svd", num_frames=16, num_inference_steps=1), Sources({"image": picture()}), untold
    )

    [note] = clip.notes
    assert say(note.code, note.facts).startswith("svd was trained to make 14 frames; with 16")
    assert len(frames_of(clip)) == 16


@pytest.mark.parametrize(
    ("low", "high", "model", "scales"),
    [
        (None, None, "svd", (1.0, 2.5)),
        (None, None, "svd-xt", (1.5, 3.0)),
        (None, None, "svd-xt-1-1", (1.5, 3.0)),
        (2.0, None, "svd", (2.0, 2.5)),
        (4.0, None, "svd", (4.0, 4.0)),
        (None, 1.2, "svd-xt", (1.2, 1.2)),
        (None, 7.0, "svd-xt", (1.5, 7.0)),
        (1.0, 7.0, "svd-xt", (1.0, 7.0)),
    ],
)
def test_guidance_left_open_is_the_checkpoints_own(
    low: float | None, high: float | None, model: str, scales: tuple[float, float]
) -> None:
    asked = SvdRequest(min_guidance_scale=low, max_guidance_scale=high)
    guidance = guidance_of(asked, BY_NAME[model])

    assert (guidance.low, guidance.high) == scales


@pytest.mark.parametrize(
    ("gigabytes", "frames"), [(4, 1), (8, 2), (12, 3), (16, 5), (24, 7), (48, 14), (80, 14), (141, 14)]
)
def test_small_cards_decode_fewer_frames_at_a_time(gigabytes: int, frames: int) -> None:
    assert chunk_size_for(gigabytes * 10**9, 14, (1024, 576)) == frames


def test_a_small_clip_decodes_in_one_go_on_any_card() -> None:
    assert chunk_size_for(4 * 10**9, 14, (128, 72)) == 14


def test_the_room_names_its_weights_without_torch() -> None:
    """The worker and the terminal read them, and neither may load torch."""
    code = "import sys, inference.systems.svd.weights; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[1])


def test_weights_are_pinned() -> None:
    for weights in (SVD, SVD_XT, SVD_XT_1_1):
        assert len(weights.revision) == 40
        assert all(hash_ is None or len(hash_) == 64 for layout in weights.layouts for hash_ in layout.files.values())
    assert [weights.gated for weights in (SVD, SVD_XT, SVD_XT_1_1)] == [False, False, True]


def test_the_tiny_checkpoints_have_the_published_files(models: Path) -> None:
    found = {weights.name: weights.layout_in(models) for weights in BY_NAME.values()}

    assert found == {"svd": SVD.layouts[0], "svd-xt": SVD_XT.layouts[0], "svd-xt-1-1": SVD_XT_1_1.layouts[1]}
    index = json.loads((models / "svd" / "model_index.json").read_text())
    assert index["unet"] == ["diffusers", "UNetSpatioTemporalConditionModel"]
