"""A stranger's clip gone through once for its facts, and once more for its frames. For the decoding child alone.

Both `probe_clip` and `decode_clip` take the facts from the same first pass, so that they cannot disagree.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from jobs.errors import Note
from media.clip_animation import Animation
from media.clip_facts import ClipFacts
from media.clip_limits import ClipIsStill, ClipLimits, ClipPlaysTooLong, ClipTooManyFrames
from media.clip_shots import Shots
from media.clip_sound import Track, clip_track
from media.clip_timing import Timeline, timeline
from media.clip_video import Video
from media.frames import Frame, Sound
from media.kinds import Kind

FRAMES_PER_FRAME = 8
"""A file may hold so many times the most frames of a clip: 240 a second are thinned out to 30."""
SLACK_SECONDS = 0.25
"""A minute of video is often a frame or two longer."""


@dataclass(frozen=True)
class Survey:
    """All that is known of a clip after it was gone through once."""

    facts: ClipFacts
    picks: tuple[int, ...]
    sound: Sound | None


@dataclass
class _Seen:
    """What one pass over the frames collects."""

    starts: list[Fraction]
    hold: Fraction | None = None
    has_alpha: bool = False


def open_shots(path: Path, kind: Kind, limits: ClipLimits) -> Shots:
    """The file's frames as they stand in it.

    Raises:
        Refusal: it is too large, or there is nothing to see.
        One of `DAMAGE`, MemoryError: it is broken.
    """
    return Video(path, kind, limits) if kind.demuxer else Animation(path, kind, limits)


def survey(path: Path, kind: Kind, limits: ClipLimits) -> Survey:
    """Decode everything once and keep the facts and the sound.

    Raises:
        Refusal: it does not fit the limits.
        One of `DAMAGE`, MemoryError: it is broken.
    """
    shots = open_shots(path, kind, limits)
    seen = _gone_through(shots, limits)
    if len(seen.starts) < 2:
        raise ClipIsStill
    line = timeline(seen.starts, seen.hold, limits.max_frames)
    track = clip_track(path, kind, seen.starts[0], len(line.picks) / line.fps) if kind.demuxer else None
    facts = ClipFacts(
        width=shots.width,
        height=shots.height,
        num_frames=len(line.picks),
        fps=line.fps,
        has_alpha=seen.has_alpha,
        has_sound=track is not None,
        kind=kind.words,
        notes=tuple(_notes(shots, line, track)),
    )
    return Survey(facts, line.picks, track.samples if track else None)


def frames(path: Path, kind: Kind, limits: ClipLimits, plan: Survey) -> Iterator[Frame]:
    """The clip's frames, as many as its facts say, uint8 `[H, W, 3 or 4]`.

    Raises:
        One of `DAMAGE`, MemoryError: it is broken, which the survey would have found.
    """
    done = 0
    picture: Frame | None = None
    for number, shot in enumerate(open_shots(path, kind, limits)):
        if done == len(plan.picks):
            return
        if plan.picks[done] != number:
            continue
        picture = shot.picture(plan.facts.has_alpha)
        while done < len(plan.picks) and plan.picks[done] == number:
            yield picture
            done += 1
    if picture is None:
        raise ValueError("no frame came the second time")
    for _ in range(done, len(plan.picks)):
        yield picture


def _gone_through(shots: Shots, limits: ClipLimits) -> _Seen:
    """Look at every frame, and stop as soon as there are too many."""
    seen = _Seen([])
    looks = ""
    for shot in shots:
        seen.starts.append(shot.start)
        seen.hold = shot.hold
        _check_length(seen, limits)
        seen.has_alpha = seen.has_alpha or not shot.opaque()
        if shot.looks != looks:  # a layout that cannot be converted is found here, not in the middle of a job
            shot.picture(seen.has_alpha)
            looks = shot.looks
    return seen


def _check_length(seen: _Seen, limits: ClipLimits) -> None:
    length = seen.starts[-1] - seen.starts[0] + (seen.hold or 0)
    if length > limits.max_seconds + SLACK_SECONDS:
        raise ClipPlaysTooLong(limit=limits.max_seconds)
    if len(seen.starts) > FRAMES_PER_FRAME * limits.max_frames:
        raise ClipTooManyFrames(limit=FRAMES_PER_FRAME * limits.max_frames)


def _notes(shots: Shots, line: Timeline, track: Track | None) -> Iterator[Note]:
    if shots.damaged:
        yield Note("clip_damaged")
    if shots.hdr:
        yield Note("clip_tone_mapped")
    if line.thinned:
        yield Note("clip_rate_lowered", {"fps": float(line.fps)})
    elif line.uneven:
        yield Note("clip_rate_evened", {"fps": float(line.fps)})
    if shots.width < shots.full_width:
        size = {"width": shots.width, "height": shots.height}
        yield Note("clip_scaled", {**size, "from_width": shots.full_width, "from_height": shots.full_height})
    if track and track.damaged:
        yield Note("clip_sound_damaged")
