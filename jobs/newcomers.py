"""Who comes later and starts before: in a fair line a newcomer's first job overtakes a busy person's fifth.

A forecast that knows only those who wait is therefore too early, the more so the longer it looks ahead. Nobody knows
who will come, but the next hour is mostly as the last one was: so the jobs of the last hour are remembered, and a
forecast lets them come again. Those of the same person stay in line behind that person's own, as they would.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import count

from jobs.fair import FairLine
from jobs.line import Flow, Line, Running, Waiting

WINDOW_MS = 3_600_000
"""How far back is remembered, and after how long the same jobs come once more."""
MOST = 500
"""Jobs that are remembered; where more came within the hour, the newest count and come again sooner."""


@dataclass(frozen=True)
class Newcomer:
    """A job that came once and may come again."""

    job: Waiting
    person: Flow
    guild: Flow
    came_ms: float

    def join(self, fair: FairLine, number: int) -> None:
        """Enter a line in memory, behind all that came before."""
        self.enter(fair, replace(self.job, id=f"newcomer {number}", seq=2**52 + number, held=False))

    def enter(self, fair: FairLine, job: Waiting) -> None:
        """Enter a line in memory as this job, on their terms."""
        terms = self.person
        fair.terms(
            self.job.guild,
            self.job.person,
            weight=terms.weight,
            guild_weight=self.guild.weight,
            most=terms.most_running,
        )
        fair.add(job)


class Newcomers:
    """The jobs of the last hour, as far as lines were looked at."""

    def __init__(self) -> None:
        self._came: deque[Newcomer] = deque(maxlen=MOST)
        self._known: set[str] = set()

    def see(self, line: Line) -> None:
        """Take note of who is new in the line. The first look tells nothing: nobody knows when those came."""
        jobs: dict[str, Waiting | Running] = {job.id: job for job in (*line.waiting, *line.running)}
        if self._known or self._came:
            for job_id in sorted(jobs.keys() - self._known):
                self._remember(jobs[job_id], line)
        self._known = set(jobs) or {""}  # an empty line was looked at, too
        while self._came and self._came[0].came_ms < line.at_ms - WINDOW_MS:
            self._came.popleft()

    def _remember(self, job: Waiting | Running, line: Line) -> None:
        waiting = Waiting(job.id, job.guild, job.person, job.channel, job.kind, job.cost_ms, seq=0)
        guild = line.guilds.get(job.guild)
        person = guild.people.get(job.person, Flow()) if guild else Flow()
        self._came.append(Newcomer(waiting, person, guild.flow if guild else Flow(), line.at_ms))

    def copy(self) -> "Newcomers":
        """As they are known now, for a forecast that is made in a thread."""
        copied = Newcomers()
        copied._came.extend(self._came)
        return copied

    def again(self, now_ms: float) -> Iterator[tuple[float, int, Newcomer]]:
        """Everybody who may come, without end: when, a number, who."""
        came = [each for each in self._came if each.came_ms > now_ms - WINDOW_MS]
        if not came:
            return
        window_ms = WINDOW_MS if len(came) < MOST else max(1.0, now_ms - came[0].came_ms)
        number = count()
        for lap in count(1):
            for each in came:
                yield each.came_ms + lap * window_ms, next(number), each
