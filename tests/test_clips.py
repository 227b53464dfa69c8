"""A stranger's video or moving picture becomes frames at a steady rate, or a sentence; never anything else."""

import asyncio
import os
import time
from dataclasses import replace
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from jobs.errors import Refusal
from jobs.settings import LimitSettings
from jobs.texts import say, word
from media.clip_limits import ClipLimits, TooHardToRead, TooSlowToRead, clip_limits_of
from media.clips import ClipFacts, decode_clip, probe_clip
from media.frames import SOUND_RATE, FrameSpool
from media.limits import PictureLimits
from media.pictures import read_picture
from media.sounds import decode_sound, probe_sound
from tests.clip_zygote import Zygote
from tests.odd_clips import (
    BLUE,
    CLIPS,
    GREEN,
    RED,
    TURNS,
    WHITE,
    animated,
    gif_with_raw_delays,
    index_first,
    made,
    nits_grey,
    quarters,
    sound,
    turned,
    video,
)
from tests.odd_pictures import swapped_profile

LIMITS = ClipLimits()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "file"


@pytest.fixture(scope="module")
def zygote():
    with Zygote() as running:
        yield running


async def both(path: Path, data: bytes, zygote: Zygote, limits: ClipLimits = LIMITS) -> tuple[ClipFacts, FrameSpool]:
    put(path, data)
    facts = await probe_clip(path, limits, zygote.launch)
    return facts, await decode_clip(path, limits, path.parent, zygote.launch)


