"""The steps that edit a clip: what they say will come out comes out, seamless where that is promised, alpha and all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError

from inference.residency import Residency
from inference.systems.base import Cancelled, Clip, Frame, Place, Sources
from inference.systems.loop.morph import Morph
from inference.systems.speed.system import shares
from jobs.errors import Note, Refusal
from jobs.requests.base import Finishing, Shape
from jobs.requests.convert import ConvertRequest
from jobs.requests.crop import CropBoth, CropNothing, CropOutside, CropRequest
from jobs.requests.emoji import EmojiRequest
from jobs.requests.loop import LoopOverlap, LoopRequest, LoopShort
from jobs.requests.speed import SpeedRequest
from jobs.requests.sticker import StickerRequest
from jobs.requests.stitch import StitchFade, StitchRequest
from jobs.requests.trim import TrimOrder, TrimPastEnd, TrimRequest
from media.frames import SOUND_RATE, FrameSpool, Sound

CPU = torch.device("cpu")
ROOMS = {
    "loop": "Loop", "speed": "Speed", "trim": "Trim", "crop": "Crop", "stitch": "Stitch",
    "convert": "Convert", "sticker": "Sticker", "emoji": "Emoji",
}  # fmt: skip


def go_on(stage: str, step: int, total: int) -> None:
    """A tick of a job that nobody cancels."""


OPEN: list[FrameSpool] = []


@pytest.fixture(autouse=True)
def closed_spools() -> Iterator[None]:
    yield
    while OPEN:
        OPEN.pop().close()


def noise(seconds: float, seed: int = 0) -> Sound:
    return np.random.default_rng(seed).integers(-8000, 8000, (round(seconds * SOUND_RATE), 2), np.int16)


def spool_of(frames: list[Frame], fps: Fraction | int = 8, sound: Sound | None = None) -> FrameSpool:
    height, width, channels = frames[0].shape
    spool = FrameSpool.filled(frames, width, height, fps, channels=channels)
    spool.sound = sound
    OPEN.append(spool)
    return spool


def numbered(count: int, width: int = 32, height: int = 24, channels: int = 3) -> list[Frame]:
    """Frame `i` is of colour `i`."""
    return [np.full((height, width, channels), i, np.uint8) for i in range(count)]


def rendered(request: Finishing, *spools: FrameSpool, tick: Callable[[str, int, int], None] = go_on) -> Clip:
    place = Place(models=Path("none"), device=CPU, dtype=torch.float32, residency=Residency(CPU))
    room: Any = getattr(import_module(f"inference.systems.{request.name()}.system"), ROOMS[request.name()])
    return room(place).render(request, Sources({}, dict(zip(("clip", "second"), spools, strict=False))), tick)


def colours(clip: Clip) -> list[int]:
    return [int(frame[0, 0, 0]) for frame in clip.frames]


def shape(width: int = 640, height: int = 360, frames: int = 24, fps: int = 8, **more: bool) -> Shape:
    return Shape(width, height, frames, Fraction(fps), **more)


# -- every step keeps its word --


REQUESTS: list[Finishing] = [
    *(LoopRequest(style=style) for style in ("blend", "crossfade", "boomerang")),
    *(SpeedRequest(factor=factor, frames=frames) for factor in (0.3, 2.5) for frames in ("keep", "nearest", "blend")),
    TrimRequest(start=0.3, end=1.7), TrimRequest(start=0.5, every=3),
    CropRequest(shape="1:1"), CropRequest(left=3, top=2, width=17, height=16),
    StitchRequest(), StitchRequest(crossfade=0.5, framing="crop"),
    ConvertRequest(), ConvertRequest(sound="remove"),
    StickerRequest(), StickerRequest(framing="crop"), EmojiRequest(padding="blurred"),
]  # fmt: skip


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize(
    "request_", REQUESTS, ids=[f"{request.name()}-{number}" for number, request in enumerate(REQUESTS)]
)
def test_what_a_request_says_will_come_out_comes_out(request_: Finishing, channels: int) -> None:
    ticks: list[tuple[int, int]] = []
    first = spool_of(numbered(16, 48, 32, channels), 8, noise(2))
    second = spool_of(numbered(9, 30, 40), Fraction(25, 2), noise(0.7))
    sources = {
        "clip": Shape(48, 32, 16, Fraction(8), has_alpha=channels == 4, has_sound=True),
        "second": Shape(30, 40, 9, Fraction(25, 2), has_sound=True),
    }
    given = request_.gives(sources)
    clip = rendered(request_, first, second, tick=lambda stage, step, total: ticks.append((step, total)))
    frames = list(clip.frames)

    assert (
        Shape(clip.width, clip.height, clip.num_frames, clip.fps, clip.channels == 4, clip.sound is not None) == given
    )
    assert len(frames) == given.num_frames
    assert {(frame.shape, frame.dtype.name) for frame in frames} == {
        ((given.height, given.width, clip.channels), "uint8")
    }
    assert ticks == [(i + 1, given.num_frames) for i in range(given.num_frames)]
    if clip.sound is not None:
        assert clip.sound.dtype == np.int16
        expected = round(given.seconds * SOUND_RATE) if request_.name() != "convert" else 2 * SOUND_RATE
        assert abs(len(clip.sound) - expected) <= 1
    assert request_.work(sources).frames == given.num_frames


def test_a_cancel_takes_effect_between_two_frames() -> None:
    def cancel(stage: str, step: int, total: int) -> None:
        if step == 3:
            raise Cancelled

    for request in REQUESTS:
        frames = rendered(request, spool_of(numbered(16)), spool_of(numbered(16)), tick=cancel).frames
        assert [next(frames).ndim for _ in range(2)] == [3, 3]
        with pytest.raises(Cancelled):
            next(frames)


# -- loop --


def drifting(count: int, step: int, width: int = 160, height: int = 96, channels: int = 3) -> list[Frame]:
    """A soft random world, seen through a window that moves right by `step` pixels a frame; with alpha, round."""
    random, size = np.random.default_rng(5), (2 * width, height)
    world = np.zeros((height, 2 * width, 3), np.uint8)
    for cell in (24, 8):  # coarse things, and detail on them
        noise_ = random.integers(0, 128, (height // cell, 2 * width // cell, 3), np.uint8)
        world += np.asarray(Image.fromarray(noise_).resize(size, Image.Resampling.BILINEAR))
    frames = [world[:, step * i : step * i + width].copy() for i in range(count)]
    if channels == 3:
        return frames
    y, x = np.indices((height, width))
    alpha = np.where(np.hypot(x - width / 2, y - height / 2) < height / 3, 255, 0).astype(np.uint8)
    return [np.dstack([frame, alpha]) for frame in frames]


def steps_of(frames: list[Frame]) -> np.ndarray:
    """Mean difference of each frame to the next, the last one's to the first at the end."""
    return np.array([np.abs(a.astype(int) - b).mean() for a, b in zip(frames, [*frames[1:], frames[0]], strict=True)])


