"""Sticker: the square that Discord takes."""

from __future__ import annotations

from inference.stamps import StampSystem
from jobs.requests.sticker import StickerRequest


class Sticker(StampSystem[StickerRequest]):
    """As every stamp; size and length stand in the request."""
