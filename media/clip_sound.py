"""A stranger's sound as 48 kHz stereo, by FFmpeg. For the decoding child alone."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from media.clip_limits import NoSound, SoundTooLong
from media.clip_shots import DAMAGE
from media.clip_video import SOUND_CODECS, decoded, open_container
from media.frames import SOUND_RATE, Sound
from media.kinds import Kind

_RATES = range(4_000, 384_001)
_GAP = SOUND_RATE // 20
"""A hole of this many samples between two packets is silence that was left out; a shorter one is rounding."""


@dataclass
class Track:
    """What was heard: int16 `[N, 2]`, and whether some of it is missing."""

    samples: Sound
    damaged: bool


def read_track(path: Path, kind: Kind, most_seconds: float) -> Track:
    """A file's first sound track, whole.

    Raises:
        NoSound: there is no track that is read here, or nothing in it.
        SoundTooLong: it is longer.
        One of `DAMAGE`, MemoryError: it is broken.
    """
    most = round(most_seconds * SOUND_RATE)
    track = _read(path, kind, None, most + SOUND_RATE // 2)
    if track is None or not len(track.samples):
        raise NoSound
    if len(track.samples) > most + SOUND_RATE // 4:
        raise SoundTooLong(limit=most_seconds)
    return track


def clip_track(path: Path, kind: Kind, begin: Fraction, seconds: Fraction) -> Track | None:
    """The sound that belongs to a clip's pictures, exactly as long as they are; None where there is none.

    Raises:
        MemoryError: there was too little of it.
    """
    most = round(seconds * SOUND_RATE)
    try:
        track = _read(path, kind, begin, most)
    except MemoryError:
        raise
    except DAMAGE:
        return None
    if track is None or not len(track.samples):
        return None
    missing = most - len(track.samples)
    track.samples = np.pad(track.samples, ((0, max(0, missing)), (0, 0)))[:most]
    return track


def _read(path: Path, kind: Kind, begin: Fraction | None, most: int) -> Track | None:
    """At most `most` samples from `begin` on, in seconds of the file's clock; None: from wherever the track begins."""
    with open_container(path, kind) as container:
        stream = next((stream for stream in container.streams.audio if _is_read(stream)), None)
        if stream is None:
            return None
        stream.codec_context.thread_count = 1
        line = _Line(begin, most)
        for frame in decoded(container, stream, stream.codec_context):
            if frame is None or frame.sample_rate not in _RATES:
                line.damaged = True
            elif not line.add(frame):
                break
        return line.finished()


def _is_read(stream: Any) -> bool:
    codec = stream.codec_context
    return codec is not None and (codec.name in SOUND_CODECS or codec.name.startswith("pcm_"))


class _Line:
    """Samples laid one after another where their times say."""

    def __init__(self, begin: Fraction | None, most: int) -> None:
        self._begin, self._most = begin, most
        self._pieces: list[Sound] = []
        self._count = 0
        self._resampler: av.AudioResampler | None = None
        self.damaged = False

    def add(self, frame: Any) -> bool:
        """Lay one frame down; False once nothing more is needed."""
        if not self._count and not self._pieces and frame.pts is not None:
            self._begin = self._begin if self._begin is not None else frame.pts * frame.time_base
        try:
            self._resampler = self._resampler or _resampler(frame)
            for piece in self._resampler.resample(frame):
                self._lay(_samples(piece), _place(piece, self._begin))
        except MemoryError:
            raise
        except DAMAGE:  # another layout or rate in the middle of the track
            self.damaged = True
            self._resampler = None
        return self._count < self._most

    def _lay(self, samples: Sound, place: int | None) -> None:
        offset = 0 if place is None else place - self._count
        if not self._count and offset < 0:
            samples = samples[-offset:]  # from before the pictures begin
        elif offset > (_GAP if self._count else 0):
            self._keep(np.zeros((min(offset, self._most - self._count), 2), np.int16))
        self._keep(samples[: self._most - self._count])

    def _keep(self, samples: Sound) -> None:
        if len(samples):
            self._pieces.append(samples)
            self._count += len(samples)

    def _rest(self) -> Iterator[Sound]:
        try:
            for piece in self._resampler.resample(None) if self._resampler else ():
                yield _samples(piece)
        except DAMAGE:
            return

    def finished(self) -> Track:
        """All that was laid, with what the resampler still holds."""
        if self._count:
            for piece in self._rest():
                self._keep(piece[: self._most - self._count])
        return Track(np.concatenate(self._pieces) if self._pieces else np.zeros((0, 2), np.int16), self.damaged)


def _resampler(frame: Any) -> av.AudioResampler:
    """To `SOUND_RATE`. Mono stays mono, because FFmpeg makes it 3 dB quieter on its way to stereo."""
    layout = "mono" if frame.layout.nb_channels == 1 else "stereo"
    return av.AudioResampler(format="s16", layout=layout, rate=SOUND_RATE)


def _samples(piece: Any) -> Sound:
    """int16 `[N, 2]`."""
    return np.broadcast_to(piece.to_ndarray().reshape(-1, piece.layout.nb_channels), (piece.samples, 2))


def _place(piece: Any, begin: Fraction | None) -> int | None:
    """Where a resampled piece belongs, in samples from the beginning."""
    if piece.pts is None or begin is None or not piece.time_base:
        return None
    return round((piece.pts * piece.time_base - begin) * SOUND_RATE)
