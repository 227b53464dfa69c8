"""The steps that edit a clip: what they say will come out comes out; pictures cut, joined and framed, alpha and all."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from inference.systems.base import Cancelled
from jobs.errors import Note, Refusal
from jobs.requests.base import Finishing, Shape
from jobs.requests.convert import ConvertRequest
from jobs.requests.crop import CropBoth, CropNothing, CropOutside, CropRequest
from jobs.requests.emoji import EmojiRequest
from jobs.requests.loop import LoopRequest
from jobs.requests.speed import SpeedRequest
from jobs.requests.sticker import StickerRequest
from jobs.requests.stitch import StitchFade, StitchRequest
from jobs.requests.trim import TrimRequest
from media.frames import SOUND_RATE
from tests.editing import colours, drifting, noise, numbered, rendered, shape
from tests.spools import spool_of

pytestmark = pytest.mark.usefixtures("closed_spools")


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
