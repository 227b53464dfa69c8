"""Clips as people really post them, and files that are none; each small and made on the spot.

`CLIPS` maps a name to a maker and to what must come of it: `"ok"`, or the code of the refusal.
"""

import io
import struct
import tempfile
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tests.odd_pictures import ODD, png_of, saved

Pixels = NDArray[np.uint8]
RED, GREEN, BLUE, WHITE = (200, 30, 30), (30, 180, 30), (30, 30, 200), (240, 240, 240)


class OddClip(NamedTuple):
    """One thing to post."""

    make: Callable[[], bytes]
    expectation: str
    """`"ok"`, or the code of the refusal."""


def quarters(width: int = 96, height: int = 64, shift: int = 0) -> Pixels:
    """Red top left, green top right, blue bottom left, white bottom right; a dark bar that stands at `shift`."""
    picture = np.empty((height, width, 3), np.uint8)
    picture[: height // 2, : width // 2], picture[: height // 2, width // 2 :] = RED, GREEN
    picture[height // 2 :, : width // 2], picture[height // 2 :, width // 2 :] = BLUE, WHITE
    picture[:, shift % width : shift % width + 2] = 0
    return picture


def hole(width: int = 64, height: int = 48) -> Pixels:
    """Opaque red on the right, nothing on the left: RGBA."""
    picture = np.zeros((height, width, 4), np.uint8)
    picture[:, width // 2 :] = (*RED, 255)
    return picture


def video(
    kind: str = "mp4",
    codec: str = "libx264",
    *,
    pictures: Iterable[Pixels] | None = None,
    rate: Fraction | int = 10,
    pts: Iterable[int] | None = None,
    layout: str = "yuv420p",
    tone: float = 0.0,
    matrix: list[int] | None = None,
    colours: tuple[int, int, int, int] | None = None,
    options: dict[str, str] | None = None,
    container: dict[str, str] | None = None,
    time_base: Fraction | None = None,
) -> bytes:
    """A file by FFmpeg. `tone`: seconds of a 440 Hz sound beside it; `colours`: matrix, range, curve, primaries."""
    shown = list(pictures if pictures is not None else (quarters(shift=4 * number) for number in range(8)))
    with (  # by name, because an index is moved to the front by opening the file anew
        tempfile.NamedTemporaryFile(suffix=f".{kind}") as out,
        av.open(out.name, "w", format=kind, options=container or {}) as file,
    ):
        height, width = shown[0].shape[:2]
        stream: Any = file.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt, stream.options = width, height, layout, options or {}
        if time_base:
            stream.codec_context.time_base = time_base
        if matrix:
            stream.set_display_matrix(matrix)
        sound = file.add_stream("libopus" if kind == "webm" else "aac", rate=48_000, layout="mono") if tone else None
        for frame in _frames(shown, pts, layout, colours, time_base or 1 / Fraction(rate)):
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
        if sound:
            for piece in sine(tone):
                file.mux(sound.encode(piece))
            file.mux(sound.encode())
        file.close()
        return Path(out.name).read_bytes()


def _frames(
    shown: list[Pixels],
    pts: Iterable[int] | None,
    layout: str,
    colours: tuple[int, int, int, int] | None,
    beat: Fraction,
) -> Iterator[av.VideoFrame]:
    for picture, at in zip(shown, pts or range(len(shown)), strict=True):
        frame = av.VideoFrame.from_ndarray(picture, format="rgba" if picture.shape[2] == 4 else "rgb24")
        if colours:
            frame = frame.reformat(format=layout, dst_colorspace=colours[0], dst_color_range=colours[1])
            frame.colorspace, frame.color_range, frame.color_trc, frame.color_primaries = colours
        frame.pts, frame.time_base = at, beat
        yield frame


def sine(seconds: float, rate: int = 48_000, pitch: float = 440.0) -> Iterator[av.AudioFrame]:
    """A tone at half of full scale, one channel."""
    total = round(seconds * rate)
    for begin in range(0, total, 1024):
        moment = (np.arange(begin, min(total, begin + 1024)) / rate).astype(np.float64)
        wave = (0.5 * np.sin(2 * np.pi * pitch * moment)).astype(np.float32)[None]
        frame = av.AudioFrame.from_ndarray(wave, format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = rate, begin, Fraction(1, rate)
        yield frame


def sound(kind: str, codec: str, seconds: float = 1.0, rate: int = 48_000) -> bytes:
    """Sound alone."""
    out = io.BytesIO()
    with av.open(out, "w", format=kind) as file:
        stream: Any = file.add_stream(codec, rate=rate, layout="mono")
        for piece in sine(seconds, rate):
            file.mux(stream.encode(piece))
        file.mux(stream.encode())
    return out.getvalue()


def nits_grey(code: int, curve: int) -> bytes:
    """Four frames of one 10-bit luma code (64 … 940) in HEVC, tagged BT.2020 with PQ (16) or HLG (18)."""
    out = io.BytesIO()
    with av.open(out, "w", format="mp4") as file:
        stream: Any = file.add_stream("libx265", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p10le"
        stream.options = {"x265-params": f"log-level=none:colorprim=9:transfer={curve}:colormatrix=9", "crf": "4"}
        for number in range(4):
            frame = av.VideoFrame(64, 64, "yuv420p10le")
            for plane, value in zip(frame.planes, (code, 512, 512), strict=True):
                plane.update(np.full(plane.buffer_size // 2, value, np.uint16).tobytes())
            frame.colorspace, frame.color_range, frame.color_trc, frame.color_primaries = 9, 1, curve, 9
            frame.pts, frame.time_base = number, Fraction(1, 10)
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
    return out.getvalue()


def animated(kind: str, delays: int | list[int] = 100, *, alpha: bool = False, count: int = 4, **more: Any) -> bytes:
    """A picture that moves. `delays` in milliseconds."""
    shown = [hole() if alpha else quarters(64, 48, 6 * number) for number in range(count)]
    if alpha:
        for number, picture in enumerate(shown):
            picture[4 * number : 4 * number + 4, 40:] = (*BLUE, 255)
    frames = [Image.fromarray(picture) for picture in shown]
    return saved(frames[0], kind, save_all=True, append_images=frames[1:], duration=delays, loop=0, **more)


def gif_with_raw_delays(*centiseconds: int) -> bytes:
    """A GIF whose frames' delays are set byte by byte: browsers do not believe all of them."""
    data = bytearray(animated("GIF", 50, count=len(centiseconds)))
    at = 0
    for delay in centiseconds:
        at = data.index(b"\x21\xf9\x04", at) + 4
        data[at : at + 2] = struct.pack("<H", delay)
    return bytes(data)


TURNS = {
    "upright": [65536, 0, 0, 0, 65536, 0, 0, 0, 1 << 30],
    "quarter left": [0, -65536, 0, 65536, 0, 0, 0, 0, 1 << 30],
    "quarter right": [0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30],
    "half": [-65536, 0, 0, 0, -65536, 0, 0, 0, 1 << 30],
    "mirrored": [-65536, 0, 0, 0, 65536, 0, 0, 0, 1 << 30],
}
"""Display matrices, and how a phone was held."""


def turned(how: str) -> bytes:
    """`quarters` stored so that a player which honours the matrix shows them upright."""
    undo: dict[str, Callable[[Pixels], Pixels]] = {
        "upright": lambda picture: picture,
        "quarter left": lambda picture: np.rot90(picture, -1),
        "quarter right": lambda picture: np.rot90(picture, 1),
        "half": lambda picture: np.rot90(picture, 2),
        "mirrored": lambda picture: picture[:, ::-1],
    }
    stored = [np.ascontiguousarray(undo[how](quarters(shift=4 * number))) for number in range(4)]
    return video(pictures=stored, matrix=TURNS[how])


def cut(data: bytes, part: float) -> bytes:
    """The first `part` of a file."""
    return data[: int(len(data) * part)]


def index_first(**more: Any) -> bytes:
    """An MP4 that can be played from its beginning on: a broken tail leaves something to see."""
    rng = np.random.default_rng(3)
    noise = [rng.integers(0, 255, (64, 96, 3), np.uint8) for _ in range(30)]
    return video(pictures=noise, container={"movflags": "+faststart"}, **more)


def huge_gif() -> bytes:
    """A GIF that says it is 16 000 × 16 000; the pixels are not there."""
    gif = bytearray(animated("GIF"))
    gif[6:10] = struct.pack("<HH", 16_000, 16_000)
    return bytes(gif)


def huge_video() -> bytes:
    """A Matroska file that claims 20 000 × 12 000 in its track header."""
    true, claimed = (struct.pack(">HHHH", 0xB082, wide, 0xBA82, high) for wide, high in ((352, 288), (20_000, 12_000)))
    data = video("matroska", "ffv1", pictures=_flat(352, 288))
    assert data.count(true) == 1, "the header is where it is expected"
    return data.replace(true, claimed)


def many_tracks(count: int = 2000) -> bytes:
    """An MP4 whose index names thousands of tracks, each a copy of the first."""
    data = index_first()
    at = data.index(b"moov") - 4
    size = int.from_bytes(data[at : at + 4], "big")
    moov = data[at : at + size]
    track_at = moov.index(b"trak") - 4
    track_size = int.from_bytes(moov[track_at : track_at + 4], "big")
    track = moov[track_at : track_at + track_size]
    grown = moov[:track_at] + track * count + moov[track_at + track_size :]
    return data[:at] + struct.pack(">I", len(grown)) + grown[4:] + data[at + size :]


def no_frames() -> bytes:
    """An MP4 with a track and nothing in it."""
    whole = index_first()
    at = whole.index(b"stsz")
    return whole[: at + 8] + struct.pack(">II", 0, 0) + whole[at + 16 :]


def apng_bomb() -> bytes:
    """An animated PNG of 50 000 × 50 000."""
    return png_of(50_000, 50_000)


def _flat(width: int, height: int, count: int = 3) -> list[Pixels]:
    return [np.full((height, width, 3), 60 * number + 40, np.uint8) for number in range(count)]


CLIPS: dict[str, OddClip] = {
    # What everybody posts.
    "mp4 h264": OddClip(video, "ok"),
    "mp4 with sound": OddClip(lambda: video(tone=0.8), "ok"),
    "mp4 hevc": OddClip(lambda: video(codec="libx265", options={"x265-params": "log-level=none"}), "ok"),
    "mp4 av1": OddClip(lambda: video(codec="libsvtav1", options={"preset": "12"}), "ok"),
    "mov": OddClip(lambda: video("mov"), "ok"),
    "mov prores with alpha": OddClip(
        lambda: video("mov", "prores_ks", pictures=[hole()] * 3, layout="yuva444p10le"), "ok"
    ),
    "mkv": OddClip(lambda: video("matroska", tone=0.8), "ok"),
    "webm vp8": OddClip(lambda: video("webm", "libvpx"), "ok"),
    "webm vp9": OddClip(lambda: video("webm", "libvpx-vp9", tone=0.8), "ok"),
    "webm vp8 with alpha": OddClip(
        lambda: video("webm", "libvpx", pictures=[hole()] * 4, layout="yuva420p", options={"auto-alt-ref": "0"}), "ok"
    ),
    "webm vp9 with alpha": OddClip(lambda: video("webm", "libvpx-vp9", pictures=[hole()] * 4, layout="yuva420p"), "ok"),
    "avi": OddClip(lambda: video("avi", "mpeg4"), "ok"),
    "gif": OddClip(lambda: animated("GIF"), "ok"),
    "transparent gif": OddClip(lambda: animated("GIF", alpha=True, disposal=2), "ok"),
    "apng": OddClip(lambda: animated("PNG"), "ok"),
    "transparent apng": OddClip(lambda: animated("PNG", alpha=True), "ok"),
    "animated webp": OddClip(lambda: animated("WEBP", lossless=True), "ok"),
    "transparent webp": OddClip(lambda: animated("WEBP", alpha=True, lossless=True), "ok"),
    "animated avif": OddClip(lambda: animated("AVIF", speed=10), "ok"),
    # Odd, but clips.
    "odd sides": OddClip(lambda: video(pictures=_flat(97, 53), layout="yuv444p"), "ok"),
    "10 bits": OddClip(lambda: video(layout="yuv420p10le"), "ok"),
    "full range": OddClip(lambda: video(layout="yuvj420p"), "ok"),
    "hdr pq": OddClip(lambda: nits_grey(573, 16), "ok"),
    "hdr hlg": OddClip(lambda: nits_grey(721, 18), "ok"),
    "uneven": OddClip(
        lambda: video("matroska", pts=[0, 100, 200, 600, 700, 800, 900, 1000], time_base=Fraction(1, 1000)), "ok"
    ),
    "gif without delays": OddClip(lambda: gif_with_raw_delays(0, 0, 1, 0), "ok"),
    "gif with odd delays": OddClip(lambda: gif_with_raw_delays(10, 20, 10, 30), "ok"),
    "slow motion": OddClip(lambda: video(rate=240, pictures=[quarters(shift=n) for n in range(48)]), "ok"),
    "index missing half": OddClip(lambda: cut(index_first(), 0.6), "ok"),
    "webm cut off": OddClip(lambda: cut(video("webm", "libvpx", pictures=_noise(20)), 0.6), "ok"),
    "gif cut off": OddClip(lambda: cut(animated("GIF", count=12), 0.7), "ok"),
    "large": OddClip(lambda: video(pictures=_flat(1920, 1080), options={"preset": "ultrafast"}), "ok"),
    # Damaged or hostile.
    "empty": OddClip(bytes, "clip_empty"),
    "mp4 without its index": OddClip(lambda: cut(video(), 0.4), "clip_broken"),
    "mp4 without frames": OddClip(no_frames, "clip_broken"),
    "magic only": OddClip(lambda: video()[:32], "clip_broken"),
    "thousands of tracks": OddClip(many_tracks, "clip_heavy"),
    "gif bomb": OddClip(huge_gif, "clip_pixels"),
    "video bomb": OddClip(huge_video, "clip_pixels"),
    "apng bomb": OddClip(apng_bomb, "clip_pixels"),
    # The wrong size.
    "8 x 8": OddClip(lambda: video(pictures=_flat(8, 8)), "clip_small"),
    "a ribbon": OddClip(lambda: video(pictures=_flat(800, 16)), "clip_small"),
    "too long": OddClip(lambda: animated("GIF", 20_000), "clip_lasts_too_long"),
    "too long in video": OddClip(lambda: video("matroska", rate=Fraction(1, 10)), "clip_lasts_too_long"),
    # Nothing that moves.
    "still gif": OddClip(lambda: animated("GIF", count=1), "clip_still"),
    "still png": OddClip(lambda: ODD["png"].data, "clip_still"),
    "jpeg": OddClip(lambda: ODD["jpeg"].data, "clip_still"),
    "still webp": OddClip(lambda: ODD["webp"].data, "clip_still"),
    "one frame of video": OddClip(lambda: video(pictures=[quarters()]), "clip_still"),
    "heic": OddClip(lambda: ODD["heic"].data, "clip_still"),
    # No clips at all.
    "sound in mp4": OddClip(lambda: sound("mp4", "aac"), "clip_no_picture"),
    "mp3": OddClip(lambda: sound("mp3", "libmp3lame"), "clip_not"),
    "flash video": OddClip(lambda: video("flv", "flv1"), "clip_kind"),
    "html": OddClip(lambda: ODD["html"].data, "clip_not"),
    "zip": OddClip(lambda: ODD["zip"].data, "clip_not"),
    "noise": OddClip(lambda: ODD["noise"].data, "clip_not"),
}


def _noise(count: int) -> list[Pixels]:
    rng = np.random.default_rng(5)
    return [rng.integers(0, 255, (64, 96, 3), np.uint8) for _ in range(count)]


@cache
def made(name: str) -> bytes:
    """The file called `name`, made once."""
    return CLIPS[name].make()
