"""A spool that is read while it fills, so that a clip is encoded beside its render."""

import threading
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

from media.frames import Frame, FrameSpool, Sound


class GaveUp(Exception):
    """The frames that a reader waits for will not come."""


class GrowingSpool:
    """`Footage` of a promised number of frames: one thread appends, others read and wait for what is not there yet.

    `complete` or `give_up` must be called in the end, or readers wait for ever.
    """

    def __init__(
        self,
        width: int,
        height: int,
        fps: Fraction | int,
        count: int,
        folder: Path | None = None,
        channels: int = 3,
        sound: Sound | None = None,
    ) -> None:
        """`count`: how many frames will come; the sound is known before the first of them."""
        self.width, self.height, self.fps, self.channels = width, height, Fraction(fps), channels
        self.count, self.sound = count, sound
        self.spool = FrameSpool(width, height, fps, folder, channels)
        self.spool.sound = sound
        self._changed = threading.Condition()
        self._gave_up = False

    def append(self, frame: Frame) -> None:
        """Keep one more frame, uint8 `[H, W, channels]`, and wake who waits for it.

        Raises:
            ValueError: it is of another size or type, or one more than promised.
        """
        if self.spool.count >= self.count:
            raise ValueError(f"only {self.count} frames were promised")
        with self._changed:
            self.spool.append(frame)
            self._changed.notify_all()

    def complete(self) -> FrameSpool:
        """The spool, with all its frames; where some are missing, readers that wait for them end by `GaveUp`."""
        if self.spool.count < self.count:
            self.give_up()
        return self.spool

    def give_up(self) -> None:
        """No more frames come; readers that wait end by `GaveUp`."""
        with self._changed:
            self._gave_up = True
            self._changed.notify_all()

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Frame:
        """The frame at `index`, read-only, `[H, W, channels]`, as soon as it is there.

        Raises:
            GaveUp: it will not come.
        """
        if not -self.count <= index < self.count:
            raise IndexError(index)
        place = index % self.count
        with self._changed:
            self._changed.wait_for(lambda: place < self.spool.count or self._gave_up)
            if place >= self.spool.count:
                raise GaveUp
        return self.spool[place]

    def __iter__(self) -> Iterator[Frame]:
        """All frames from the first on, each as soon as it is there."""
        return (self[index] for index in range(self.count))
