"""Emoji: the square that Discord takes."""

from __future__ import annotations

from inference.stamps import StampSystem
from jobs.requests.emoji import EmojiRequest


class Emoji(StampSystem[EmojiRequest]):
    """As every stamp; size and length stand in the request."""
