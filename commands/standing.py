"""`/me` in words: what somebody used of the GPU, what is left to them, and what they have open."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from bot.amounts import clock, counted, gpu
from commands.line import Spent, View, row_text, why
from jobs.queue import Usage
from jobs.record import Job
from jobs.terms import Terms
from jobs.texts import say

SHOWN = 10
"""Most of one's own jobs that are listed; the rest are counted."""


@dataclass(frozen=True)
class Standing:
    """What holds for one person, here and now."""

    terms: Terms
    usage: Usage
    open_jobs: int
    now_ms: float

    @property
    def left_ms(self) -> float:
        """GPU milliseconds that may still be asked for today, open jobs counted; infinite where there is no limit."""
        limit = self.terms.gpu_seconds_per_day * 1000
        return max(0.0, limit - self.usage.today_ms - self.usage.open_ms) if limit else float("inf")


def midnight(now_ms: float) -> float:
    """The next midnight UTC, when a new day's GPU seconds begin (milliseconds since the epoch)."""
    day = datetime.fromtimestamp(now_ms / 1000, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return (day + timedelta(days=1)).timestamp() * 1000


def standing_text(standing: Standing, seen: View, jobs: Mapping[str, Job], lately: Spent) -> str:
    """The whole answer to `/me`."""
    small = [f"-# {sentence}" for sentence in why(seen.mine, lately, standing.terms)]
    return "\n".join([_used(standing), *_limits(standing), _open(standing, seen), *_rows(seen, jobs), *small])


def _used(standing: Standing) -> str:
    hour, today = gpu(standing.usage.last_hour_ms), gpu(standing.usage.today_ms)
    return f"**You used** {hour} in the last hour · {today} today"


def _limits(standing: Standing) -> list[str]:
    """The limits there are; what has no limit is not mentioned."""
    terms, lines = standing.terms, list[str]()
    if terms.gpu_seconds_per_day:
        facts = {"left": f"{standing.left_ms / 1000:,.0f}", "limit": f"{terms.gpu_seconds_per_day:,.0f}"}
        lines.append(say("me_day", {**facts, "resets": clock(midnight(standing.now_ms))}))
    if terms.megapixel_seconds:
        lines.append(say("me_clip", {"limit": f"{terms.megapixel_seconds:g}"}))
    return lines


def _open(standing: Standing, seen: View) -> str:
    running = sum(row.runs for row in seen.mine)
    return f"**Your jobs** · {_of(standing.open_jobs, standing.terms.waiting)} open · " + (
        f"{_of(running, standing.terms.running)} running"
    )


def _of(number: int, most: int) -> str:
    """`3`, or `3 of 10` where there is a limit."""
    return f"{number:,} of {most:,}" if most else f"{number:,}"


def _rows(seen: View, jobs: Mapping[str, Job]) -> list[str]:
    rows = [row for row in seen.mine if row.job.id in jobs]
    lines = [row_text(row, jobs[row.job.id], seen, "⏳") for row in rows[:SHOWN]]
    more = len(seen.mine) - len(lines)
    return [*lines, f"-# and {counted(more, 'more job')}: /queue shows them all"] if more > 0 else lines
