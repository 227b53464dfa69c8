"""What one injected fault did: which jobs it touched, and after how long things were as they should be again."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass
class Incident:
    """One fault at one instant."""

    kind: str
    at: float = field(default_factory=time.time)
    touched: set[str] = field(default_factory=set[str])
    """Ids of the jobs that it could have harmed."""
    back: list[float] = field(default_factory=list[float])
    """Seconds until each of them, or the thing itself, was back; see `Kind.back_when`."""

    def recovered(self) -> None:
        """It is, now."""
        self.back.append(time.time() - self.at)


@dataclass(frozen=True)
class Row:
    """All faults of one kind."""

    kind: str
    back_when: str
    injected: int
    touched: int
    ended: int
    """Of the touched ones, those that ended in exactly one final message."""
    median: float | None
    worst: float | None

    def markdown(self) -> str:
        """As a row of the table."""
        times = "–" if self.median is None else f"{self.median:.1f} / {self.worst:.1f}"
        return f"| {self.kind} | {self.injected} | {self.touched} | {self.ended} | {times} | {self.back_when} |"


HEAD = (
    "| fault | injected | jobs touched | ended in one message | back after s (median / worst) | back means |\n"
    "| --- | ---: | ---: | ---: | ---: | --- |"
)


def row(kind: str, back_when: str, incidents: Iterable[Incident], told_once: set[str]) -> Row:
    """Sum up one kind."""
    mine = [each for each in incidents if each.kind == kind]
    touched = set[str]().union(*(each.touched for each in mine))
    back = sorted(seconds for each in mine for seconds in each.back)
    return Row(
        kind,
        back_when,
        injected=len(mine),
        touched=len(touched),
        ended=len(touched & told_once),
        median=back[len(back) // 2] if back else None,
        worst=back[-1] if back else None,
    )
