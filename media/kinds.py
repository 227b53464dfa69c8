"""What a file really is, by its first bytes. Names and declared types come from outside and are never trusted."""

import re
from dataclasses import dataclass
from typing import Literal

from jobs.errors import Refusal

SNIFF_BYTES = 4096
"""How much of a file's beginning `sniff` looks at: an SVG may hide behind a long comment."""

Family = Literal["readable", "picture", "other"]
Moves = Literal["never", "animation", "video", "unread"]


@dataclass(frozen=True)
class Kind:
    """A kind of file: a name for programs (`"PNG"`), words for people (`"a PNG picture"`), and whether we read it."""

    name: str
    words: str
    family: Family
    """How it reads as a picture."""
    moves: Moves = "never"
    """How it reads as a clip: a picture that may be animated, a video, or a video that is not read here."""
    demuxer: str = ""
    """FFmpeg's name for what opens its container, for videos and sounds: nothing else is ever tried on the bytes."""


class EmptyFile(Refusal):
    """Zero bytes."""

    code = "picture_empty"


class NotAPicture(Refusal):
    """A video, a page, a document: anything that is no picture at all."""

    code = "picture_not"


class KindNotRead(Refusal):
    """A picture, but of a kind we do not read."""

    code = "picture_kind"


PNG = Kind("PNG", "a PNG picture", "readable", "animation")
JPEG = Kind("JPEG", "a JPEG picture", "readable")
WEBP = Kind("WEBP", "a WebP picture", "readable", "animation")
AVIF = Kind("AVIF", "an AVIF picture", "readable", "animation")
GIF = Kind("GIF", "a GIF picture", "readable", "animation")

HEIC = Kind("HEIC", "a HEIC picture", "picture")
SVG = Kind("SVG", "an SVG drawing", "picture")

MP4 = Kind("MP4", "an MP4 video", "other", "video", "mov")
M4A = Kind("M4A", "an M4A audio file", "other", demuxer="mov")
MATROSKA = Kind("MATROSKA", "a WebM or Matroska video", "other", "video", "matroska")
AVI = Kind("AVI", "an AVI video", "other", "video", "avi")
OGG = Kind("OGG", "an Ogg audio or video file", "other", "video", "ogg")
MP3 = Kind("MP3", "an MP3 audio file", "other", demuxer="mp3")
AAC = Kind("AAC", "an AAC audio file", "other", demuxer="aac")
HTML = Kind("HTML", "a web page (HTML)", "other")
XML = Kind("XML", "an XML file", "other")
JSON = Kind("JSON", "a JSON file", "other")
TEXT = Kind("TEXT", "a text file", "other")
EMPTY = Kind("EMPTY", "an empty file", "other")
UNKNOWN = Kind("UNKNOWN", "a file of an unknown kind", "other")

_PREFIXES: tuple[tuple[bytes, Kind], ...] = (
    (b"\x89PNG\r\n\x1a\n", PNG),
    (b"\xff\xd8\xff", JPEG),
    (b"GIF87a", GIF),
    (b"GIF89a", GIF),
    (b"II*\0", Kind("TIFF", "a TIFF or camera raw picture", "picture")),
    (b"MM\0*", Kind("TIFF", "a TIFF or camera raw picture", "picture")),
    (b"II+\0", Kind("TIFF", "a BigTIFF picture", "picture")),
    (b"MM\0+", Kind("TIFF", "a BigTIFF picture", "picture")),
    (b"8BPS", Kind("PSD", "a Photoshop document (PSD)", "picture")),
    (b"gimp xcf", Kind("XCF", "a GIMP document (XCF)", "picture")),
    (b"CSFCHUNK", Kind("CLIP", "a Clip Studio document", "picture")),
    (b"\xff\x0a", Kind("JXL", "a JPEG XL picture", "picture")),
    (b"\0\0\0\x0cJXL ", Kind("JXL", "a JPEG XL picture", "picture")),
    (b"\0\0\0\x0cjP  ", Kind("JP2", "a JPEG 2000 picture", "picture")),
    (b"\0\0\1\0", Kind("ICO", "an icon (ICO)", "picture")),
    (b"qoif", Kind("QOI", "a QOI picture", "picture")),
    (b"DDS ", Kind("DDS", "a DDS texture", "picture")),
    (b"\x76\x2f\x31\x01", Kind("EXR", "an OpenEXR picture", "picture")),
    (b"#?RADIANCE", Kind("HDR", "a Radiance HDR picture", "picture")),
    (b"FUJIFILMCCD-RAW", Kind("RAF", "a camera raw picture (RAF)", "picture")),
    (b"\x1a\x45\xdf\xa3", MATROSKA),
    (b"FLV\1", Kind("FLV", "a Flash video", "other", "unread")),
    (b"\0\0\1\xba", Kind("MPEG", "an MPEG video", "other", "unread")),
    (b"\0\0\1\xb3", Kind("MPEG", "an MPEG video", "other", "unread")),
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", Kind("ASF", "a Windows Media file", "other", "unread")),
    (b"OggS", OGG),
    (b"ID3", MP3),
    (b"\xff\xfb", MP3),
    (b"\xff\xfa", MP3),
    (b"\xff\xf3", MP3),
    (b"\xff\xf2", MP3),
    (b"\xff\xf1", AAC),
    (b"\xff\xf9", AAC),
    (b"fLaC", Kind("FLAC", "a FLAC audio file", "other", demuxer="flac")),
    (b"%PDF-", Kind("PDF", "a PDF document", "other")),
    (b"PK\3\4", Kind("ZIP", "a ZIP archive or an office document", "other")),
    (b"Rar!\x1a\x07", Kind("RAR", "a RAR archive", "other")),
    (b"7z\xbc\xaf\x27\x1c", Kind("7Z", "a 7-Zip archive", "other")),
    (b"\x1f\x8b", Kind("GZIP", "a gzip archive", "other")),
    (b"MZ", Kind("EXE", "a Windows program", "other")),
    (b"\x7fELF", Kind("ELF", "a Linux program", "other")),
)

