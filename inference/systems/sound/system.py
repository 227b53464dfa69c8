"""Sound: a track as long as the clip and as loud as the web plays."""

from __future__ import annotations

from inference.editing import clip_of, shape_of, ticked
from inference.systems.base import PLENTY, Clip, Sources, System, Thrift, Tick
from jobs.errors import Note
from jobs.requests.sound import SoundRequest
from media.frames import SOUND_RATE, Sound
from media.loudness import levels_of, limited, loudness, normalised
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
            own = normalised(cut(spool.sound, 0, len(track)))
            track = limited(normalised(limited(own + levels_of(track))))
        tick("listening", 1, 1)
        frames = ticked(spool, "copying", spool.count, tick)
        return clip_of(request.gives({request.clip: known}), frames, spool.channels, track, notes)


def _track(request: SoundRequest, sound: Sound, length: int) -> tuple[Sound, tuple[Note, ...]]:
    """The new sound alone: from where it begins, as long as the clip, at its loudness, faded out."""
    begun = sound[round(request.start * SOUND_RATE) :]
    if not len(begun):  # a sound's length is not known before, so this cannot be refused
        begun, notes = sound, (Note("sound_from_start", {"seconds": round(len(sound) / SOUND_RATE, 1)}),)
    elif loudness(begun) == float("-inf"):
        notes = (Note("sound_silent"),)
    else:
        notes = ()
    fitting = repeated(begun, length) if request.length == "repeat" else cut(begun, 0, length)
    heard = limited(normalised(fitting) * (request.volume / 100))
    return faded_out(heard, round(request.fade * SOUND_RATE)), notes
