"""A spool that is read while it fills, so that a clip is encoded beside its render."""

import threading
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

from media.frames import Frame, FrameSpool, Sound


class GaveUp(Exception):
    """The frames that a reader waits for will not come."""


class GrowingSpool:
    """`Footage` of a promised number of frames: one thread appends, others read and wait for what is not there yet.

    `close` must be called in the end, or readers of a clip that is not whole wait for ever.
    """

    def __init__(
        self,
        width: int,
        height: int,
        fps: Fraction | int,
        count: int,
        folder: Path | None = None,
        channels: int = 3,
    ) -> None:
        """`count`: how many frames will come."""
        self.width, self.height, self.fps, self.channels = width, height, Fraction(fps), channels
        self.count = count
        self.sound: Sound | None = None
        """Set, where there is any, before the first frame."""
        self.whole_since: float | None = None
        """When the last frame came, by `time.monotonic`; None before."""
        self._spool = FrameSpool(width, height, fps, folder, channels)
        self._changed = threading.Condition()
        self._closed = False

    @property
    def there(self) -> int:
        """How many frames came so far."""
        return self._spool.count

    def append(self, frame: Frame) -> None:
        """Keep one more frame, uint8 `[H, W, channels]`, and wake who waits for it.

        Raises:
            ValueError: it is of another size or type, or one more than promised.
        """
        if self.there >= self.count:
            raise ValueError(f"only {self.count} frames were promised")
        with self._changed:
            self._spool.append(frame)
            if self.there == self.count:
                self.whole_since = time.monotonic()
            self._changed.notify_all()

    def close(self) -> None:
        """Give the space back; whoever reads, or waits for more, ends by `GaveUp`."""
        with self._changed:
            self._closed = True
            self._spool.close()
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
            self._changed.wait_for(lambda: place < self.there or self._closed)
            if self._closed:
                raise GaveUp
            return self._spool[place]

    def __iter__(self) -> Iterator[Frame]:
        """All frames from the first on, each as soon as it is there."""
        return (self[index] for index in range(self.count))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