_RIFF = {
    b"WEBP": WEBP,
    b"AVI ": AVI,
    b"WAVE": Kind("WAV", "a WAV audio file", "other", demuxer="wav"),
}

_HEIC_BRANDS = {b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"}

_BMP = Kind("BMP", "a BMP picture", "picture")
_PNM = Kind("PNM", "a PNM picture", "picture")
_QUICKTIME = Kind("MOV", "a QuickTime video", "other", "video", "mov")
_AUDIO_BRANDS = {b"M4A ", b"M4B "}


def sniff(head: bytes) -> Kind:
    """The kind of the file that begins with `head`; usable on the first `SNIFF_BYTES` while the rest is on its way."""
    if not head:
        return EMPTY
    for prefix, kind in _PREFIXES:
        if head.startswith(prefix):
            return kind
    return _boxed(head) or _short_magic(head) or _textual(head[:SNIFF_BYTES]) or UNKNOWN


def check_kind(kind: Kind) -> None:
    """Let a readable kind pass.

    Raises:
        EmptyFile: there is nothing in it.
        NotAPicture: it is something else entirely.
        KindNotRead: it is a picture of a kind we do not read.
    """
    if kind is EMPTY:
        raise EmptyFile
    if kind.family == "other":
        raise NotAPicture(what=kind.words)
    if kind.family == "picture":
        raise KindNotRead(what=kind.words)


def _boxed(head: bytes) -> Kind | None:
    """RIFF chunks and ISO media boxes carry their kind behind a length."""
    if head[:4] == b"RIFF":
        return _RIFF.get(head[8:12])
    if head[4:8] != b"ftyp":
        return _QUICKTIME if head[4:8] in {b"moov", b"mdat", b"wide"} else None
    end = min(int.from_bytes(head[:4], "big"), 512)
    brands = {head[8:12], *(head[at : at + 4] for at in range(16, end, 4))}
    if brands & {b"avif", b"avis"}:
        return AVIF
    if brands & _HEIC_BRANDS:
        return HEIC
    if head[8:12] in _AUDIO_BRANDS:
        return M4A
    return _QUICKTIME if head[8:12] == b"qt  " else MP4


def _short_magic(head: bytes) -> Kind | None:
    """Kinds whose two-letter mark could begin a sentence, so something else has to agree."""
    if head[:2] == b"BM" and head[6:10] == b"\0\0\0\0":
        return _BMP
    if re.match(rb"P[1-7]\s+(#|\d|WIDTH)", head):
        return _PNM
    return None


def _textual(head: bytes) -> Kind | None:
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if b"\0" in text:
        return None
    if b"<svg" in text and text.startswith((b"<svg", b"<?xml", b"<!--", b"<!doctype svg")):
        return SVG
    if text.startswith((b"<!doctype html", b"<html", b"<head", b"<body")) or b"<html" in text:
        return HTML
    if text.startswith(b"<?xml"):
        return XML
    if text.startswith((b"{", b"[")):
        return JSON
    return TEXT if _reads_as_text(text) else None


def _reads_as_text(text: bytes) -> bool:
    """UTF-8 without control characters; the sniffed piece may end inside a character."""
    try:
        decoded = text.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(text) - 3:
            return False
        decoded = text[: error.start].decode("utf-8")
    return bool(decoded) and not re.search(r"[\x00-\x08\x0e-\x1f]", decoded)
