"""A stranger's picture becomes an upright sRGB PNG, or a sentence; never anything else."""

import io
import random
import threading
import warnings

import numpy as np
import pytest
from PIL import Image

from jobs.errors import Refusal
from jobs.texts import word
from media.kinds import SNIFF_BYTES, KindNotRead, NotAPicture, sniff
from media.limits import PictureLimits, TooManyBytes, declared_refusal
from media.pictures import Picture, read_picture
from tests.odd_pictures import ODD, animated, png_of, rotated_by_exif, saved, scene, swapped_profile

LIMITS = PictureLimits()


def pixels(picture: Picture) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(picture.png)))


def outcome(data: bytes, limits: PictureLimits = LIMITS) -> str:
    try:
        read_picture(data, limits)
    except Refusal as refusal:
        return refusal.code if word(refusal) else "without a sentence"
    return "ok"


@pytest.mark.parametrize("name", ODD)
def test_every_odd_input_gets_a_picture_or_its_sentence(name: str) -> None:
    assert outcome(ODD[name].data) == ODD[name].expectation


@pytest.mark.parametrize("name", [name for name, odd in ODD.items() if odd.expectation == "ok"])
def test_what_comes_out_is_an_rgb_png_without_metadata(name: str) -> None:
    picture = read_picture(ODD[name].data, LIMITS)
    png = Image.open(io.BytesIO(picture.png))

    assert (png.format, png.mode, png.size) == ("PNG", "RGB", (picture.width, picture.height))
    assert png.info == {}
    assert b"secret" not in picture.png


@pytest.mark.parametrize("name", ["bmp named png", "html", "mp4 named png", "svg named png", "text"])
def test_a_refusal_names_what_the_file_really_is(name: str) -> None:
    with pytest.raises((NotAPicture, KindNotRead)) as refusal:
        read_picture(ODD[name].data, LIMITS)

    kind = {"bmp": "BMP", "htm": "web page", "mp4": "MP4 video", "svg": "SVG", "tex": "text file"}[name[:3]]
    assert kind in word(refusal.value)
    assert "PNG" in word(refusal.value)


@pytest.mark.parametrize("orientation", range(2, 9))
def test_a_turned_photo_stands_upright(orientation: int) -> None:
    seen = pixels(read_picture(rotated_by_exif(orientation), LIMITS))

    assert seen.shape == (64, 96, 3)
    assert np.abs(seen.astype(int) - np.asarray(scene()).astype(int)).mean() < 3


def test_transparency_shows_white() -> None:
    palette = pixels(read_picture(ODD["palette with transparency"].data, LIMITS))
    half = pixels(read_picture(ODD["half transparent"].data, LIMITS))

    assert palette[16, 8].tolist() == [255, 0, 0]
    assert palette[16, 56].tolist() == [255, 255, 255]
    assert half[20, 20].tolist() == [127, 127, 127]


def test_sixteen_bits_are_scaled_not_clipped() -> None:
    ramp = pixels(read_picture(ODD["16-bit png"].data, LIMITS))[0, :, 0].astype(int)

    assert (ramp[0], ramp[-1]) == (0, 255)
    assert np.abs(ramp - np.linspace(0, 255, 64)).max() <= 1


def test_cmyk_keeps_its_colours() -> None:
    seen = pixels(read_picture(ODD["cmyk jpeg"].data, LIMITS)).astype(int)

    assert np.abs(seen - np.asarray(scene()).astype(int)).mean() < 6


