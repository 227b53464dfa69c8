"""Pictures as people really send them, and files that are none: `ODD` maps a name to what is sent and what must happen.

Each is small and made on the spot. The picture tests and the end-to-end tests both go through all of them.
"""

import gzip
import io
import struct
import zipfile
import zlib
from collections.abc import Callable
from fractions import Fraction
from typing import NamedTuple

import av
import numpy as np
from PIL import Image, ImageCms


class Odd(NamedTuple):
    """One thing to send."""

    filename: str
    content_type: str
    data: bytes
    expectation: str
    """`"ok"`, or the code of the refusal."""


PNG_MAGIC = b"\x89PNG\r\n\x1a\n"


def scene(width: int = 96, height: int = 64) -> Image.Image:
    """A smooth picture with a red top left, a green top right, a blue bottom left and a white bottom right."""
    corners = np.array([[[220, 30, 30], [30, 200, 30]], [[30, 30, 220], [250, 250, 250]]], np.uint8)
    return Image.fromarray(corners).resize((width, height), Image.Resampling.BILINEAR)


def saved(picture: Image.Image, kind: str, **options: object) -> bytes:
    """`picture` as a file of `kind`."""
    out = io.BytesIO()
    picture.save(out, kind, **options)
    return out.getvalue()


def png_chunk(kind: bytes, body: bytes) -> bytes:
    """One PNG chunk with a right CRC."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_of(width: int, height: int, *extra: bytes, bits: int = 8, colour: int = 2, rows: bytes = b"\0\0\0\0") -> bytes:
    """A PNG whose header claims any size, with `extra` chunks, and the pixels that `rows` holds."""
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    body = png_chunk(b"IDAT", zlib.compress(rows))
    return PNG_MAGIC + png_chunk(b"IHDR", header) + b"".join(extra) + body + png_chunk(b"IEND", b"")


def png_16_bit() -> bytes:
    """A 16-bit grey ramp from black to white, 64 × 32."""
    row = b"\0" + np.linspace(0, 65535, 64).astype(">u2").tobytes()
    return png_of(64, 32, bits=16, colour=0, rows=row * 32)


def png_16_bit_rgb() -> bytes:
    """16 bits in each of three channels, all mid-grey, 32 × 32."""
    return png_of(32, 32, bits=16, colour=2, rows=(b"\0" + b"\x80\x00" * 96) * 32)


def palette_with_transparency() -> bytes:
    """Left half opaque red, right half a transparent palette entry."""
    picture = Image.new("P", (64, 32), 0)
    picture.putpalette([255, 0, 0, 0, 0, 0])
    picture.paste(1, (32, 0, 64, 32))
    return saved(picture, "PNG", transparency=1)


def half_transparent() -> bytes:
    """Black, with an alpha of one half everywhere: mid-grey over white."""
    return saved(Image.new("RGBA", (40, 40), (0, 0, 0, 128)), "PNG")


def rotated_by_exif(orientation: int) -> bytes:
    """`scene` stored so that a viewer which honours EXIF shows it upright."""
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010E] = "secret place"
    return saved(scene().transpose(undo[orientation]), "JPEG", quality=95, exif=exif)


def animated(kind: str) -> bytes:
    """Three frames: red, green, blue. The first is what counts."""
    frames = [Image.new("RGB", (48, 32), colour) for colour in ("red", "lime", "blue")]
    return saved(frames[0], kind, save_all=True, append_images=frames[1:], duration=100, loop=0)


def gif_bomb() -> bytes:
    """A screen of 65 535 × 65 535 around one pixel."""
    return _gif_with_screen(65535, 65535)


def gif_many_pixels() -> bytes:
    """Both sides within bounds, their product not."""
    return _gif_with_screen(16000, 16000)


def _gif_with_screen(width: int, height: int) -> bytes:
    tiny = bytearray(saved(Image.new("P", (1, 1)), "GIF"))
    tiny[6:10] = struct.pack("<HH", width, height)
    return bytes(tiny)


def hidden_text_bomb() -> bytes:
    """A zTXt chunk that unfolds to 100 MB."""
    return png_of(32, 32, png_chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(100_000_000))), rows=bytes(97) * 32)


def hidden_profile_bomb() -> bytes:
    """An iCCP chunk that unfolds to 100 MB."""
    return png_of(32, 32, png_chunk(b"iCCP", b"icc\0\0" + zlib.compress(bytes(100_000_000))), rows=bytes(97) * 32)


def junk_profile() -> bytes:
    """A colour profile that is no profile: the picture is still a picture."""
    return saved(scene(), "JPEG", icc_profile=b"not a profile at all" * 20)


def with_corrupt_crc(chunk_end: int) -> bytes:
    """One wrong byte in the checksum that ends at `chunk_end`."""
    data = bytearray(saved(scene(), "PNG"))
    data[chunk_end - 1] ^= 0xFF
    return bytes(data)


def with_corrupt_pixels() -> bytes:
    """A hole in the compressed pixels."""
    data = bytearray(saved(scene(), "PNG"))
    data[200:260] = bytes(60)
    return bytes(data)


def with_junk_exif() -> bytes:
    """An EXIF block of noise: nobody minds."""
    return saved(scene(), "JPEG", exif=b"Exif\0\0" + bytes(range(200)))


def many_scans() -> bytes:
    """A JPEG that goes over its pixels a thousand times."""
    data = saved(scene(), "JPEG", progressive=True)
    scan = data[data.rindex(b"\xff\xda") : -2]
    return data[:-2] + scan * 1000 + data[-2:]


def mp4() -> bytes:
    """A real one, of two frames."""
    out = io.BytesIO()
    with av.open(out, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(5))
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        for _ in range(2):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8))))
        container.mux(stream.encode())
    return out.getvalue()


def archive() -> bytes:
    """A ZIP with a file in it."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        file.writestr("picture.png", b"hello")
    return out.getvalue()


