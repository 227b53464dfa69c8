"""One pass of frames through an encoder into a container, weighed while it runs."""

from collections.abc import Callable, Iterable
from typing import Any

import av

MIN_PACKETS = 8
"""A forecast from fewer packets would mistake the heavy first frame for all of them."""

OnFrame = Callable[[int, int], None]
"""Called with frames done and frames in all of the current pass; whatever it raises ends the encode."""


class Meter:
    """Weighs one pass while it runs, so that a hopeless one ends early."""

    def __init__(self, limit_bytes: int, num_frames: int) -> None:
        self._limit, self.num_frames = limit_bytes, num_frames
        self._sizes: list[int] = []

    def add(self, size_bytes: int) -> None:
        """One more encoded frame."""
        self._sizes.append(size_bytes)

    @property
    def hopeless(self) -> bool:
        """Already over the limit, with enough seen for a forecast."""
        return len(self._sizes) >= min(MIN_PACKETS, self.num_frames) and sum(self._sizes) > self._limit

    def forecast(self) -> int:
        """What the whole file would weigh: its first frame, and the mean of the others for each that follows."""
        first, others = self._sizes[0], self._sizes[1:]
        return round(first + sum(others) / max(1, len(others)) * (self.num_frames - 1))


def pour(frames: Iterable[av.VideoFrame], stream: Any, meter: Meter, on_frame: OnFrame | None) -> bool:
    """Encode `frames` by `stream` into its container; False where the pass was given up as hopeless.

    PyAV's own annotations leave streams and packets half unknown, hence `Any`.
    """
    for done, frame in enumerate(frames, 1):
        _mux(stream, stream.encode(frame), meter)
        if on_frame:
            on_frame(done, meter.num_frames)
        if meter.hopeless:
            return False
    _mux(stream, stream.encode(None), meter)
    return True


def _mux(stream: Any, packets: list[Any], meter: Meter) -> None:
    for packet in packets:
        meter.add(packet.size)
        stream.container.mux_one(packet)