@pytest.mark.parametrize("style", ["blend", "crossfade", "boomerang"])
def test_a_loops_seam_is_no_larger_than_its_usual_step(style: str) -> None:
    source = drifting(24, 1)
    spool = spool_of(source)
    frames = list(rendered(LoopRequest.model_validate({"style": style}), spool).frames)
    steps, usual = steps_of(frames), float(np.median(steps_of(source)[:-1]))

    assert steps_of(source)[-1] > 3 * usual  # as it was, it jumped
    assert steps[-1] <= (1.1 if style == "crossfade" else 1.0) * usual + 1e-9
    assert np.max(steps) <= (1.6 if style == "blend" else 2.5) * usual


def test_closing_frames_are_in_between_not_two_pictures_over_each_other() -> None:
    """What a crossfade washes out, motion keeps: the texture's contrast."""
    spool = spool_of(drifting(24, 1))
    blend, fade = ([*rendered(LoopRequest(style=style), spool).frames] for style in ("blend", "crossfade"))
    whole = float(np.mean([frame.std() for frame in blend[:8]]))

    assert min(float(frame.std()) for frame in blend[-8:]) > 0.9 * whole
    assert min(float(frame.std()) for frame in fade[-8:]) < 0.8 * whole
    assert np.array_equal(blend[0], drifting(9, 1)[8])  # it begins with a frame as it was


