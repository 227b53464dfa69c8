"""Sticker: a clip in the shape that Discord takes as one."""

from typing import ClassVar, Literal

from jobs.requests.stamp import Stamp


class StickerRequest(Stamp):
    """Make a clip a Discord sticker: 320 × 320, at most 5 seconds."""

    # Discord's own limits for an uploaded sticker: exactly 320 × 320 pixels, at most 5 seconds, 512 KB.
    side: ClassVar[int] = 320

    system: Literal["sticker"] = "sticker"
