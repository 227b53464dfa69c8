"""What a status message claims, as a value, and whether it is still true.

One channel takes about one edit a second, whatever the number of jobs. So a message that waits says things that stay
true while nobody touches it: a time as an instant, which Discord's clients count down by themselves; an exact place
only where few jobs move, else "fewer than 20 ahead", which a shrinking line cannot make wrong; that the line was put on
hold, or a machine missing, as something of the past with its date.

**A message is behind the truth while it says something false**: more jobs are ahead than it says (or not exactly as
many), the time it promised has passed, or it shows a stage that has ended: waiting though the job runs, one stage of
the render though it is at the next, work though it is over. A forecast that moved is no such thing as long as its time
is to come, nor is a progress bar that shows less than there is: a bar is moved every 10 s at least as long as a channel
has few running jobs, and both are brought up to date as its pace allows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from bot.pace import Urgency
from jobs.record import Job, State

if TYPE_CHECKING:
    from jobs.forecast import Expected

EXACT = 3
"""At most so many ahead are counted one by one."""
EXACT_MS = 8_000
"""In a crowded channel, only where the line takes this long to move by one."""
CROWD = 4
"""Open jobs of one channel whose messages could all be edited within some seconds."""
BOUNDS = (5, 10, 15, 20, 30, 40, 50, 75, 100, 150, 200, 300, 400, 500, 750, 1000)
SOON_SECONDS = 3
"""What is ready within this is ready "any moment": a time that passes at once would have to be taken back."""
BRIEF_SECONDS = 6
"""In a crowd, work that is over within this is told when it is over."""
LATE_SECONDS, LATE_SHARE = 1.0, 0.1
"""In a crowd a time is told so much too late: a forecast that is right on average has passed in half of all cases."""
DRIFT_SECONDS, DRIFT_SHARE = 15.0, 0.2
"""A forecast that moved by more than this, or than this share of what is left, is told."""


class Phase(Enum):
    """What a status message is about."""

    WAITING = "⏳"
    HELD = "⏸️"
    UNSERVED = "💤"
    RUNNING = "🎞️"
    STOPPING = "🛑"
    SENDING = "📮"

    @property
    def waits(self) -> bool:
        """Whether the job is in line, whatever keeps it there."""
        return self in (Phase.WAITING, Phase.HELD, Phase.UNSERVED)


@dataclass(frozen=True)
class Claim:
    """All that one status message says."""

    phase: Phase
    ahead: int | None = None
    """Jobs before this one, running ones included. None: nothing is said of it."""
    below: int | None = None
    """Said instead: fewer than so many."""
    ready_s: int | None = None
    """When the clip is expected, in seconds since the epoch."""
    soon: bool = False
    """It is expected any moment."""
    since_s: int | None = None
    """When it was found on hold, or without a machine."""
    stage: str = ""
    step: int = 0
    total: int = 0


class Lag(Enum):
    """Why a message is edited: how urgently, within how many seconds, and how long after its last edit."""

    FALSE = (Urgency.MUST, 2.0, 2.5)
    STAGE = (Urgency.MUST, 4.0, 2.5)
    PASSED = (Urgency.MUST, 6.0, 2.5)
    PASSING = (Urgency.MAY, 5.0, 2.5)
    """The stage is another one, but the job is expected to be over before anybody would miss it."""
    PROGRESS = (Urgency.MAY, 6.0, 2.5)
    UNKNOWN = (Urgency.MAY, 8.0, 0.0)
    DRIFTED = (Urgency.MAY, 15.0, 10.0)
    LOOSE = (Urgency.MAY, 60.0, 10.0)
    """It says less than it could."""

    def __init__(self, urgency: Urgency, patience_seconds: float, gap_seconds: float) -> None:
        self.urgency = urgency
        self.patience_seconds = patience_seconds
        self.gap_seconds = gap_seconds

    @property
    def presses(self) -> bool:
        """Whether what may wait must be said once its patience has run out."""
        return self in (Lag.PASSING, Lag.PROGRESS)


def claim(job: Job, expected: Expected | None, now_s: float, *, crowded: bool) -> Claim:
    """What could be said of a job now. `crowded`: its channel has more open jobs than can be followed one by one."""
    if job.state is State.WAITING:
        return _in_line(expected, now_s, crowded=crowded)
    if job.state is not State.RUNNING:
        return Claim(Phase.SENDING)
    if job.cancel_by:
        return Claim(Phase.STOPPING)
    ready_s, soon = _ready(expected, now_s, crowded=crowded)
    if job.progress is None:
        return Claim(Phase.RUNNING, ready_s=ready_s, soon=soon)
    step, total = (job.progress.step, job.progress.total) if job.progress.total > 1 else (0, 0)
    return Claim(Phase.RUNNING, ready_s=ready_s, soon=soon, stage=job.progress.stage, step=step, total=total)


def _in_line(expected: Expected | None, now_s: float, *, crowded: bool) -> Claim:
    if expected is None:
        return Claim(Phase.WAITING)
    if expected.reason:
        held = Phase.HELD if expected.reason == "paused" else Phase.UNSERVED
        return Claim(held, since_s=int(now_s))
    ready_s, soon = _ready(expected, now_s, crowded=crowded)
    moves_ms = (expected.starts_ms - now_s * 1000) / (expected.ahead + 1)
    exact = expected.ahead <= EXACT and (not crowded or moves_ms >= EXACT_MS)
    below = None if exact else bound(expected.ahead, crowded=crowded)
    return Claim(Phase.WAITING, expected.ahead, below, ready_s, soon)


def bound(ahead: int, *, crowded: bool) -> int:
    """The least "fewer than" that stays true when a few newcomers overtake.

    Whoever was served for longer than was estimated falls back among all who wait, by the same share of what is ahead
    as the estimate was off, and so do all their jobs at once: in a crowd nobody could tell them all in time.
    """
    least = ahead + 2 + ahead // (3 if crowded else 10)
    return next((each for each in BOUNDS if each >= least), math.ceil(least / 1000) * 1000)


def _ready(expected: Expected | None, now_s: float, *, crowded: bool) -> tuple[int | None, bool]:
    if expected is None or not expected.ends_ms:
        return None, False
    ready_s = math.ceil(expected.ends_ms / 1000)
    if crowded:
        ready_s += math.ceil(LATE_SECONDS + LATE_SHARE * max(0.0, ready_s - now_s))
    return (None, True) if ready_s - now_s < SOON_SECONDS else (ready_s, False)


def lag(said: Claim | None, true: Claim, now_s: float, *, crowded: bool) -> Lag | None:
    """Why a message that says `said` (None: nobody knows what) should be edited, or None where it need not be."""
    if said is None:
        return Lag.UNKNOWN if true.phase.waits else Lag.STAGE
    moved = said.phase is not true.phase and not (said.phase.waits and true.phase.waits)
    if moved or said.stage != true.stage:
        return Lag.PASSING if crowded and _passing(said, true, now_s) else Lag.STAGE
    if _miscounted(said, true):
        return Lag.FALSE
    if said.ready_s is not None and said.ready_s < now_s:
        return Lag.PASSED
    if (said.step, said.total) != (true.step, true.total):
        return Lag.PROGRESS
    return _could_say_more(said, true, now_s)


def _passing(said: Claim, true: Claim, now_s: float) -> bool:
    """Whether nothing but the stage is wrong, and the job soon over. Somebody who stopped it waits to read that."""
    if true.phase is not Phase.RUNNING or (said.ready_s is not None and said.ready_s < now_s):
        return False
    return true.soon or (true.ready_s is not None and true.ready_s - now_s <= BRIEF_SECONDS)


def _miscounted(said: Claim, true: Claim) -> bool:
    """Whether the place is wrong. On hold nobody is counted, and the places stay as they were."""
    if said.ahead is None or true.ahead is None:
        return False
    return said.ahead != true.ahead if said.below is None else true.ahead >= said.below


def _could_say_more(said: Claim, true: Claim, now_s: float) -> Lag | None:
    if said.phase is not true.phase or (said.ahead is None and true.ahead is not None):
        return Lag.DRIFTED
    if _tighter(said.below, true.below):
        return Lag.LOOSE
    if true.ready_s is None or said.ready_s is None:
        return Lag.DRIFTED if true.ready_s is not None and (not said.soon or _far(true.ready_s, now_s)) else None
    moved = true.ready_s - said.ready_s
    if abs(moved) <= max(DRIFT_SECONDS, DRIFT_SHARE * (true.ready_s - now_s)):
        return None
    return Lag.DRIFTED if moved > 0 else Lag.LOOSE


def _tighter(said: int | None, true: int | None) -> bool:
    """Whether the place can be told more closely."""
    return said is not None and (true is None or true < said)


def _far(ready_s: int, now_s: float) -> bool:
    return ready_s - now_s > DRIFT_SECONDS