def test_a_morph_goes_half_way_with_things_that_move() -> None:
    first, _, second = drifting(3, 2)
    halfway = Morph.between(first, second).at(0.5)
    inner = (slice(8, -8), slice(8, -8))

    assert np.abs(halfway.astype(int) - drifting(2, 2)[1])[inner].mean() < 2.5
    assert np.array_equal(Morph.between(first, second).at(0.0)[inner], first[inner])
    assert np.array_equal(Morph.between(first, second).at(1.0)[inner], second[inner])


def test_ends_that_have_nothing_in_common_are_crossfaded_and_the_person_hears_it() -> None:
    random = np.random.default_rng(0)
    spool = spool_of([random.integers(0, 256, (64, 96, 3), np.uint8) for _ in range(12)])
    clip = rendered(LoopRequest(), spool)
    faded = rendered(LoopRequest(style="crossfade"), spool)
    frames, plain = list(clip.frames), list(faded.frames)

    assert clip.notes == (Note("loop_crossfaded"),)
    assert faded.notes == ()
    assert all(np.array_equal(a, b) for a, b in zip(frames, plain, strict=True))


@pytest.mark.parametrize("style", ["blend", "crossfade"])
def test_what_is_hidden_never_shines_through(style: str) -> None:
    """The same clip with magenta and with black where nothing can be seen gives the same picture."""
    clips: list[list[Frame]] = []
    for hidden in ((255, 0, 255, 0), (0, 0, 0, 0)):
        frames = drifting(12, 1, channels=4)
        for frame in frames:
            frame[frame[..., 3] == 0] = hidden
        clips.append(list(rendered(LoopRequest.model_validate({"style": style}), spool_of(frames)).frames)[-4:])

    for one, other in zip(*clips, strict=True):
        assert 0.1 < (one[..., 3] > 0).mean() < 0.6
        assert np.array_equal(one[..., 3], other[..., 3])
        assert np.array_equal(one[one[..., 3] > 0], other[other[..., 3] > 0])


def test_a_boomerang_shows_its_ends_once() -> None:
    spool = spool_of(numbered(5), sound=noise(0.625))
    clip = rendered(LoopRequest(style="boomerang"), spool)

    assert colours(clip) == [0, 1, 2, 3, 4, 3, 2, 1]
    assert clip.sound is not None
    assert np.array_equal(clip.sound[30_000:], spool.sound[6_000:24_000][::-1])  # type: ignore[index]


def test_a_loops_sound_closes_too() -> None:
    t = np.arange(3 * SOUND_RATE) / SOUND_RATE
    wave = np.stack([9000 * np.sin(2 * np.pi * 100.3 * t)] * 2, axis=1).astype(np.int16)
    spool = spool_of(numbered(24), sound=wave)
    sound = rendered(LoopRequest(), spool).sound

    assert sound is not None
    steps = np.abs(np.diff(np.concatenate([sound, sound[:1]])[:, 0].astype(int)))
    assert steps[-1] <= 1.1 * np.abs(np.diff(wave[:, 0].astype(int))).max()


def test_a_loop_that_cannot_be_made_is_refused_with_what_would_do() -> None:
    with pytest.raises(LoopShort) as short:
        LoopRequest().gives({"clip": shape(frames=2)})
    with pytest.raises(LoopOverlap) as overlap:
        LoopRequest(seconds=2).gives({"clip": shape(frames=24)})

    assert short.value.facts == {"frames": 2, "least": 3}
    assert overlap.value.facts == {"most": 1.5, "seconds": 3.0}
    assert LoopRequest(seconds=1.5).gives({"clip": shape(frames=24)}).num_frames == 12