def put(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def open_files() -> int:
    """Of this process."""
    return len(list(Path("/proc/self/fd").iterdir()))


def names_in(folder: Path) -> list[str]:
    return [entry.name for entry in folder.iterdir()]


def near(seen: np.ndarray, meant: tuple[int, ...], within: int = 12) -> bool:
    return bool(np.abs(seen.astype(int) - np.array(meant)).max() <= within)


@pytest.mark.parametrize("name", CLIPS)
async def test_every_odd_clip_is_read_or_gets_its_sentence(name: str, path: Path, zygote: Zygote) -> None:
    put(path, made(name))
    try:
        facts = await probe_clip(path, LIMITS, zygote.launch)
        outcome = "ok"
        assert all(say(note.code, note.facts) for note in facts.notes)
    except Refusal as refusal:
        outcome = refusal.code if word(refusal) else "without a sentence"

    assert outcome == CLIPS[name].expectation


@pytest.mark.parametrize("name", [name for name, clip in CLIPS.items() if clip.expectation == "ok"])
async def test_what_is_decoded_is_what_was_promised(name: str, path: Path, zygote: Zygote) -> None:
    facts, spool = await both(path, made(name), zygote)
    with spool:
        shape = (facts.height, facts.width, 4 if facts.has_alpha else 3)
        assert (spool.count, spool.fps, spool.channels) == (facts.num_frames, facts.fps, shape[2])
        assert {frame.shape for frame in spool} == {shape}
        assert (spool.sound is not None) == facts.has_sound
        if spool.sound is not None:
            assert len(spool.sound) == round(facts.num_frames / facts.fps * SOUND_RATE)


@pytest.mark.parametrize("name", ["mp4 h264", "webm vp9", "mkv", "mov", "mp4 hevc", "mp4 av1", "10 bits", "full range"])
async def test_colours_and_order_survive(name: str, path: Path, zygote: Zygote) -> None:
    _, spool = await both(path, made(name), zygote)
    with spool:
        for frame in spool:
            assert near(frame[16, 40], RED, 30)
            assert near(frame[16, 80], GREEN, 30)
            assert near(frame[48, 40], BLUE, 30)
            assert near(frame[48, 80], WHITE, 30)
        bars = [int(frame[:32, :36].astype(int).sum(2).mean(0).argmin()) for frame in spool]
        assert np.abs(np.array(bars) - np.arange(8) * 4).max() <= 1


@pytest.mark.parametrize("how", TURNS)
async def test_a_phone_held_any_way_gives_an_upright_clip(how: str, path: Path, zygote: Zygote) -> None:
    facts, spool = await both(path, turned(how), zygote)
    with spool:
        seen = spool[3].astype(int)

    assert (facts.width, facts.height) == (96, 64)
    assert np.abs(seen - quarters(shift=12).astype(int)).mean() < 8


@pytest.mark.parametrize(
    "name",
    [
        "webm vp8 with alpha",
        "webm vp9 with alpha",
        "mov prores with alpha",
        "transparent gif",
        "transparent webp",
        "transparent apng",
    ],
)
async def test_alpha_is_kept(name: str, path: Path, zygote: Zygote) -> None:
    facts, spool = await both(path, made(name), zygote)
    with spool:
        frame = spool[1]

    assert facts.has_alpha
    assert frame[24, 8, 3] == 0
    assert frame[24, 56, 3] == 255
    assert near(frame[24, 56, :3], RED)


@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize(("kind", "more"), [("PNG", {}), ("WEBP", {"lossless": True}), ("AVIF", {"speed": 10})])
async def test_a_colour_profile_is_applied_as_it_is_to_pictures(
    kind: str, more: dict[str, Any], alpha: bool, path: Path, zygote: Zygote
) -> None:
    """Red and green are exchanged in it; the alpha is what it was without it."""
    data = animated(kind, alpha=alpha, icc_profile=swapped_profile(), **more)
    _, spool = await both(path, data, zygote)
    _, plain = await both(path, animated(kind, alpha=alpha, **more), zygote)
    with spool, plain, Image.open(BytesIO(read_picture(data, PictureLimits()).png)) as picture:
        seen, solid = spool[0], plain[0][..., 3] == 255 if alpha else np.ones((48, 64), bool)
        assert np.array_equal(seen[solid][:, :3], np.asarray(picture)[solid])
        assert np.array_equal(seen[..., 3:], plain[0][..., 3:])
        assert near(seen[30, 60, :3], tuple(plain[0][30, 60, [1, 0, 2]].tolist()), 25)


async def test_a_gif_that_only_could_be_seen_through_is_opaque(path: Path, zygote: Zygote) -> None:
    """Most GIFs have a transparent colour, by which a frame keeps what the one before it showed."""
    facts, spool = await both(path, animated("GIF", disposal=1), zygote)
    spool.close()

    assert not facts.has_alpha


@pytest.mark.parametrize(("code", "curve", "meant"), [(64, 16, 0), (450, 16, 136), (573, 16, 229), (723, 16, 255)])
async def test_hdr_comes_to_the_brightness_that_was_meant(
    code: int, curve: int, meant: int, path: Path, zygote: Zygote
) -> None:
    """50 cd/m² stays what it is beside a white of 203 (sRGB 136), 203 leaves room for highlights, 1000 is white."""
    facts, spool = await both(path, nits_grey(code, curve), zygote)
    with spool:
        assert near(spool[1][32, 32], (meant,) * 3, 3)
    assert "clip_tone_mapped" in {note.code for note in facts.notes}


async def test_hlg_and_pq_agree_on_white(path: Path, zygote: Zygote) -> None:
    """75 % HLG is the same 203 cd/m² as 58 % PQ (BT.2408, table 1)."""
    shown = []
    for code, curve in ((573, 16), (721, 18)):
        _, spool = await both(path, nits_grey(code, curve), zygote)
        with spool:
            shown.append(int(spool[0][32, 32, 1]))

    assert abs(shown[0] - shown[1]) <= 4


async def test_a_large_clip_comes_down_to_the_working_side_and_says_so(path: Path, zygote: Zygote) -> None:
    facts, spool = await both(path, made("large"), zygote)
    with spool:
        assert spool[0].shape == (720, 1280, 3)
    said = " ".join(say(note.code, note.facts) for note in facts.notes)
    assert "1280 × 720" in said
    assert "1920 × 1080" in said


async def test_browsers_delays_are_used_for_gifs_that_ask_for_none(path: Path, zygote: Zygote) -> None:
    facts, spool = await both(path, gif_with_raw_delays(0, 1, 0, 1), zygote)
    spool.close()

    assert (facts.fps, facts.num_frames) == (10, 4)


async def test_uneven_delays_keep_their_moments(path: Path, zygote: Zygote) -> None:
    facts, spool = await both(path, gif_with_raw_delays(10, 20, 10, 30), zygote)
    with spool:
        same = [bool(np.array_equal(spool[at], spool[at + 1])) for at in range(6)]

    assert (facts.fps, facts.num_frames) == (10, 7)
    assert same == [False, True, False, False, True, True]


async def test_a_broken_tail_leaves_what_could_be_read(path: Path, zygote: Zygote) -> None:
    facts, spool = await both(path, made("index missing half"), zygote)
    with spool:
        assert 10 <= spool.count < 30
    assert [note.code for note in facts.notes] == ["clip_damaged"]


async def test_sound_begins_with_the_pictures(path: Path, zygote: Zygote) -> None:
    _, spool = await both(path, video(tone=0.8), zygote)
    with spool:
        heard = spool.sound
    assert heard is not None
    loud = np.abs(heard[:, 0].astype(int))
    spectrum = np.abs(np.fft.rfft(heard[4800:28_800, 0].astype(float)))

    assert loud[480:2400].max() > 10_000
    assert abs(spectrum.argmax() * 2 - 440) <= 2
    assert np.array_equal(heard[:, 0], heard[:, 1])


async def test_sound_that_comes_late_is_late(path: Path, zygote: Zygote) -> None:
    """The pictures begin a second before the sound in this file; cutting it by time keeps them together."""
    data = video("matroska", tone=0.5, pts=[0, 100, 200, 300, 400, 500, 600, 700], time_base=Fraction(1, 1000))
    _, spool = await both(path, data, zygote)
    with spool:
        heard = spool.sound

    assert heard is not None
    assert len(heard) == round(0.8 * SOUND_RATE)
    assert np.abs(heard[:20_000]).max() > 10_000
    assert np.abs(heard[30_000:]).max() < 500, "after half a second of sound there is silence"


@pytest.mark.parametrize(
    ("kind", "codec", "rate"),
    [
        ("mp3", "libmp3lame", 44_100),
        ("wav", "pcm_s16le", 22_050),
        ("ogg", "libopus", 48_000),
        ("flac", "flac", 44_100),
        ("mp4", "aac", 48_000),
        ("adts", "aac", 48_000),
    ],
)
async def test_every_kind_of_sound_becomes_the_same_tone(
    kind: str, codec: str, rate: int, path: Path, zygote: Zygote
) -> None:
    put(path, sound(kind, codec, 1.0, rate))
    facts = await probe_sound(path, LIMITS, zygote.launch)
    heard = await decode_sound(path, LIMITS, zygote.launch)
    middle = heard[12_000:36_000].astype(float)

    assert heard.dtype == np.int16
    assert facts.seconds == len(heard) / SOUND_RATE
    assert abs(facts.seconds - 1) < 0.08
    assert abs(np.abs(np.fft.rfft(middle[:, 0])).argmax() * 2 - 440) <= 2
    assert abs(np.sqrt(2 * (middle[:, 0] ** 2).mean()) / 16_384 - 1) < 0.05, "as loud as it was"


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "clip_empty"),
        (b"just some words", "sound_not"),
        (animated("GIF"), "sound_not"),
        (video(), "sound_none"),
        (sound("mp4", "aac")[:300], "sound_broken"),
        (sound("wav", "pcm_s16le", 3.0, 8000), "sound_too_long"),
    ],
)
async def test_what_has_no_sound_gets_its_sentence(data: bytes, code: str, path: Path, zygote: Zygote) -> None:
    put(path, data)
    with pytest.raises(Refusal) as refusal:
        await probe_sound(path, replace(LIMITS, max_sound_seconds=2), zygote.launch)

    assert refusal.value.code == code
    assert word(refusal.value)