def test_an_icc_profile_is_applied() -> None:
    """Red under a profile whose red and green are exchanged is green."""
    data = saved(Image.new("RGB", (32, 32), (255, 0, 0)), "PNG", icc_profile=swapped_profile())
    red, green, _ = pixels(read_picture(data, LIMITS))[16, 16].tolist()

    assert green > 200 > 90 > red


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "AVIF"])
def test_of_an_animation_the_first_frame_counts(kind: str) -> None:
    picture = read_picture(animated(kind), LIMITS)
    red, green, blue = pixels(picture)[16, 24].tolist()

    assert picture.animated
    assert red > 240
    assert max(green, blue) < 15


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_a_large_picture_comes_down_to_the_working_side(kind: str) -> None:
    picture = read_picture(saved(scene(900, 600), kind, quality=95), PictureLimits(working_side=300))
    seen = pixels(picture).astype(int)

    assert (picture.width, picture.height) == (300, 200)
    assert np.abs(seen - np.asarray(scene(300, 200)).astype(int)).mean() < 3


def test_a_bomb_is_refused_before_it_is_decoded() -> None:
    """The pixels it claims are not even there: whoever tried to decode would call it broken instead."""
    assert outcome(png_of(8_000, 8_000)) == "picture_pixels"
    assert outcome(png_of(800, 800)) == "picture_broken"


def test_too_many_bytes_are_refused_with_both_numbers() -> None:
    with pytest.raises(TooManyBytes) as refusal:
        read_picture(saved(scene(), "PNG") + bytes(2 * 2**20), PictureLimits(max_bytes=2**20))

    assert "2 MB" in word(refusal.value)
    assert "1 MB" in word(refusal.value)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "AVIF", "GIF"])
def test_damaged_files_give_a_picture_or_a_refusal(kind: str) -> None:
    """A hundred random injuries to each kind: flips, cuts, insertions. Anything else that is raised fails this test."""
    chance = random.Random(kind)
    whole = saved(scene(40, 30), kind, **({"exif": b"Exif\0\0II*\0\x08\0\0\0" + bytes(20)} if kind != "GIF" else {}))
    outcomes = {outcome(injured(whole, chance)) for _ in range(100)}

    assert "picture_broken" in outcomes


def injured(whole: bytes, chance: random.Random) -> bytes:
    data = bytearray(whole)
    for _ in range(chance.randint(1, 6)):
        at = chance.randrange(4, len(data))
        match chance.randrange(3):
            case 0:
                data[at] = chance.randrange(256)
            case 1:
                del data[at : at + chance.randint(1, 30)]
            case _:
                data[at:at] = chance.randbytes(chance.randint(1, 8))
        if len(data) < 20:
            break
    return bytes(data)


def test_many_threads_leave_the_warning_filters_as_they_were() -> None:
    before = list(warnings.filters)
    threads = [threading.Thread(target=outcome, args=(odd.data,)) for odd in list(ODD.values())[:20]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert list(warnings.filters) == before


@pytest.mark.parametrize("name", ODD)
def test_the_first_bytes_tell_the_kind(name: str) -> None:
    data = ODD[name].data

    assert sniff(data[:SNIFF_BYTES]) == sniff(data)


@pytest.mark.parametrize(
    ("name", "content_type", "size", "code"),
    [
        ("a.mp4", "video/mp4", 10, "picture_not"),
        ("a.mp4", None, 10, "picture_not"),
        ("a.txt", "text/plain; charset=utf-8", 10, "picture_not"),
        ("a.mp3", "audio/mpeg", 10, "picture_not"),
        ("a.heic", "image/heic", 10, "picture_kind"),
        ("a.png", "image/png", 26 * 2**20, "picture_bytes"),
        ("a.png", "image/png", 0, "picture_empty"),
    ],
)
def test_a_declaration_can_rule_a_file_out(name: str, content_type: str | None, size: int, code: str) -> None:
    with pytest.raises(Refusal) as refusal:
        declared_refusal(name, content_type, size, LIMITS)

    assert refusal.value.code == code
    assert word(refusal.value)


@pytest.mark.parametrize(
    ("name", "content_type"),
    [("a.png", "image/png"), ("picture", None), ("a.jpg", ""), ("a.bin", "application/octet-stream"), ("a.x", "odd")],
)
def test_a_missing_or_odd_declaration_passes(name: str, content_type: str | None) -> None:
    declared_refusal(name, content_type, 1000, LIMITS)
