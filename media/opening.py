"""A stranger's clip in memory, opened by the demuxer of its own kind, which may open nothing else.

FFmpeg left to guess takes a text for a playlist, and then reads the files and addresses that it names.
"""

import io
from typing import Any

import av

from media.clip_video import SOUND_CODECS, VIDEO_CODECS, walls
from media.kinds import SNIFF_BYTES, sniff

ANIMATIONS = {"GIF": "gif", "PNG": "apng"}
"""FFmpeg's demuxers for pictures that move."""
CODECS = VIDEO_CODECS | SOUND_CODECS | {"gif", "apng"}


def opened(data: bytes) -> Any | None:
    """The container, to be closed by its reader; None where this is no clip of a kind that FFmpeg is to look at.

    Raises:
        av.error.FFmpegError: it is broken.
    """
    kind = sniff(data[:SNIFF_BYTES])
    demuxer = kind.demuxer or ANIMATIONS.get(kind.name)
    if not demuxer:
        return None
    options = walls("none", CODECS)
    return av.open(io.BytesIO(data), "r", format=demuxer, options=options, metadata_errors="replace")
