"""Every kind of file keeps what it can of colour, alpha, sound and recipe, and fits without many tries."""

from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jobs.texts import say
from media.apng import png_frames
from media.fitting import HEADROOM, ClipTooLarge, fit
from media.formats import FORMATS, Fitted, encode
from media.frames import SOUND_RATE, Frame, FrameSpool, Sound
from media.palette import palette_of
from media.probe import EncodedFootage, decoded_sound, probe, reencode

PLENTY = 50_000_000
WIDTH, HEIGHT = 128, 96
SUFFIXED = [(kind, facts.suffix) for kind, facts in FORMATS.items()]


def textured(count: int, grain: float = 0.0, width: int = WIDTH, height: int = HEIGHT) -> list[Frame]:
    chance = np.random.default_rng(5)
    coarse = chance.integers(40, 220, (6, 9, 3)).astype(np.uint8)
    still = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)).astype(np.float32)
    shape = (height, width, 3)
    return [
        np.clip(np.roll(still, 3 * number, 1) + grain * chance.standard_normal(shape), 0, 255).astype(np.uint8)
        for number in range(count)
    ]


def ball(count: int) -> list[Frame]:
    """A disc with a soft edge that crosses an empty screen."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    frames: list[Frame] = []
    for number, colours in enumerate(textured(count)):
        far = np.hypot(rows - HEIGHT / 2, columns - 30 - 4 * number)
        alpha = np.clip((30 - far) * 16, 0, 255).astype(np.uint8)
        frames.append(np.dstack([colours, alpha]))
    return frames


def tone(seconds: float, hertz: float = 440) -> Sound:
    wave = 9000 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * SOUND_RATE)) / SOUND_RATE)
    return np.repeat(wave.astype(np.int16)[:, None], 2, axis=1)


@pytest.fixture
def film(tmp_path: Path) -> Iterator[Callable[..., FrameSpool]]:
    """Makes spools, with sound where given, and closes them."""
    made: list[FrameSpool] = []

    def of(frames: list[Frame], fps: Fraction | int = 12, sound: Sound | None = None) -> FrameSpool:
        height, width, channels = frames[0].shape
        made.append(FrameSpool.filled(frames, width, height, fps, tmp_path, channels))
        made[-1].sound = sound
        return made[-1]

    yield of
    for spool in made:
        spool.close()


def read_back(path: Path) -> list[Frame]:
    return list(EncodedFootage(path, probe(path)))


@pytest.mark.parametrize(("kind", "suffix"), SUFFIXED)
def test_every_kind_carries_comment_speed_and_picture(
    film: Callable[..., FrameSpool], tmp_path: Path, kind: str, suffix: str
) -> None:
    frames, path = textured(10), tmp_path / f"a{suffix}"
    encoded = encode(kind, film(frames), path, PLENTY, metadata={"comment": '{"<seed>": "ü&7"}'})
    facts, side = probe(path), FORMATS[kind].side

    assert facts.metadata["comment"] == '{"<seed>": "ü&7"}'
    assert facts.seconds == pytest.approx(10 / 12, abs=0.02)
    assert (facts.frames, encoded.num_frames, encoded.passes) == (10, 10, 1)
    assert (facts.width, facts.height) == ((side, side) if side else (WIDTH, HEIGHT)) == (encoded.width, encoded.height)
    assert encoded.ssim is not None
    assert encoded.ssim > 0.8
    if not side:
        off = [
            np.abs(seen[..., :3].astype(int) - frame).mean()
            for seen, frame in zip(read_back(path), frames, strict=True)
        ]
        assert max(off) < 6


@pytest.mark.parametrize("kind", ["webp", "webm", "apng"])
def test_soft_alpha_comes_back(film: Callable[..., FrameSpool], tmp_path: Path, kind: str) -> None:
    frames, path = ball(8), tmp_path / "a"
    encode(kind, film(frames), path, PLENTY)

    for seen, frame in zip(read_back(path), frames, strict=True):
        assert np.abs(seen[..., 3].astype(int) - frame[..., 3]).mean() < 2
        solid = frame[..., 3] == 255
        assert np.abs(seen[solid][:, :3].astype(int) - frame[solid][:, :3]).mean() < 6


def test_an_apng_with_room_is_exact(film: Callable[..., FrameSpool], tmp_path: Path) -> None:
    frames = ball(6)
    encoded = encode("apng", film(frames), tmp_path / "a.png", PLENTY)

    assert encoded.ssim == 1
    for seen, frame in zip(read_back(tmp_path / "a.png"), frames, strict=True):
        shown = frame[..., 3] > 0
        assert np.array_equal(seen[shown], frame[shown])


def test_a_gif_keeps_what_is_clear_clear_in_every_frame(film: Callable[..., FrameSpool], tmp_path: Path) -> None:
    """The ball moves on, and leaves no trace where it was."""
    frames = ball(10)
    encode("gif", film(frames), tmp_path / "a.gif", PLENTY)

    for seen, frame in zip(read_back(tmp_path / "a.gif"), frames, strict=True):
        assert set(np.unique(seen[..., 3]).tolist()) == {0, 255}
        assert not seen[frame[..., 3] == 0][:, 3].any()
        assert seen[frame[..., 3] == 255][:, 3].all()


def test_an_mp4_of_a_clip_with_alpha_shows_white_and_says_so(film: Callable[..., FrameSpool], tmp_path: Path) -> None:
    encoded = encode("mp4", film(ball(5)), tmp_path / "a.mp4", PLENTY)

    assert [note.code for note in encoded.notes] == ["alpha_over_white"]
    assert read_back(tmp_path / "a.mp4")[0][:10, -10:].min() > 250


@pytest.mark.parametrize(("kind", "codec"), [("mp4", "aac"), ("webm", "opus")])
def test_sound_is_heard_at_its_pitch_and_as_long_as_the_pictures(
    film: Callable[..., FrameSpool], tmp_path: Path, kind: str, codec: str
) -> None:
    path = tmp_path / f"a.{kind}"
    encode(kind, film(textured(24), 12, tone(3)), path, PLENTY)
    heard = decoded_sound(path)

    assert codec in probe(path).sound_codec
    assert heard is not None
    assert len(heard) / SOUND_RATE == pytest.approx(2, abs=0.06)
    spectrum = np.abs(np.fft.rfft(heard[8000:72000, 0]))
    assert np.argmax(spectrum) * SOUND_RATE / 64000 == pytest.approx(440, abs=2)
    assert np.abs(heard[20000:60000]).max() == pytest.approx(9000, rel=0.15)


def test_a_format_without_sound_says_so(film: Callable[..., FrameSpool], tmp_path: Path) -> None:
    encoded = encode("webp", film(textured(4), 12, tone(0.3)), tmp_path / "a", PLENTY)
    assert [note.code for note in encoded.notes] == ["no_sound_here"]


def test_sound_makes_room_in_a_small_budget(film: Callable[..., FrameSpool], tmp_path: Path) -> None:
    spool = film(textured(48, grain=8), 12, tone(4))
    roomy, tight = (encode("mp4", spool, tmp_path / "a", budget) for budget in (90_000, 20_000))

    assert roomy.size_bytes <= HEADROOM * 90_000
    assert tight.size_bytes <= HEADROOM * 20_000
    assert "sound_left_out" not in {note.code for note in roomy.notes}
    assert "sound_left_out" in {note.code for note in tight.notes}


def test_what_sound_will_weigh_is_foretold_so_that_one_encode_does(
    film: Callable[..., FrameSpool], tmp_path: Path
) -> None:
    """Sound takes a quarter of this budget, and samples of the pictures hold none of it."""
    noise = np.random.default_rng(1).integers(-9000, 9000, (4 * SOUND_RATE, 2), np.int16)
    encoded = encode("webm", film(textured(48, grain=6), 12, noise), tmp_path / "a", 70_000)

    assert (encoded.passes, probe(encoded.path).sound_codec) == (1, "opus")


@pytest.mark.parametrize("kind", ["mp4", "gif", "webp", "webm", "apng"])
@pytest.mark.parametrize("share", [0.6, 0.25])
def test_two_encodes_land_close_under_the_limit(
    film: Callable[..., FrameSpool], tmp_path: Path, kind: str, share: float
) -> None:
    spool = film(textured(40, grain=5), 12)
    whole = encode(kind, spool, tmp_path / "whole", PLENTY).size_bytes
    encoded = encode(kind, spool, tmp_path / "a", round(share * whole))

    assert encoded.passes <= 2
    least = 0.3 if kind == "apng" else 0.7  # between true colours and a palette lies nothing
    assert least * HEADROOM * share * whole < encoded.size_bytes <= HEADROOM * share * whole
    assert all(say(note.code, note.facts) for note in encoded.notes)


@pytest.mark.parametrize("kind", ["webp", "webm", "apng", "sticker", "emoji"])
def test_an_impossible_budget_is_a_failure_and_leaves_nothing(
    film: Callable[..., FrameSpool], tmp_path: Path, kind: str
) -> None:
    with pytest.raises(ClipTooLarge):
        encode(kind, film(textured(6)), tmp_path / "a", 60)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("kind", "side", "most"), [("sticker", 320, 512 * 1024), ("emoji", 128, 256 * 1024)])
def test_stickers_and_emoji_are_what_discord_takes(
    film: Callable[..., FrameSpool], tmp_path: Path, kind: str, side: int, most: int
) -> None:
    """Grain, alpha and seven seconds: nothing of it fits as it is."""
    chance = np.random.default_rng(2)
    frames = [np.dstack([frame, chance.integers(0, 2, frame.shape[:2], np.uint8) * 255]) for frame in textured(70, 20)]
    encoded = encode(kind, film(frames, 10), tmp_path / "a", PLENTY)
    facts = probe(tmp_path / "a")

    assert (facts.width, facts.height) == (side, side)
    assert 0.6 * most < encoded.size_bytes <= most
    assert (facts.codec, facts.seconds <= 5.05) == (("apng", True) if kind == "sticker" else ("gif", False))
    assert encoded.num_frames > 5
    assert all(say(note.code, note.facts) for note in encoded.notes)
    assert "fewer_colours" in {note.code for note in encoded.notes}


def test_a_wide_clip_stands_in_the_middle_of_its_sticker(film: Callable[..., FrameSpool]) -> None:
    fitted = Fitted(film(textured(2, width=64, height=16)), 128, None)
    frame = fitted[1]

    assert frame.shape == (128, 128, 4)
    assert not frame[:48].any()
    assert not frame[80:].any()
    assert (frame[48:80, :, 3] == 255).all()
    assert np.array_equal(frame, list(fitted)[1])


@pytest.mark.parametrize("kind", list(FORMATS))
def test_the_same_frames_make_the_same_file(film: Callable[..., FrameSpool], tmp_path: Path, kind: str) -> None:
    sound = tone(0.5)
    one, other = (encode(kind, film(ball(6), 12, sound), tmp_path / name, 14_000) for name in ("one", "other"))
    assert one.path.read_bytes() == other.path.read_bytes()


@pytest.mark.parametrize("kind", ["mp4", "gif", "webp", "webm", "apng"])
def test_any_size_is_taken(film: Callable[..., FrameSpool], tmp_path: Path, kind: str) -> None:
    for width, height, count in ((1, 1, 1), (7, 3, 2), (33, 65, 3)):
        frame = np.full((height, width, 4), (90, 200, 40, 255), np.uint8)
        encode(kind, film([frame] * count, 6), tmp_path / "a", PLENTY)
        seen = read_back(tmp_path / "a")
        assert np.abs(seen[-1][0, 0, :3].astype(int) - (90, 200, 40)).max() <= 6


@pytest.mark.parametrize("kind", ["webm", "webp", "apng", "gif"])
def test_a_file_with_alpha_is_written_again_with_alpha(
    film: Callable[..., FrameSpool], tmp_path: Path, kind: str
) -> None:
    first = encode(kind, film(ball(12)), tmp_path / "first", PLENTY, metadata={"comment": "mine"})
    again = reencode(first.path, tmp_path / "again", round(first.size_bytes * 0.7))

    assert again.size_bytes <= HEADROOM * 0.7 * first.size_bytes
    assert probe(again.path).metadata["comment"] == "mine"
    assert read_back(again.path)[3].shape[2] == 4
    assert read_back(again.path)[3][0, 0, 3] == 0


def test_a_palette_keeps_the_exact_colours_of_a_drawing() -> None:
    colours = np.array([[255, 0, 0, 255], [0, 0, 0, 255], [255, 255, 255, 255], [0, 80, 200, 128]], np.uint8)
    frame = colours[np.arange(64 * 64).reshape(64, 64) // 16 % 4]
    palette = palette_of([frame], 16, soft=True)

    found = palette.colours[palette.indices(frame)]
    solid = frame[..., 3] == 255
    assert np.abs(found[solid].astype(int) - frame[solid]).max() <= 4


def test_a_gif_of_few_colours_is_exact(film: Callable[..., FrameSpool], tmp_path: Path) -> None:
    """Colours one level apart too, which the table of near colours does not tell from each other."""
    frames = [np.zeros((48, 64, 3), np.uint8) + np.arange(64, dtype=np.uint8)[:, None] for _ in range(4)]
    for number, frame in enumerate(frames):
        frame[8:16, 8 * number : 8 * number + 8] = (250, 10, 10 + number)
    encode("gif", film(frames, 12), tmp_path / "a.gif", PLENTY)

    assert all(np.array_equal(a, b) for a, b in zip(png_frames(tmp_path / "a.gif"), frames, strict=True))


def test_a_webp_stores_only_what_changes(film: Callable[..., FrameSpool], tmp_path: Path) -> None:
    frames = [textured(1)[0].copy() for _ in range(12)]
    for number, frame in enumerate(frames):
        frame[11 : 11 + number // 2, 21:24] = 255  # every second frame is like the one before it
    encoded = encode("webp", film(frames, 12), tmp_path / "a.webp", PLENTY)
    still = encode("webp", film(frames[:1], 12), tmp_path / "b.webp", PLENTY)

    assert (encoded.num_frames, probe(encoded.path).frames) == (12, 12)
    assert encoded.size_bytes < still.size_bytes + 11 * 150
    assert (encoded.ssim or 0) > 0.97


class Uphill:
    """A course that first becomes heavier: a drawing whose few colours become many when it is scaled."""

    end = 9.0

    def sample(self, step: float) -> int:
        """100 kB, a quarter more at step 1, then half for each."""
        return round(100_000 * (1 + step / 4 if step < 1 else 1.25 * 2 ** -(step - 1)))

    def encode(self, step: float, path: Path, limit_bytes: int) -> int:
        """As it was sampled."""
        path.write_bytes(bytes(self.sample(step)))
        return self.sample(step)


@pytest.mark.parametrize("budget", [90_000, 60_000, 9_000])
def test_a_road_that_leads_uphill_first_is_not_walked_to_its_end(tmp_path: Path, budget: int) -> None:
    fit(Uphill(), tmp_path / "a", budget, plenty=False)

    assert 0.85 <= (tmp_path / "a").stat().st_size / (budget * HEADROOM) <= 1