# -- speed --


def test_faster_and_slower_keep_every_frame_while_the_rate_allows() -> None:
    spool = spool_of(numbered(6), 8)
    twice, half = (rendered(SpeedRequest(factor=factor), spool) for factor in (2, 0.5))

    assert (colours(twice), twice.fps) == ([0, 1, 2, 3, 4, 5], 16)
    assert (colours(half), half.fps) == ([0, 1, 2, 3, 4, 5], 4)
    assert SpeedRequest(factor=4).gives({"clip": shape(fps=30, frames=60)}) == shape(fps=60, frames=30)


def test_at_its_own_rate_frames_are_left_out_or_shown_again() -> None:
    spool = spool_of(numbered(6), 8)
    twice, half = (rendered(SpeedRequest(factor=factor, frames="nearest"), spool) for factor in (2, 0.5))

    assert (colours(twice), twice.fps) == ([0, 2, 4], 8)
    assert colours(half) == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]


def test_a_blend_mixes_what_is_passed() -> None:
    assert shares(Fraction(1, 2), Fraction(1, 2), 9) == [(0, Fraction(1, 2)), (1, Fraction(1, 2))]
    assert shares(Fraction(2), Fraction(2), 9) == [(2, Fraction(1, 2)), (3, Fraction(1, 2))]
    assert shares(Fraction(9), Fraction(3), 9) == [(9, Fraction(1))]
    spool = spool_of([frame * 20 for frame in numbered(6)], 8)
    assert colours(rendered(SpeedRequest(factor=2, frames="blend"), spool)) == [10, 50, 90]


# -- trim --


def test_a_part_is_cut_out_with_its_own_sound() -> None:
    sound = noise(2)
    spool = spool_of(numbered(16), 8, sound)
    part = rendered(TrimRequest(start=0.5, end=1.25), spool)
    thinned = rendered(TrimRequest(start=0.5, every=4), spool)

    assert colours(part) == [4, 5, 6, 7, 8, 9]
    assert part.sound is not None
    assert np.array_equal(part.sound, sound[24_000:60_000])
    assert (colours(thinned), thinned.fps) == ([4, 8, 12], 2)


