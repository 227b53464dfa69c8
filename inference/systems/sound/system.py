"""Sound: a track as long as the clip and as loud as the web plays."""

from __future__ import annotations

import math

import numpy as np

from inference.editing import clip_of, shape_of, ticked
from inference.systems.base import PLENTY, Clip, Sources, System, Thrift, Tick
from jobs.errors import Note
from jobs.requests.sound import SoundRequest
from media.frames import SOUND_RATE, Sound
from media.loudness import levels_of, limited, normalised
from media.tracks import cut, faded_out, repeated, samples


class AddSound(System[SoundRequest]):
    """The clip's picture, and sound."""

    def render(self, request: SoundRequest, sources: Sources, tick: Tick, thrift: Thrift = PLENTY) -> Clip:
        """The sound is made at once; frames are handed on as they are read."""
        spool = sources.clip(request.clip)
        known = shape_of(spool)
        tick("listening", 0, 1)
        track, notes = _track(request, sources.sound(request.sound), samples(spool.count, spool.fps))
        if request.mode == "mix" and spool.sound is not None:
            own, _ = normalised(cut(spool.sound, 0, len(track)))
            whole, _ = normalised(limited(own + levels_of(track)))
            track = limited(whole)
        tick("listening", 1, 1)
        frames = ticked(spool, "copying", spool.count, tick)
        return clip_of(request.gives({request.clip: known}), frames, spool.channels, track, notes)


def _track(request: SoundRequest, sound: Sound, length: int) -> tuple[Sound, tuple[Note, ...]]:
    """The new sound alone: from where it begins, as long as the clip, at its loudness, faded out.

    Of a song only what will be heard is looked at; what plays once fades before the silence behind it.
    """
    begun = sound[round(request.start * SOUND_RATE) :]
    past = not len(begun)  # a sound's length is not known before, so this cannot be refused
    heard = (sound if past else begun)[:length]
    levels, loudness = normalised(repeated(heard, length) if request.length == "repeat" else heard)
    faded = faded_out(limited(levels * np.float32(request.volume / 100)), round(request.fade * SOUND_RATE))
    notes: tuple[Note, ...] = ()
    if past:
        notes = (Note("sound_from_start", {"seconds": round(len(sound) / SOUND_RATE, 1)}),)
    elif loudness == -math.inf:
        notes = (Note("sound_silent"),)
    return cut(faded, 0, length), notes