async def test_a_process_of_its_own_reads_a_clip_and_leaves_nothing(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real child, without the tests' shortcut, and with a secret that must not reach it."""
    monkeypatch.setenv("ZOETROPE_BOT__TOKEN", "secret")
    put(path, video(tone=0.8))
    before = open_files()
    facts = await probe_clip(path, LIMITS)
    with await decode_clip(path, LIMITS, path.parent) as spool:
        assert (spool.count, spool.width) == (facts.num_frames, facts.width)
        assert near(spool[7][16, 8], RED, 30)
    await asyncio.sleep(0)

    assert open_files() <= before
    assert names_in(path.parent) == ["file"]


async def test_memory_and_time_are_bounded(path: Path, zygote: Zygote) -> None:
    put(path, made("large"))
    with pytest.raises(TooHardToRead):
        await probe_clip(path, replace(LIMITS, memory_bytes=300 * 2**20), zygote.launch)
    noise = index_first(options={"preset": "ultrafast", "crf": "1"})
    put(path, noise)
    began = time.monotonic()
    with pytest.raises(TooSlowToRead):
        await probe_clip(path, replace(LIMITS, decode_seconds=0), zygote.launch)
    assert time.monotonic() - began < 20


async def test_a_cancelled_reader_takes_its_child_along(path: Path, zygote: Zygote) -> None:
    put(path, made("large"))
    reading = asyncio.create_task(probe_clip(path, LIMITS, zygote.launch))
    while not zygote.running():
        await asyncio.sleep(0.001)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading

    assert not zygote.running()


def test_the_owner_sets_the_limits() -> None:
    limits = clip_limits_of(LimitSettings(clip_bytes=5000, clip_seconds=5, clip_frames=50, clip_side=320))

    assert (limits.max_bytes, limits.max_seconds, limits.max_frames, limits.working_side) == (5000, 5, 50, 320)
    assert limits.max_sound_seconds == 600, "a song may be longer than the clip that it is for"


@pytest.mark.slow
async def test_ten_seconds_of_720p_are_probed_within_three(path: Path) -> None:
    rng = np.random.default_rng(1)
    base = rng.integers(0, 255, (90, 160, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    shown = (np.ascontiguousarray(np.roll(base, 4 * number, 1)) for number in range(300))
    put(path, video(pictures=shown, rate=30, options={"preset": "veryfast"}, tone=10))
    began = os.times()
    await probe_clip(path, LIMITS)
    ended = os.times()
    spent = ended.children_user + ended.children_system - began.children_user - began.children_system

    assert spent < 3, "CPU seconds"
