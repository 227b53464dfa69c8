"""A stranger's picture, read safely: its real kind, its size before its pixels, upright sRGB, no metadata."""

import threading
import warnings
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO

from PIL import AvifImagePlugin, GifImagePlugin, Image, ImageFile, JpegImagePlugin, PngImagePlugin, WebPImagePlugin

from jobs.errors import Refusal
from media.colour import plain_mode, to_srgb
from media.damage import DAMAGE
from media.kinds import AVIF, GIF, JPEG, PNG, SNIFF_BYTES, WEBP, Kind, check_kind, sniff
from media.limits import PictureLimits, check_bytes, check_size

MAX_JPEG_SCANS = 100
"""A progressive JPEG has about ten scans. Each more is a pass over all pixels, so thousands would keep a core busy."""


class BrokenPicture(Refusal):
    """It begins like a picture and does not go on like one."""

    code = "picture_broken"


@dataclass(frozen=True)
class Picture:
    """A normalised picture: an RGB PNG, upright, sRGB, at most `working_side` long, without any metadata."""

    png: bytes
    width: int
    height: int
    animated: bool
    """The file was an animation; this is its first frame."""
    original: str
    """What the file really was: `"PNG"`, `"JPEG"`, `"WEBP"`, `"AVIF"` or `"GIF"`."""


_OPENERS: dict[Kind, Callable[[BytesIO], ImageFile.ImageFile]] = {
    PNG: PngImagePlugin.PngImageFile,
    JPEG: JpegImagePlugin.JpegImageFile,
    WEBP: WebPImagePlugin.WebPImageFile,
    AVIF: AvifImagePlugin.AvifImageFile,
    GIF: GifImagePlugin.GifImageFile,
}

_ORIENTATION_TAG = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

Z_RLE = 3
_one_at_a_time = threading.Lock()


def read_picture(data: bytes, limits: PictureLimits) -> Picture:
    """Check, decode and normalise one picture. Synchronous and heavy (up to a second): call it in a thread.

    Raises:
        Refusal: one of `kinds`, `limits` or `BrokenPicture`; never anything else, whatever the bytes.
    """
    kind = sniff(data[:SNIFF_BYTES])
    check_kind(kind)
    check_bytes(len(data), limits)
    with _quietly():
        try:
            picture, animated = _read(data, kind, limits)
        except DAMAGE as error:
            raise BrokenPicture(kind=kind.words) from error
    return Picture(_png(picture), picture.width, picture.height, animated, kind.name)


@contextmanager
def _quietly() -> Generator[None]:
    """Pillow warns about damaged metadata, which concerns nobody here.

    The filters belong to the whole process, hence the lock; it also bounds memory to one decoded picture per process.
    """
    with _one_at_a_time, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _read(data: bytes, kind: Kind, limits: PictureLimits) -> tuple[Image.Image, bool]:
    """The normalised picture, and whether it is the first of several frames."""
    if kind is WEBP:
        check_size(*_webp_canvas(data), limits)  # libwebp allocates the whole canvas when it is opened
    if kind is JPEG and data.count(b"\xff\xda") > MAX_JPEG_SCANS:
        raise BrokenPicture(kind=kind.words)
    # The plugin itself instead of `Image.open`: exactly this kind is tried, and its size is ours to judge.
    with _OPENERS[kind](BytesIO(data)) as file:
        check_size(*file.size, limits)
        animated = bool(getattr(file, "is_animated", False))
        return _normalised(file, limits), animated


def _normalised(file: ImageFile.ImageFile, limits: PictureLimits) -> Image.Image:
    """Small first, then turned, then colour-managed: each step has fewer pixels to go over."""
    scale = min(1.0, limits.working_side / max(file.size))
    width, height = (max(1, round(side * scale)) for side in file.size)
    if scale < 1:
        # A JPEG decodes straight to 1/2, 1/4 or 1/8; half as much again leaves Lanczos enough to work with.
        file.draft(None, (width * 3 // 2, height * 3 // 2))
    file.load()
    picture = plain_mode(file)
    if picture.size != (width, height):
        picture = picture.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=3.0)
    turn = _UPRIGHT.get(_orientation(file))
    if turn is not None:
        picture = picture.transpose(turn)
    return to_srgb(picture, file.info.get("icc_profile"))


def _orientation(file: Image.Image) -> int:
    """The EXIF orientation, 1 where there is none or the EXIF block is damaged.

    Asked after `load`: a PNG's EXIF may follow its pixels, so asking would load them, and swallow their damage here.
    """
    try:
        return int(file.getexif().get(_ORIENTATION_TAG, 1))
    except DAMAGE:
        return 1


def _webp_canvas(data: bytes) -> tuple[int, int]:
    """Width and height from a WebP's first chunk (RFC 9649, section 2.5 to 2.7)."""
    chunk = data[12:16]
    if chunk == b"VP8X":
        return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
    if chunk == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    return int.from_bytes(data[26:28], "little") & 0x3FFF, int.from_bytes(data[28:30], "little") & 0x3FFF


def _png(picture: Image.Image) -> bytes:
    """Nothing but pixels: a fresh picture carries no metadata to write.

    Run lengths alone (zlib's Z_RLE) take two thirds of the time for one or two per cent more bytes on photographs.
    """
    clean = Image.frombytes("RGB", picture.size, picture.tobytes())
    out = BytesIO()
    clean.save(out, "PNG", compress_level=1, compress_type=Z_RLE)
    return out.getvalue()
