"""What a file says it is, by its declared type or its name's ending, before a byte of it was seen.

Only what can be ruled out stands here: the bytes are sniffed later in any case.
"""

from pathlib import PurePosixPath

DOCUMENTS = {
    "text": "a text file",
    "application/pdf": "a PDF document",
    "application/zip": "a ZIP archive",
    "application/json": "a JSON file",
}
"""By type, or by all that stands before its slash."""
SVG = "image/svg+xml"
UNREAD_PICTURES = {
    SVG: "an SVG drawing",
    "image/bmp": "a BMP picture",
    "image/heic": "a HEIC picture",
    "image/heif": "a HEIC picture",
    "image/jxl": "a JPEG XL picture",
    "image/tiff": "a TIFF picture",
    "image/vnd.adobe.photoshop": "a Photoshop document (PSD)",
}
STILLS = {*UNREAD_PICTURES, "image/jpeg", "image/x-icon"} - {SVG}
"""Pictures that never move."""
OGG = "application/ogg"
"""Sound or video, which its name does not tell."""
_SUFFIXES = {
    **dict.fromkeys((".mp4", ".mov", ".webm", ".mkv", ".avi", ".m4v"), "video/*"),
    **dict.fromkeys((".mp3", ".wav", ".flac", ".m4a", ".opus", ".aac"), "audio/*"),
    **dict.fromkeys((".txt", ".md", ".html", ".csv", ".py"), "text/*"),
    **dict.fromkeys((".jpg", ".jpeg"), "image/jpeg"),
    **dict.fromkeys((".heic", ".heif"), "image/heic"),
    **dict.fromkeys((".tif", ".tiff"), "image/tiff"),
    ".bmp": "image/bmp",
    ".svg": SVG,
    ".ogg": OGG,
    ".pdf": "application/pdf",
    ".zip": "application/zip",
    ".json": "application/json",
}


def declared_type(name: str, content_type: str | None) -> str:
    """The declared type; where that says nothing, what the name's ending stands for; empty where nothing is said."""
    declared = (content_type or "").split(";")[0].strip().lower()
    if declared in {"", "application/octet-stream"}:
        return _SUFFIXES.get(PurePosixPath(name).suffix.lower(), "")
    return declared


def document_words(declared: str) -> str:
    """What it is for people, where it is no picture, clip or sound at all; else empty."""
    return DOCUMENTS.get(declared) or DOCUMENTS.get(declared.split("/")[0]) or ""
