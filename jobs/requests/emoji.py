"""Emoji: a clip in the shape that Discord takes as one."""

from typing import ClassVar, Literal

from jobs.requests.stamp import Stamp


class EmojiRequest(Stamp):
    """Make a clip a Discord emoji: 128 × 128, at most 5 seconds."""

    # Discord asks for 128 × 128 pixels and at most 256 KB. It says nothing of seconds; more than a sticker's would not
    # fit into the bytes.
    side: ClassVar[int] = 128

    system: Literal["emoji"] = "emoji"