@pytest.mark.parametrize(("count", "kept"), [(10, [0, 3, 6]), (9, [0, 3, 6]), (11, [0, 3, 6]), (4, [0]), (2, [0])])
@pytest.mark.parametrize("more", [0, 5])
def test_what_is_thinned_out_ends_with_its_sound_and_not_later(count: int, kept: list[int], more: int) -> None:
    """A rest of frames goes: for the time that the last one would stay there is no sound, or none was asked for."""
    sound = noise((count + more) / 10)
    spool = spool_of(numbered(count + more), 10, sound)
    thinned = rendered(TrimRequest(every=3, end=count / 10), spool)
    assert thinned.sound is not None
    seconds = len(kept) / thinned.fps

    assert colours(thinned) == kept
    assert (seconds, thinned.fps) == (Fraction(count // 3 * 3 or count, 10), Fraction(10, min(3, count)))
    assert np.array_equal(thinned.sound, sound[: round(seconds * SOUND_RATE)])


def test_a_part_that_is_not_there_is_refused_with_the_clips_length() -> None:
    for request, asked in ((TrimRequest(start=3), 3.0), (TrimRequest(end=3.2), 3.2)):
        with pytest.raises(TrimPastEnd) as refused:
            request.gives({"clip": shape(frames=20)})
        assert refused.value.facts == {"asked": asked, "seconds": 2.5}
    assert TrimRequest(end=2.55).gives({"clip": shape(frames=20)}).num_frames == 20
    with pytest.raises(TrimOrder) as refused:
        TrimRequest(start=2, end=1)
    assert refused.value.facts == {"start": 2.0, "end": 1.0}


# -- crop --


@pytest.mark.parametrize(
    ("fields", "box"),
    [
        ({"shape": "1:1"}, (140, 0, 360, 360)),
        ({"shape": "1:1", "place": "left"}, (0, 0, 360, 360)),
        ({"shape": "9:16", "place": "right"}, (438, 0, 202, 360)),
        ({"shape": "21:9", "place": "bottom"}, (0, 86, 640, 274)),
        ({"shape": "16:9"}, (0, 0, 640, 360)),
        ({"left": 100, "height": 50}, (100, 0, 540, 50)),
    ],
)
def test_a_crop_is_where_it_was_asked_for(fields: dict[str, Any], box: tuple[int, int, int, int]) -> None:
    found = CropRequest.model_validate(fields).box(shape())

    assert (found.left, found.top, found.width, found.height) == box


@pytest.mark.parametrize(
    ("given", "wanted", "size"),
    [
        ("405x720", "9:16", (405, 720)),
        ("500x625", "4:5", (500, 625)),
        ("607x1080", "9:16", (607, 1080)),
        ("854x480", "16:9", (854, 480)),
        ("75x75", "1:1", (75, 75)),
        ("405x719", "9:16", (404, 719)),
    ],
)
def test_a_picture_of_the_shape_that_is_asked_for_is_not_touched(
    given: str, wanted: str, size: tuple[int, int]
) -> None:
    width, height = map(int, given.split("x"))
    found = CropRequest.model_validate({"shape": wanted}).box(shape(width, height))

    assert (found.width, found.height) == size


def test_a_crop_changes_no_pixel() -> None:
    frames = drifting(2, 3)
    spool = spool_of(frames)
    cropped = list(rendered(CropRequest(left=10, top=20, width=50, height=30), spool).frames)

    assert all(np.array_equal(a, b[20:50, 10:60]) for a, b in zip(cropped, frames, strict=True))


@pytest.mark.parametrize(
    ("fields", "refusal"), [({}, CropNothing), ({"place": "top"}, CropNothing), ({"shape": "1:1", "left": 4}, CropBoth)]
)
def test_a_crop_that_says_nothing_or_two_things_is_refused(fields: dict[str, Any], refusal: type[Refusal]) -> None:
    with pytest.raises(refusal):
        CropRequest.model_validate(fields)


@pytest.mark.parametrize("fields", [{"left": 630}, {"left": 700}, {"width": 641}, {"top": 300, "height": 61}])
def test_a_crop_outside_the_picture_is_refused_with_its_size(fields: dict[str, Any]) -> None:
    with pytest.raises(CropOutside) as refused:
        CropRequest.model_validate(fields).gives({"clip": shape()})
    assert refused.value.facts == {"width": 640, "height": 360, "least": 16}


def test_a_number_out_of_range_is_no_request() -> None:
    for kind, fields in ((CropRequest, {"left": -1}), (SpeedRequest, {"factor": 5}), (TrimRequest, {"start": -1})):
        with pytest.raises(ValidationError):
            kind.model_validate(fields)


# -- stitch --


def test_two_clips_follow_each_other_at_the_faster_rate() -> None:
    first, second = spool_of(numbered(4), 4, noise(1)), spool_of([f + 100 for f in numbered(4)], 8, noise(0.5, 1))
    clip = rendered(StitchRequest(), first, second)

    assert (colours(clip), clip.fps) == ([0, 0, 1, 1, 2, 2, 3, 3, 100, 101, 102, 103], 8)
    assert clip.sound is not None
    assert np.array_equal(clip.sound[:40_000], first.sound[:40_000])  # type: ignore[index]
    assert np.array_equal(clip.sound[48_000:], second.sound)


def test_a_crossfade_turns_one_into_the_other_and_where_one_is_silent_it_is_silence() -> None:
    first = spool_of([f + 0 for f in numbered(8)], 8)
    second = spool_of([np.full((24, 32, 3), 200, np.uint8)] * 8, 8, noise(1))
    clip = rendered(StitchRequest(crossfade=0.5), first, second)
    levels = colours(clip)

    assert len(levels) == 12
    assert levels[:4] == [0, 1, 2, 3]
    assert levels[8:] == [200] * 4
    assert np.all(np.diff(levels[3:9]) > 20)
    assert clip.sound is not None
    assert not clip.sound[:24_000].any()
    assert clip.sound[30_000:36_000].std() < clip.sound[48_000:].std()


def test_the_frame_in_which_two_clips_meet_is_shown_once() -> None:
    clip = rendered(StitchRequest(seamless=True), spool_of(numbered(4), 4), spool_of([f + 3 for f in numbered(4)], 4))

    assert colours(clip) == [0, 1, 2, 3, 4, 5, 6]


def test_another_shape_is_fitted_in_over_a_blur_or_fills_by_cropping_or_has_clear_bars() -> None:
    first, second = spool_of(numbered(2, 64, 32)), spool_of([np.full((64, 32, 3), 90, np.uint8)] * 2)
    [*_, boxed] = rendered(StitchRequest(), first, second).frames
    [*_, filled] = rendered(StitchRequest(framing="crop"), first, second).frames
    clear = rendered(StitchRequest(), spool_of(numbered(2, 64, 32, 4)), second)
    [*_, barred] = clear.frames

    assert (boxed == 90).all()  # a plain picture over its own blur
    assert (filled == 90).all()
    assert clear.channels == 4
    assert (barred[:, 24:40, 3] == 255).all()
    assert (barred[:, :20, 3] == 0).all()


def test_a_crossfade_longer_than_a_clip_is_refused() -> None:
    with pytest.raises(StitchFade) as refused:
        StitchRequest(crossfade=2).gives({"clip": shape(), "second": shape(frames=12)})
    assert refused.value.facts == {"most": 1.5}


# -- stickers and emojis --


def test_a_sticker_is_discords_square_and_shows_the_whole_picture() -> None:
    clip = rendered(StickerRequest(), spool_of([np.full((90, 160, 3), 50, np.uint8)] * 4, 8, noise(0.5)))
    frame = next(iter(clip.frames))

    assert (clip.width, clip.height, clip.channels, clip.sound) == (320, 320, 4, None)
    assert (frame[70:250, :, 3] == 255).all()
    assert (frame[70:250, :, :3] == 50).all()
    assert (frame[:70, :, 3] == 0).all()
    assert (frame[250:, :, 3] == 0).all()


def test_what_is_longer_than_five_seconds_is_cut_and_the_person_hears_it() -> None:
    clip = rendered(EmojiRequest(framing="crop"), spool_of(numbered(50), 8))

    assert (clip.width, clip.num_frames, clip.channels) == (128, 40, 3)
    assert clip.notes == (Note("stamp_cut", {"seconds": 5.0, "was": 6.2}),)
    assert colours(clip) == list(range(40))


def test_a_clip_with_alpha_keeps_it_in_a_cropped_square() -> None:
    frames = drifting(2, 1, channels=4)
    spool = spool_of(frames)
    clip = rendered(StickerRequest(framing="crop"), spool)
    frame = next(iter(clip.frames))

    assert clip.channels == 4
    assert frame[160, 160, 3] == 255
    assert frame[2, 2, 3] == 0


def test_convert_changes_nothing_and_takes_the_sound_away_where_asked() -> None:
    sound = noise(0.5)
    spool = spool_of(drifting(4, 1), sound=sound)
    kept, mute = rendered(ConvertRequest(), spool), rendered(ConvertRequest(sound="remove"), spool)
    assert all(np.array_equal(a, b) for a, b in zip(kept.frames, spool, strict=True))

    assert kept.sound is sound
    assert mute.sound is None
