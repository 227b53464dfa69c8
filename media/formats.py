"""Every kind of file that a clip can become, in one table, and the one function that makes them.

The recipe travels inside the file: `metadata={"comment": text}` goes to one place in each container, and
`media.probe.probe(path).metadata["comment"]` finds it again.

| kind | where the comment stands |
| --- | --- |
| mp4 | iTunes tag `©cmt` in `moov/udta/meta/ilst` |
| gif | comment extension `21 FE`, before the first picture, UTF-8 |
| webp | XMP chunk at the end: `dc:description` |
| webm | Matroska tag `COMMENT` |
| apng, sticker | `iTXt` chunk `comment` behind `IHDR`, UTF-8, not compressed |
| emoji | as gif |
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np

from jobs.errors import Note
from media.apng import encode_apng
from media.fitting import Encoded
from media.frames import Footage, Frame
from media.gif import encode_gif
from media.passes import OnFrame, frames_at, resized
from media.video import encode_mp4
from media.webm import encode_webm
from media.webp import encode_webp

STICKER_FPS = Fraction(20)


class Encode(Protocol):
    """What every format offers; see `encode_mp4`."""

    def __call__(
        self,
        footage: Footage,
        path: Path,
        budget_bytes: int,
        *,
        metadata: Mapping[str, str] | None = None,
        on_frame: OnFrame | None = None,
    ) -> Encoded:
        """Write `footage` to `path` within the budget."""
        ...


@dataclass(frozen=True)
class Format:
    """One kind of file."""

    suffix: str
    media_type: str
    encode: Encode
    takes_alpha: bool = False
    """Soft alpha, or at least (GIF) all or nothing."""
    takes_sound: bool = False
    side: int | None = None
    """Pixels of each side where the host allows one size only; the clip is fitted in, the rest is transparent."""
    most_bytes: int | None = None
    """What the host takes at most, however large the budget."""
    most_seconds: float | None = None


FORMATS: Mapping[str, Format] = {
    "mp4": Format(".mp4", "video/mp4", encode_mp4, takes_sound=True),
    "gif": Format(".gif", "image/gif", encode_gif, takes_alpha=True),
    "webp": Format(".webp", "image/webp", encode_webp, takes_alpha=True),
    "webm": Format(".webm", "video/webm", encode_webm, takes_alpha=True, takes_sound=True),
    "apng": Format(".png", "image/png", encode_apng, takes_alpha=True),
    "sticker": Format(
        ".png",
        "image/png",
        partial(encode_apng, fixed_size=True, max_fps=STICKER_FPS),
        takes_alpha=True,
        side=320,
        most_bytes=512 * 1024,
        most_seconds=5.0,
    ),
    "emoji": Format(
        ".gif",
        "image/gif",
        partial(encode_gif, fixed_size=True),
        takes_alpha=True,
        side=128,
        most_bytes=256 * 1024,
    ),
}
"""By the name in `Output.format`; "both" is two of them. Limits of stickers and emoji: Discord's API reference."""


def encode(
    kind: str,
    footage: Footage,
    path: Path,
    budget_bytes: int,
    *,
    metadata: Mapping[str, str] | None = None,
    on_frame: OnFrame | None = None,
) -> Encoded:
    """Write `footage` as `kind`, one of `FORMATS`, of at most 95 % of the budget and of what the host takes.

    Raises:
        ClipTooLarge: it does not fit whatever is given up.
    """
    wanted = FORMATS[kind]
    budget = min(budget_bytes, wanted.most_bytes or budget_bytes)
    notes: tuple[Note, ...] = ()
    fitted = footage
    if wanted.side:
        fitted = Fitted(footage, wanted.side, wanted.most_seconds)
        if fitted.count < footage.count:
            notes += (Note("fewer_seconds", {"seconds": round(float(fitted.count / footage.fps), 1)}),)
    if footage.sound is not None and not wanted.takes_sound:
        notes += (Note("no_sound_here"),)
    encoded = wanted.encode(fitted, path, budget, metadata=metadata, on_frame=on_frame)
    # what was cut in the end is what is said
    cut = {note.code for note in encoded.notes}
    kept = tuple(note for note in notes if note.code not in cut)
    return replace(encoded, notes=(*encoded.notes, *kept))


class Fitted:
    """Footage brought into a square: scaled to fit, in the middle, transparent around, and cut where it is too long."""

    channels = 4
    sound = None

    def __init__(self, footage: Footage, side: int, most_seconds: float | None) -> None:
        """`side` in pixels; a clip longer than `most_seconds` keeps its beginning."""
        self._footage = footage
        self.width = self.height = side
        self.fps = footage.fps
        most = footage.count if most_seconds is None else max(1, int(Fraction(most_seconds) * footage.fps))
        self.count = min(footage.count, most)
        scale = side / max(footage.width, footage.height)
        self._size = max(1, round(footage.width * scale)), max(1, round(footage.height * scale))
        if self._size == (side, side):
            self.channels = footage.channels

    def __getitem__(self, index: int) -> Frame:
        """The frame at `index`, `[side, side, channels]`."""
        [frame] = frames_at(self._footage, [index])
        return self._placed(frame)

    def __iter__(self) -> Iterator[Frame]:
        """All frames from the first on."""
        return (self._placed(frame) for frame in frames_at(self._footage, list(range(self.count))))

    def _placed(self, frame: Frame) -> Frame:
        width, height = self._size
        small = resized(frame, width, height)
        if self.channels == 3:
            return small
        square = np.zeros((self.height, self.width, 4), np.uint8)
        top, left = (self.height - height) // 2, (self.width - width) // 2
        square[top : top + height, left : left + width, : small.shape[2]] = small
        if small.shape[2] == 3:
            square[top : top + height, left : left + width, 3] = 255
        return square
