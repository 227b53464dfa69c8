"""Frames kept once and read often: an encoder that must fit a budget goes over them several times."""

import errno
import os
import tempfile
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from jobs.errors import Failure

Frame = NDArray[np.uint8]
"""One frame: RGB `[H, W, 3]`, or with straight alpha RGBA `[H, W, 4]`."""
Sound = NDArray[np.int16]
"""48 kHz stereo, `[N, 2]`: what every sound is brought to where it comes in."""
SOUND_RATE = 48_000


class Footage(Protocol):
    """Frames of one size at a steady rate, to be read from the start as often as one likes."""

    @property
    def width(self) -> int: ...  # noqa: D102
    @property
    def height(self) -> int: ...  # noqa: D102
    @property
    def count(self) -> int: ...  # noqa: D102
    @property
    def fps(self) -> Fraction: ...  # noqa: D102
    @property
    def channels(self) -> int: ...  # noqa: D102
    @property
    def sound(self) -> Sound | None: ...  # noqa: D102
    def __iter__(self) -> Iterator[Frame]: ...


class DiskFull(Failure):
    """No space is left for raw frames."""

    code = "disk_full"


class FrameSpool:
    """Raw frames in an anonymous temporary file: memory stays flat, and nothing is left behind even by a kill.

    Ten seconds of 1280 × 720 at 24 frames a second are 0.66 GB on disk.
    """

    def __init__(
        self, width: int, height: int, fps: Fraction | int, folder: Path | None = None, channels: int = 3
    ) -> None:
        """`folder` is where the file's space is taken from; it never shows a name."""
        if width < 1 or height < 1 or fps <= 0:
            raise ValueError(f"no clip is {width} × {height} at {fps} frames a second")
        self.width, self.height, self.fps, self.channels = width, height, Fraction(fps), channels
        self.count = 0
        self.sound: Sound | None = None
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 (closed by `close`, or with the spool itself)

    @classmethod
    def filled(
        cls,
        frames: Iterable[Frame],
        width: int,
        height: int,
        fps: Fraction | int,
        folder: Path | None = None,
        channels: int = 3,
    ) -> Self:
        """A spool that holds all of `frames`; nothing is left open where reading them fails."""
        spool = cls(width, height, fps, folder, channels)
        try:
            for frame in frames:
                spool.append(frame)
        except BaseException:
            spool.close()
            raise
        return spool

    def append(self, frame: Frame) -> None:
        """Keep one more frame, uint8 `[H, W, channels]`.

        Raises:
            DiskFull: there is no space left for it.
            ValueError: it is of another size or type than the spool's.
        """
        if frame.shape != (self.height, self.width, self.channels) or frame.dtype != np.uint8:
            raise ValueError(f"{frame.dtype} {frame.shape} is no frame of {self.width} × {self.height}")
        try:
            self._file.seek(self.count * frame.nbytes)
            self._file.write(np.ascontiguousarray(frame).data)
            self._file.flush()
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise DiskFull() from error
        self.count += 1

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Frame:
        """The frame at `index`, read-only, `[H, W, channels]`."""
        if not -self.count <= index < self.count:
            raise IndexError(index)
        size = self.width * self.height * self.channels
        data = os.pread(self._file.fileno(), size, index % self.count * size)  # shares no position with other readers
        return np.frombuffer(data, np.uint8).reshape(self.height, self.width, self.channels)

    def __iter__(self) -> Iterator[Frame]:
        """All frames from the first on. Several readers, in several threads, may go over them at once."""
        return (self[index] for index in range(self.count))

    def close(self) -> None:
        """Give the space back."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