HEIC = struct.pack(">I", 24) + b"ftypheic\0\0\0\0mif1heic" + bytes(100)
JXL = b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(100)
SVG = b'<?xml version="1.0"?>\n<!-- by hand -->\n<svg xmlns="http://www.w3.org/2000/svg" width="64" height="64"/>'
HTML = b"<!DOCTYPE html><html><head><title>404</title></head><body>This content is no longer available.</body></html>"


def _wide(width: int, height: int) -> bytes:
    return saved(Image.new("L", (width, height), 99), "PNG")


_MAKERS: dict[str, tuple[str, str, Callable[[], bytes], str]] = {
    # What everybody sends, in every kind we read.
    "png": ("a.png", "image/png", lambda: saved(scene(), "PNG"), "ok"),
    "jpeg": ("a.jpg", "image/jpeg", lambda: saved(scene(), "JPEG"), "ok"),
    "progressive jpeg": ("a.jpg", "image/jpeg", lambda: saved(scene(), "JPEG", progressive=True), "ok"),
    "webp": ("a.webp", "image/webp", lambda: saved(scene(), "WEBP"), "ok"),
    "lossless webp": ("a.webp", "image/webp", lambda: saved(scene(), "WEBP", lossless=True), "ok"),
    "transparent webp": ("a.webp", "image/webp", lambda: saved(Image.new("RGBA", (40, 40)), "WEBP"), "ok"),
    "avif": ("a.avif", "image/avif", lambda: saved(scene(), "AVIF", speed=10), "ok"),
    "gif": ("a.gif", "image/gif", lambda: saved(scene(), "GIF"), "ok"),
    "animated gif": ("a.gif", "image/gif", lambda: animated("GIF"), "ok"),
    "animated webp": ("a.webp", "image/webp", lambda: animated("WEBP"), "ok"),
    "animated avif": ("a.avif", "image/avif", lambda: animated("AVIF"), "ok"),
    "animated png": ("a.png", "image/png", lambda: animated("PNG"), "ok"),
    # Odd, but pictures.
    "wrong extension": ("a.png", "image/png", lambda: saved(scene(), "JPEG"), "ok"),
    "no extension": ("picture", "", lambda: saved(scene(), "PNG"), "ok"),
    "cmyk jpeg": ("a.jpg", "image/jpeg", lambda: saved(scene().convert("CMYK"), "JPEG"), "ok"),
    "grey jpeg": ("a.jpg", "image/jpeg", lambda: saved(scene().convert("L"), "JPEG"), "ok"),
    "16-bit png": ("a.png", "image/png", png_16_bit, "ok"),
    "16-bit rgb png": ("a.png", "image/png", png_16_bit_rgb, "ok"),
    "1-bit png": ("a.png", "image/png", lambda: saved(scene().convert("1"), "PNG"), "ok"),
    "grey png with alpha": ("a.png", "image/png", lambda: saved(scene().convert("LA"), "PNG"), "ok"),
    "palette with transparency": ("a.png", "image/png", palette_with_transparency, "ok"),
    "half transparent": ("a.png", "image/png", half_transparent, "ok"),
    "rotated by exif": ("a.jpg", "image/jpeg", lambda: rotated_by_exif(6), "ok"),
    "corrupt pixel crc": ("a.png", "image/png", lambda: with_corrupt_crc(-12), "ok"),
    "junk exif": ("a.jpg", "image/jpeg", with_junk_exif, "ok"),
    "junk profile": ("a.jpg", "image/jpeg", junk_profile, "ok"),
    "16 x 16": ("a.png", "image/png", lambda: _wide(16, 16), "ok"),
    "odd sides": ("a.png", "image/png", lambda: saved(scene(97, 53), "PNG"), "ok"),
    # Damaged or hostile.
    "empty": ("a.png", "image/png", bytes, "picture_empty"),
    "truncated png": ("a.png", "image/png", lambda: saved(scene(), "PNG")[:300], "picture_broken"),
    "truncated jpeg": ("a.jpg", "image/jpeg", lambda: saved(scene(), "JPEG")[:800], "picture_broken"),
    "truncated webp": ("a.webp", "image/webp", lambda: saved(scene(), "WEBP")[:120], "picture_broken"),
    "truncated avif": ("a.avif", "image/avif", lambda: saved(scene(), "AVIF")[:350], "picture_broken"),
    "truncated gif": ("a.gif", "image/gif", lambda: saved(scene(), "GIF")[:900], "picture_broken"),
    "magic only": ("a.png", "image/png", lambda: PNG_MAGIC, "picture_broken"),
    "corrupt header crc": ("a.png", "image/png", lambda: with_corrupt_crc(33), "picture_broken"),
    "corrupt pixels": ("a.png", "image/png", with_corrupt_pixels, "picture_broken"),
    "hidden text bomb": ("a.png", "image/png", hidden_text_bomb, "picture_broken"),
    "hidden profile bomb": ("a.png", "image/png", hidden_profile_bomb, "picture_broken"),
    "many scans": ("a.jpg", "image/jpeg", many_scans, "picture_broken"),
    "png bomb": ("a.png", "image/png", lambda: png_of(50_000, 50_000), "picture_side"),
    "png of many pixels": ("a.png", "image/png", lambda: png_of(16_000, 16_000), "picture_pixels"),
    "gif bomb": ("a.gif", "image/gif", gif_bomb, "picture_side"),
    "gif of many pixels": ("a.gif", "image/gif", gif_many_pixels, "picture_pixels"),
    # The wrong size.
    "1 x 1": ("a.png", "image/png", lambda: _wide(1, 1), "picture_small"),
    "15 x 400": ("a.png", "image/png", lambda: _wide(15, 400), "picture_small"),
    "30 000 wide": ("a.png", "image/png", lambda: _wide(30_000, 20), "picture_side"),
    "a ribbon": ("a.png", "image/png", lambda: _wide(4000, 40), "picture_thin"),
    # Pictures of kinds we do not read.
    "tiff": ("a.tiff", "image/tiff", lambda: saved(scene(), "TIFF"), "picture_kind"),
    "bmp named png": ("a.png", "image/png", lambda: saved(scene(), "BMP"), "picture_kind"),
    "icon": ("a.ico", "image/x-icon", lambda: saved(scene(), "ICO"), "picture_kind"),
    "heic": ("a.heic", "image/heic", lambda: HEIC, "picture_kind"),
    "jpeg xl": ("a.jxl", "image/jxl", lambda: JXL, "picture_kind"),
    "psd": ("a.psd", "image/vnd.adobe.photoshop", lambda: b"8BPS\0\1" + bytes(40), "picture_kind"),
    "svg": ("a.svg", "image/svg+xml", lambda: SVG, "picture_kind"),
    "svg named png": ("a.png", "image/png", lambda: SVG, "picture_kind"),
    # No pictures at all.
    "mp4 named png": ("a.png", "image/png", mp4, "picture_not"),
    "mp4": ("a.mp4", "video/mp4", mp4, "picture_not"),
    "html": ("a.png", "image/png", lambda: HTML, "picture_not"),
    "text": ("a.txt", "text/plain", lambda: b"just some words", "picture_not"),
    "json": ("a.png", "image/png", lambda: b'{"message": "Not found"}', "picture_not"),
    "pdf": ("a.pdf", "application/pdf", lambda: b"%PDF-1.7\n" + bytes(40), "picture_not"),
    "zip": ("a.png", "image/png", archive, "picture_not"),
    "gzip": ("a.png", "image/png", lambda: gzip.compress(b"hello"), "picture_not"),
    "noise": ("a.png", "image/png", lambda: np.random.default_rng(1).bytes(500), "picture_not"),
}  # fmt: skip

ODD = {
    name: Odd(filename, declared, make(), expectation)
    for name, (filename, declared, make, expectation) in _MAKERS.items()
}


def swapped_profile() -> bytes:
    """An RGB matrix profile with red and green exchanged: whoever applies it shows green for red."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    profile[:] = profile.replace(b"rXYZ", b"tmp!").replace(b"gXYZ", b"rXYZ").replace(b"tmp!", b"gXYZ")
    return bytes(profile)
