"""Clips become files that play everywhere, in the right colours and at the right speed, and always fit."""

import io
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from jobs.texts import say
from media.fitting import HEADROOM, ClipTooLarge, Encoded
from media.frames import DiskFull, Frame, FrameSpool
from media.gif import encode_gif
from media.passes import Meter
from media.probe import probe, reencode, rgb
from media.video import encode_mp4

PLENTY = 50_000_000
Encoder = Callable[..., Encoded]


@pytest.fixture
def film(tmp_path: Path) -> Iterator[Callable[..., FrameSpool]]:
    """Makes spools and closes them."""
    made: list[FrameSpool] = []

    def of(frames: Iterator[Frame] | list[Frame], fps: Fraction | int = 12) -> FrameSpool:
        frames = list(frames)
        height, width, _ = frames[0].shape
        made.append(FrameSpool.filled(frames, width, height, fps, tmp_path))
        return made[-1]

    yield of
    for spool in made:
        spool.close()


def flat(colour: tuple[int, int, int], width: int = 64, height: int = 48) -> Frame:
    return np.full((height, width, 3), colour, np.uint8)


def drifting(count: int, width: int = 160, height: int = 96, grain: float = 0) -> Iterator[Frame]:
    """A textured picture that drifts to the left, with film grain where asked."""
    chance = np.random.default_rng(5)
    coarse = chance.integers(60, 200, (max(2, height // 20), max(4, width // 10), 3)).astype(np.uint8)
    wide = np.asarray(Image.fromarray(coarse).resize((width * 2, height), Image.Resampling.BICUBIC)).astype(np.float32)
    for number in range(count):
        seen = np.roll(wide, -2 * number, axis=1)[:, :width] + grain * chance.standard_normal((height, width, 3))
        yield np.clip(seen, 0, 255).astype(np.uint8)


def decoded(path: Path) -> list[Frame]:
    with av.open(str(path)) as container:
        return [rgb(frame) for frame in container.decode(video=0)]


def gif_delays(path: Path) -> list[int]:
    """Each frame's delay in milliseconds, as Pillow reads it."""
    with Image.open(path) as gif:
        return [gif.seek(number) or int(gif.info["duration"]) for number in range(getattr(gif, "n_frames", 1))]


# Spool


def test_a_spool_is_read_as_often_as_one_likes(film: Callable[..., FrameSpool]) -> None:
    frames = list(drifting(5))
    spool = film(frames)

    for _ in range(2):
        assert all(np.array_equal(kept, frame) for kept, frame in zip(spool, frames, strict=True))
    assert np.array_equal(spool[-1], frames[-1])


def test_a_full_disk_is_a_failure_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(**_: object) -> io.RawIOBase:
        return Path("/dev/full").open("r+b", buffering=0)  # Linux' own

    monkeypatch.setattr("tempfile.TemporaryFile", full)
    with FrameSpool(64, 48, 12) as spool, pytest.raises(DiskFull) as failure:
        spool.append(flat((0, 0, 0)))
    assert "no room left" in say(failure.value.code, {})


def test_two_readers_do_not_disturb_each_other(film: Callable[..., FrameSpool]) -> None:
    spool = film([flat((level, level, level)) for level in (10, 20, 30)])
    one, other = iter(spool), iter(spool)

    assert [int(next(reader)[0, 0, 0]) for reader in (one, one, other, one, other)] == [10, 20, 10, 30, 20]


def test_threads_read_the_same_spool_at_once(film: Callable[..., FrameSpool]) -> None:
    frames = list(drifting(40))
    spool = film(frames)

    def intact(_: int) -> bool:
        return all(np.array_equal(kept, frame) for kept, frame in zip(spool, frames, strict=True))

    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(intact, range(8)))


def test_a_spool_leaves_no_file_to_find(tmp_path: Path) -> None:
    with FrameSpool.filled(drifting(3), 160, 96, 12, tmp_path) as spool:
        assert len(spool) == 3
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("wrong", [np.zeros((48, 63, 3), np.uint8), np.zeros((48, 64, 3), np.float32)])
def test_a_frame_of_another_size_or_type_is_a_bug(film: Callable[..., FrameSpool], wrong: Frame) -> None:
    with pytest.raises(ValueError, match="no frame of 64 × 48"):
        film([flat((0, 0, 0))]).append(wrong)


# MP4


@pytest.mark.parametrize("fps", [Fraction(7), Fraction(24), Fraction(30000, 1001), Fraction(25, 4), Fraction(1)])
def test_an_mp4_is_what_every_player_takes(film: Callable[..., FrameSpool], tmp_path: Path, fps: Fraction) -> None:
    encode_mp4(film(drifting(9), fps), tmp_path / "a.mp4", PLENTY)
    facts = probe(tmp_path / "a.mp4")

    assert (facts.codec, facts.profile, facts.pix_fmt, facts.moov_first) == ("h264", "High", "yuv420p", True)
    assert (facts.width, facts.height, facts.frames, facts.fps) == (160, 96, 9, fps)
    assert facts.seconds == pytest.approx(9 / fps)


def test_the_first_packet_is_a_keyframe_at_zero(film: Callable[..., FrameSpool], tmp_path: Path) -> None:
    encode_mp4(film(drifting(30)), tmp_path / "a.mp4", PLENTY)
    with av.open(str(tmp_path / "a.mp4")) as container:
        first = next(container.demux(video=0))

    assert first.is_keyframe
    assert first.pts == 0


@pytest.mark.parametrize("colour", [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0), (200, 30, 90)])
def test_colours_come_back(film: Callable[..., FrameSpool], tmp_path: Path, colour: tuple[int, int, int]) -> None:
    """Decoded here by BT.709's own numbers, not by the code under test; the tags tell players to do the same."""
    encode_mp4(film([flat(colour)] * 3), tmp_path / "a.mp4", PLENTY)
    with av.open(str(tmp_path / "a.mp4")) as container:
        frame = next(container.decode(video=0))
        tags = (frame.colorspace, frame.color_range, frame.color_primaries, frame.color_trc)
        y, cb, cr = (float(np.frombuffer(bytes(plane), np.uint8)[0]) for plane in frame.planes)

    luma, blue, red = (y - 16) / 219, (cb - 128) / 224, (cr - 128) / 224
    seen = (luma + 1.5748 * red, luma - 0.1873 * blue - 0.4681 * red, luma + 1.8556 * blue)
    assert tags == (1, 1, 1, 1)
    assert max(abs(255 * channel - wanted) for channel, wanted in zip(seen, colour, strict=True)) <= 3


@pytest.mark.parametrize(("width", "height"), [(1, 1), (2, 2), (3, 5), (97, 53), (16, 200)])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_any_size_and_length_is_encoded(
    film: Callable[..., FrameSpool], tmp_path: Path, width: int, height: int, count: int
) -> None:
    encoded = encode_mp4(film([flat((90, 200, 40), width, height)] * count, 6), tmp_path / "a.mp4", PLENTY)
    gif = encode_gif(film([flat((90, 200, 40), width, height)] * count, 6), tmp_path / "a.gif", PLENTY)

    assert (encoded.width, encoded.height) == (width + width % 2, height + height % 2)
    assert (gif.width, gif.height) == (width, height)
    for path in (encoded.path, gif.path):
        assert len(decoded(path)) == count
        assert np.abs(decoded(path)[-1].astype(int) - (90, 200, 40)).max() <= 4
    assert probe(encoded.path).seconds == pytest.approx(count / 6)


def test_no_frame_is_cut_into_slices(film: Callable[..., FrameSpool], tmp_path: Path) -> None:
    """Slices, which PyAV asks for where it is not told otherwise, cost likeness at the same weight."""
    encode_mp4(film(drifting(12, 320, 192)), tmp_path / "a.mp4", PLENTY)
    with av.open(str(tmp_path / "a.mp4")) as container:
        packets = [bytes(packet) for packet in container.demux(video=0) if packet.size]

    assert [[kind for kind in units(packet) if kind in (1, 5)] for packet in packets] == [[5]] + [[1]] * 11


def units(packet: bytes) -> Iterator[int]:
    """The kinds of a packet's NAL units (ITU-T H.264, table 7-1), each behind its length of four bytes."""
    while packet:
        yield packet[4] & 31
        packet = packet[4 + int.from_bytes(packet[:4], "big") :]


def test_an_odd_side_repeats_its_edge_and_moves_nothing(film: Callable[..., FrameSpool], tmp_path: Path) -> None:
    frame = next(drifting(1, 97, 53))
    encode_mp4(film([frame]), tmp_path / "a.mp4", PLENTY)
    seen = decoded(tmp_path / "a.mp4")[0].astype(int)

    assert np.abs(seen[:53, :97] - frame).mean() < 4
    assert np.abs(seen[:, 97] - seen[:, 96]).mean() < 6


def test_the_usual_clip_fits_at_once_and_nearly_untouched(film: Callable[..., FrameSpool], tmp_path: Path) -> None:
    frames = list(drifting(25, 1024, 576))
    encoded = encode_mp4(film(frames, 7), tmp_path / "a.mp4", 10 * 2**20)

    assert (encoded.passes, encoded.notes) == (1, ())
    assert np.abs(decoded(encoded.path)[12].astype(int) - frames[12]).mean() < 2


def test_the_same_frames_make_the_same_file(film: Callable[..., FrameSpool], tmp_path: Path) -> None:
    for encode, kind in ((encode_mp4, "mp4"), (encode_gif, "gif")):
        one, other = (encode(film(drifting(6)), tmp_path / f"{name}.{kind}", PLENTY) for name in ("one", "other"))
        assert one.path.read_bytes() == other.path.read_bytes()


# GIF


@pytest.mark.parametrize(
    ("fps", "count", "kept"),
    [(7, 14, 14), (12, 12, 12), (16, 32, 32), (24, 24, 24), (25, 25, 25), (30, 30, 30), (48, 48, 24), (60, 60, 30)],
)
def test_a_gif_lasts_as_long_as_the_clip(
    film: Callable[..., FrameSpool], tmp_path: Path, fps: int, count: int, kept: int
) -> None:
    encode_gif(film(drifting(count, 64, 48), fps), tmp_path / "a.gif", PLENTY)
    delays = gif_delays(tmp_path / "a.gif")

    assert len(delays) == kept
    assert sum(delays) == pytest.approx(1000 * count / fps, abs=20)
    assert min(delays[:-1]) >= 30  # below 20 browsers make 100 of it
    assert max(delays) - min(delays[:-1]) <= 10


@pytest.mark.parametrize(("fps", "kept"), [(24, 12), (25, 13), (12, 12)])
def test_a_gif_gives_up_frames_before_it_becomes_smaller(
    film: Callable[..., FrameSpool], tmp_path: Path, fps: int, kept: int
) -> None:
    spool = film(drifting(fps, grain=5), fps)
    whole = encode_gif(spool, tmp_path / "a.gif", PLENTY).size_bytes
    fewer = encode_gif(spool, tmp_path / "a.gif", round(whole * 0.85 / HEADROOM))

    assert fewer.num_frames == kept
    assert fewer.width == 160


def test_a_gif_loops_for_ever_and_looks_like_the_clip(film: Callable[..., FrameSpool], tmp_path: Path) -> None:
    frames = list(drifting(12))
    encode_gif(film(frames), tmp_path / "a.gif", PLENTY)
    with Image.open(tmp_path / "a.gif") as gif:
        assert gif.info["loop"] == 0
        for number, frame in enumerate(frames):
            gif.seek(number)
            assert np.abs(np.asarray(gif.convert("RGB")).astype(int) - frame).mean() < 9


def test_a_gif_stores_only_what_moves(film: Callable[..., FrameSpool], tmp_path: Path) -> None:
    """A small dot that wanders over a grainy still costs little more than the still."""
    still = next(drifting(1, 200, 150, grain=20))

    def dotted(number: int) -> Frame:
        frame = still.copy()
        frame[20:30, 10 * number : 10 * number + 10] = (255, 0, 0)
        return frame

    alone = encode_gif(film([still]), tmp_path / "one.gif", PLENTY).size_bytes
    moving = encode_gif(film([dotted(number) for number in range(15)]), tmp_path / "all.gif", PLENTY).size_bytes
    assert moving < 1.5 * alone


# Budgets


@pytest.mark.parametrize("encode", [encode_mp4, encode_gif])
@pytest.mark.parametrize("budget", [8_000, 20_000, 60_000, 200_000, 1_000_000])
def test_whatever_the_budget_the_file_fits(
    film: Callable[..., FrameSpool], tmp_path: Path, encode: Encoder, budget: int
) -> None:
    spool = film(drifting(24, grain=25), 24)
    encoded = encode(spool, tmp_path / "a", budget)
    facts = probe(encoded.path)

    assert encoded.size_bytes == encoded.path.stat().st_size <= 0.95 * budget
    assert (facts.width, facts.height, facts.frames) == (encoded.width, encoded.height, encoded.num_frames)
    assert all(say(note.code, note.facts) for note in encoded.notes)
    assert (encoded.width < 160) == any(note.code == "made_smaller" for note in encoded.notes)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("encode", [encode_mp4, encode_gif])
def test_a_budget_is_used(film: Callable[..., FrameSpool], tmp_path: Path, encode: Encoder) -> None:
    """Fitting by throwing most of the picture away would be easy."""
    spool = film(drifting(24, grain=25), 12)
    whole = encode(spool, tmp_path / "whole", PLENTY).size_bytes
    for share in (0.5, 0.15):
        encoded = encode(spool, tmp_path / "a", int(whole * share))
        assert encoded.size_bytes > 0.6 * HEADROOM * whole * share
        assert encoded.passes <= 3  # two are the rule; 24 frames of grain are too few for a forecast


@pytest.mark.parametrize("encode", [encode_mp4, encode_gif])
@pytest.mark.parametrize("budget", [0, 1, 500])
def test_an_impossible_budget_is_a_failure_and_leaves_nothing(
    film: Callable[..., FrameSpool], tmp_path: Path, encode: Encoder, budget: int
) -> None:
    spool = film(drifting(24), 24)
    with pytest.raises(ClipTooLarge) as failure:
        encode(spool, tmp_path / "a", budget)

    assert say(failure.value.code, failure.value.facts)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("encode", [encode_mp4, encode_gif])
def test_every_frame_is_counted_and_a_cancel_leaves_nothing(
    film: Callable[..., FrameSpool], tmp_path: Path, encode: Encoder
) -> None:
    spool, seen = film(drifting(10)), list[tuple[int, int]]()

    def count(done: int, total: int) -> None:
        seen.append((done, total))

    encode(spool, tmp_path / "a", PLENTY, on_frame=count)
    assert seen == [(done, 10) for done in range(1, 11)]

    def cancel(done: int, total: int) -> None:
        if done == total // 2:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        encode(spool, tmp_path / "b", PLENTY, on_frame=cancel)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_hopeless_pass_ends_early() -> None:
    meter = Meter(10_000, 90)
    for done in range(90):
        meter.add(3_000 if done == 0 else 1_000)
        if meter.hopeless:
            break

    assert len(meter.sizes) == 8 + 1
    assert meter.forecast() == 3_000 + 89 * 1_000


def test_a_clip_that_grows_heavier_than_its_samples_still_fits(film: Callable[..., FrameSpool], tmp_path: Path) -> None:
    """Grain in a few frames, between the places where samples are taken."""
    calm, wild = list(drifting(60, 80, 48)), list(drifting(60, 80, 48, grain=60))
    frames = [wild[at] if at % 20 in {2, 3, 4, 5} else calm[at] for at in range(60)]
    encoded = encode_gif(film(frames, 12), tmp_path / "a", 90_000)

    assert encoded.size_bytes <= HEADROOM * 90_000


# Metadata and second thoughts


@pytest.mark.parametrize("encode", [encode_mp4, encode_gif])
@pytest.mark.parametrize("comment", ['{"seed": 7}', "ü" * 3000])
def test_a_comment_travels_with_the_file(
    film: Callable[..., FrameSpool], tmp_path: Path, encode: Encoder, comment: str
) -> None:
    encoded = encode(film(drifting(4)), tmp_path / "a", PLENTY, metadata={"comment": comment})

    assert probe(encoded.path).metadata["comment"] == comment
    assert len(decoded(encoded.path)) == 4


@pytest.mark.parametrize("encode", [encode_mp4, encode_gif])
def test_a_file_that_was_too_large_is_written_again(
    film: Callable[..., FrameSpool], tmp_path: Path, encode: Encoder
) -> None:
    frames = list(drifting(24, grain=15))
    first = encode(film(frames, 12), tmp_path / "first", PLENTY, metadata={"comment": "mine"})
    again = reencode(first.path, tmp_path / "again", first.size_bytes // 2)
    before, after = probe(first.path), probe(again.path)

    assert again.size_bytes <= 0.95 * (first.size_bytes // 2)
    assert after.codec == before.codec
    assert after.seconds == pytest.approx(before.seconds)
    assert after.metadata["comment"] == "mine"
