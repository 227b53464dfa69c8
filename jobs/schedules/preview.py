"""A prompt schedule in a few lines, to be seen before it is queued."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from jobs.schedules.prompts import Key, PromptSchedule
from jobs.texts import say

LONGEST = 1000
PROMPT = 60


def preview(schedule: PromptSchedule, num_frames: int, fps: float) -> str:
    """One line for each key: when, what, and what it turns into; the last lines are left out where there are many."""
    lines = _lines(schedule.keys, num_frames, fps)
    kept = len(lines)
    while True:
        left_out = len(lines) - kept
        more = [say("schedule_preview_more", {"count": left_out})] if left_out else []
        text = "\n".join((*lines[:kept], *more))
        if len(text) <= LONGEST:
            return text
        kept -= 1


def _lines(keys: Sequence[Key], num_frames: int, fps: float) -> list[str]:
    """All lines."""
    lines: list[str] = []
    for key, following in pairwise([*keys, None]):
        assert key is not None
        facts = {"time": _seconds(key.frame / fps), "frame": key.frame, "prompt": _shown(key)}
        if key.frame >= num_frames and lines and keys[len(lines) - 1].frame >= num_frames:
            lines.append(say("schedule_preview_unseen", facts))
        elif key.frame >= num_frames:
            lines.append(say("schedule_preview_beyond", {**facts, "last": num_frames - 1}))
        elif following is None:
            lines.append(say("schedule_preview_stays", facts))
        elif following.frame == key.frame:
            lines.append(say("schedule_preview_jumps", facts))
        elif following.prompt == key.prompt:
            lines.append(say("schedule_preview_same", {**facts, "until": _seconds(following.frame / fps)}))
        else:
            lines.append(say("schedule_preview_turns", {**facts, "until": _seconds(following.frame / fps)}))
    if keys[0].frame > 0:
        lines[0] = say("schedule_preview_early", {"line": lines[0]})
    return lines


def _seconds(seconds: float) -> str:
    return f"{seconds:.2f}".rstrip("0").rstrip(".")


def _shown(key: Key) -> str:
    """A prompt and what is not wanted, cut."""
    positive, negative = (_cut(half, PROMPT) for half in key.prompt)
    return f"{positive or '–'} (− {negative})" if negative else positive or "–"


def _cut(text: str, limit: int) -> str:
    """One line of so many characters, without backticks, which would make code of what follows."""
    line = " ".join(text.replace("`", "'").split())
    return line if len(line) <= limit else line[: limit - 1].rstrip() + "…"
