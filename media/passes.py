"""One pass of frames through an encoder into a container, weighed while it runs."""

from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from typing import Any

import av
import numpy as np
from PIL import Image

from media.frames import SOUND_RATE, Footage, Frame, Sound

MIN_PACKETS = 8
"""A forecast from fewer packets would mistake the heavy first frame for all of them."""
SAMPLE_SHARE = 0.1
"""Of the frames; taken in up to three runs, for what moves in one place may rest in another."""
LONGEST_RUN = 16
SOUND_CHUNK = 4096
"""Samples given to an encoder at a time."""

OnFrame = Callable[[int, int], None]
"""Called with frames done and frames in all of the current pass; whatever it raises ends the encode."""


class Meter:
    """Weighs one pass while it runs, so that a hopeless one ends early."""

    def __init__(self, limit_bytes: float, num_frames: int) -> None:
        self._limit, self.num_frames = limit_bytes, num_frames
        self.sizes: list[int] = []
        self.besides = 0
        """Bytes that do not belong to a frame: sound."""

    def add(self, size_bytes: int) -> None:
        """One more encoded frame."""
        self.sizes.append(size_bytes)

    @property
    def hopeless(self) -> bool:
        """Already over the limit, with enough seen for a forecast."""
        seen = len(self.sizes)
        return seen >= min(MIN_PACKETS, self.num_frames) and sum(self.sizes) + self.besides > self._limit

    def forecast(self) -> int:
        """What the whole file would weigh: its first frame, and the mean of the others for each that follows."""
        first, others = self.sizes[0], self.sizes[1:]
        return round(self.besides + first + sum(others) / max(1, len(others)) * (self.num_frames - 1))


class Track:
    """Sound on its way into a container, always as far as the pictures are."""

    def __init__(self, stream: Any, sound: Sound) -> None:
        self._stream, self._sound, self._at = stream, sound, 0

    def until(self, seconds: float, meter: Meter) -> None:
        """Encode what is heard before `seconds`."""
        while self._at < min(len(self._sound), seconds * SOUND_RATE):
            chunk = self._sound[self._at : self._at + SOUND_CHUNK]
            frame = av.AudioFrame.from_ndarray(
                np.ascontiguousarray(chunk.reshape(1, -1)), format="s16", layout="stereo"
            )
            frame.sample_rate, frame.pts = SOUND_RATE, self._at
            self._mux(self._stream.encode(frame), meter)
            self._at += len(chunk)

    def end(self, meter: Meter) -> None:
        """Encode the rest."""
        self.until(len(self._sound) / SOUND_RATE + 1, meter)
        self._mux(self._stream.encode(None), meter)

    def _mux(self, packets: list[Any], meter: Meter) -> None:
        for packet in packets:
            meter.besides += packet.size
            self._stream.container.mux_one(packet)


def pour(
    frames: Iterable[av.VideoFrame], stream: Any, meter: Meter, on_frame: OnFrame | None, track: Track | None = None
) -> bool:
    """Encode `frames` by `stream` into its container; False where the pass was given up as hopeless.

    PyAV's own annotations leave streams and packets half unknown, hence `Any`.
    """
    for done, frame in enumerate(frames, 1):
        _mux(stream, stream.encode(frame), meter)
        if track:
            track.until(float(done / stream.average_rate), meter)
        if on_frame:
            on_frame(done, meter.num_frames)
        if meter.hopeless:
            return False
    _mux(stream, stream.encode(None), meter)
    if track:
        track.end(meter)
    return True


def _mux(stream: Any, packets: list[Any], meter: Meter) -> None:
    for packet in packets:
        meter.add(packet.size)
        stream.container.mux_one(packet)


def heard(footage: Footage) -> Sound | None:
    """The footage's sound, no longer than its pictures; None where it has none."""
    sound = footage.sound
    if sound is None or not len(sound):
        return None
    return sound[: round(footage.count / footage.fps * SOUND_RATE)]


def runs(places: list[int], shortest: int) -> list[list[int]]:
    """A few short runs out of `places`, spread evenly: what samples are encoded from."""
    longest = max(shortest, LONGEST_RUN)
    length = max(shortest, min(longest, round(len(places) * SAMPLE_SHARE / 3)))
    number = min(3, max(1, len(places) // (2 * length)))
    starts = np.linspace(0, max(0, len(places) - length), number + 2)[1:-1].round().astype(int)
    return [places[start : start + length] for start in starts.tolist()]


def frames_at(footage: Footage, places: list[int]) -> Iterator[Frame]:
    """The frames at these ascending places: straight from a spool, or by reading footage from its start."""
    if hasattr(footage, "__getitem__"):
        spool: Any = footage
        yield from (spool[place] for place in places)
        return
    wanted, last = set(places), max(places, default=-1)
    for number, frame in enumerate(footage):
        if number in wanted:
            yield frame
        if number >= last:
            return


def over_white(frame: Frame) -> Frame:
    """The frame as RGB; what it lets through shows white, as pictures with alpha do where they come in."""
    if frame.shape[2] == 3:
        return frame
    alpha = frame[..., 3:].astype(np.uint16)
    return ((frame[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)


def resized(frame: Frame, width: int, height: int) -> Frame:
    """The frame at another size, by Lanczos; colours under transparent pixels do not bleed into their neighbours."""
    if frame.shape[:2] == (height, width):
        return frame
    return np.asarray(Image.fromarray(frame).resize((width, height), Image.Resampling.LANCZOS))


class Steady:
    """Keeps a pixel as it was shown until it differs visibly: grain rests, so it need not be stored again."""

    def __init__(self, tolerance: int) -> None:
        """`tolerance`: the largest difference (0 to 255, in any channel) that is not shown."""
        self._tolerance = tolerance
        self._shown: Frame | None = None

    def __call__(self, frame: Frame) -> Frame:
        """What is shown instead of `frame`, at most `tolerance` away from it."""
        if self._shown is None or not self._tolerance:
            self._shown = frame.copy()
        else:
            apart = np.maximum(frame, self._shown) - np.minimum(frame, self._shown)
            visible = apart > self._tolerance
            changed = visible[..., 0] | visible[..., 1] | visible[..., 2]  # three times as fast as any(axis=2)
            if frame.shape[2] == 4:
                changed |= apart[..., 3] > 0
            self._shown[changed] = frame[changed]
        return self._shown


def timed(frames: Iterable[av.VideoFrame], begins: list[int], unit: Fraction) -> Iterator[av.VideoFrame]:
    """The frames with their moments in `unit` seconds; the last of `begins` is when the last one ends."""
    for frame, begin, end in zip(frames, begins, begins[1:], strict=False):
        frame.pts, frame.time_base, frame.duration = begin, unit, end - begin
        yield frame
