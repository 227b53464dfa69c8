"""The line as one person may see it, and in words: plain functions over values, without Discord and without Redis.

Jobs of other servers (in a direct message: of other people) are counted, never shown.
"""

from __future__ import annotations

import re
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import discord

from bot.amounts import clock, counted, gpu, lasting
from bot.asked import TURNS
from bot.wording import STAGES, bar
from jobs.line import Line, Running, Waiting
from jobs.policy import holding_scopes
from jobs.record import Job, State
from jobs.terms import Terms
from jobs.texts import say

if TYPE_CHECKING:
    from jobs.forecast import Expected

ROWS = 10
"""Jobs on one page: with the links of one's own jobs they fit Discord's 2000 characters."""
CELLS = 8
NAME = 24
"""Characters of a name."""


@dataclass(frozen=True)
class Row:
    """A job in the line, and what is expected of it."""

    job: Waiting | Running
    expected: Expected | None
    held: bool = False
    """Its channel, its server or everything is paused."""

    @property
    def runs(self) -> bool:
        """Whether a worker has it."""
        return isinstance(self.job, Running)

    @property
    def turn(self) -> tuple[int, float, int]:
        """What the rows are ordered by: what runs, what has a time to start, what is held or cannot be run."""
        if isinstance(self.job, Running):
            return 0, self.job.started_ms, 0
        timed = self.expected is not None and not self.reason
        return 1 if timed else 2, self.expected.starts_ms if self.expected and timed else 0, self.job.seq

    @property
    def reason(self) -> str:
        """Why nobody can say when it starts; empty where somebody can."""
        return "paused" if self.held else self.expected.reason if self.expected else ""


@dataclass(frozen=True)
class View:
    """What one person sees of the line from one place."""

    person: str
    guild: str | None
    """None: in a direct message, where one sees one's own jobs of all servers."""
    rows: tuple[Row, ...]
    hidden: tuple[Row, ...]
    """What is only counted."""
    at_ms: int

    @property
    def mine(self) -> tuple[Row, ...]:
        """One's own rows."""
        return tuple(row for row in self.rows if row.job.person == self.person)

    @property
    def pages(self) -> int:
        """At least one."""
        return max(1, -(-len(self.rows) // ROWS))

    def page(self, number: int) -> tuple[Row, ...]:
        """The rows of a page, counted from 0. Of a line that became shorter, it is the last page."""
        start = ROWS * min(max(number, 0), self.pages - 1)
        return self.rows[start : start + ROWS]


def view(line: Line, places: Mapping[str, Expected], paused: Container[str], guild: str | None, person: str) -> View:
    """Who sees what: everybody their server's jobs, in a direct message their own. `paused`: scopes."""

    def row(job: Waiting | Running) -> Row:
        waits = isinstance(job, Waiting)
        scopes = holding_scopes(job.guild, job.channel, job.parent) if waits else set[str]()
        held = waits and (job.held or any(scope in paused for scope in scopes))
        return Row(job, places.get(job.id), held)

    seen: list[Row] = []
    hidden: list[Row] = []
    for each in sorted(map(row, (*line.running, *line.waiting)), key=lambda row: row.turn):
        shown = each.job.person == person if guild is None else each.job.guild == guild
        (seen if shown else hidden).append(each)
    return View(person, guild, tuple(seen), tuple(hidden), line.at_ms)


@dataclass(frozen=True)
class Spent:
    """What somebody had of the GPU in the last hour, beside the others of the same server. GPU milliseconds."""

    mine_ms: float
    average_ms: float | None = None
    """Of all who had any, or are in line now; None where there is nobody else."""


def spent(seen: View, used: Mapping[str, int]) -> Spent:
    """From what everybody of the server used, by person."""
    people = {*used, *(row.job.person for row in seen.rows), seen.person}
    alone = seen.guild is None or len(people) == 1
    return Spent(used.get(seen.person, 0), None if alone else sum(used.values()) / len(people))


# --- in words ---


def plain(name: str) -> str:
    """A stored name as it was typed: names are kept ready for a message, with `\\_` for `_`. It turns no text."""
    return " ".join(re.sub(r"\\([_~|*`\\\[>#-])", r"\1", TURNS.sub("", name)).split())


def short(name: str) -> str:
    """A name that fits a row, and neither formats nor pings."""
    typed = plain(name)
    typed = typed if len(typed) <= NAME else typed[: NAME - 1].rstrip() + "…"
    return discord.utils.escape_markdown(discord.utils.escape_mentions(typed))


def page(seen: View, number: int, jobs: Mapping[str, Job], lately: Spent, terms: Terms) -> str:
    """One page of `/queue`: the rows, what other servers have in the same line, and why one is where one is."""
    small = [f"-# {sentence}" for sentence in (*_hidden(seen), *why(seen.mine, lately, terms))]
    return "\n".join([_head(seen), *_rows(seen, number, jobs), *small])


def _head(seen: View) -> str:
    running = sum(row.runs for row in seen.rows)
    if not seen.rows:
        return f"**{say('line_empty_here') if seen.guild else say('line_empty_mine')}**"
    title = "In line here" if seen.guild else "Your jobs"
    return f"**{title}** · {running:,} running · {len(seen.rows) - running:,} waiting"


def _rows(seen: View, number: int, jobs: Mapping[str, Job]) -> list[str]:
    waiting = [row.job.id for row in seen.rows if not row.runs]
    place = {job_id: index for index, job_id in enumerate(waiting, 1)}
    rows = [row for row in seen.page(number) if row.job.id in jobs]
    width = max((len(str(place.get(row.job.id, 0))) for row in rows), default=1)
    return [row_text(row, jobs[row.job.id], seen, f"`{place.get(row.job.id, 0):>{width}}`") for row in rows]


def row_text(row: Row, job: Job, seen: View, place: str) -> str:
    """One row; `place` is what stands before a job that waits."""
    name = job.submission.recipe.title
    mine = row.job.person == seen.person
    title = f"{name} · {'you' if mine else short(job.submission.requester.name)}"
    title = _linked(f"**{title}**" if seen.guild else f"**{name}**", job) if mine else title
    return f"🎞️ {title} · {running(job, row.expected)}" if row.runs else f"{place} {title} · {waiting(row)}"


def _linked(title: str, job: Job) -> str:
    """One's own job leads to its status message. Others' may stand in channels that one does not see."""
    channel = job.submission.channel
    address = f"https://discord.com/channels/{channel.guild_id or '@me'}/{channel.id}/{job.status_message}"
    return f"[{title}]({address})" if job.status_message else title


def running(job: Job, expected: Expected | None) -> str:
    """How far a running job is."""
    if job.cancel_by:
        return "stopping…"
    progress = job.progress
    if progress is None:
        return "starting…"
    done = f" · done {clock(expected.ends_ms)}" if expected and not expected.reason else ""
    if progress.total <= 1:
        return f"{STAGES.get(progress.stage, progress.stage)}{done}"
    return f"`{bar(progress.step, progress.total, CELLS)}` {progress.step}/{progress.total}{done}"


def waiting(row: Row) -> str:
    """When a waiting job starts, or why nobody knows."""
    if row.reason:
        return "⏸️ paused" if row.reason == "paused" else "🔌 no machine for it is online"
    return f"starts {clock(row.expected.starts_ms)}" if row.expected else "waiting"


def _hidden(seen: View) -> tuple[str, ...]:
    """What else is in the line: how many jobs and how long, and nothing more."""
    turns = [row.turn for row in seen.mine if not row.runs]
    before = [row for row in seen.hidden if turns and row.turn < min(turns)]
    counts = before or seen.hidden
    if not counts:
        return ()
    whose = "other servers" if seen.guild else "other people"
    facts = {"jobs": counted(len(counts), "job"), "whose": whose, "time": lasting(_left_ms(counts, seen.at_ms))}
    return (say("line_hidden_before", facts) if before else say("line_hidden", facts),)


def _left_ms(rows: Sequence[Row], at_ms: int) -> float:
    """GPU milliseconds that are still to be spent on these."""
    return sum(
        max(0, row.job.cost_ms - (at_ms - row.job.started_ms if isinstance(row.job, Running) else 0)) for row in rows
    )


def why(mine: Sequence[Row], lately: Spent, terms: Terms) -> list[str]:
    """Why one's jobs stand where they stand: what holds the first of them, then what was used, then the weight."""
    held = [row for row in mine if not row.runs]
    if not held and not lately.mine_ms:
        return []
    sentences: list[str] = []
    if held and held[0].reason:
        sentences.append(say("why_paused") if held[0].reason == "paused" else say("why_no_worker"))
    if held and 0 < terms.running <= sum(row.runs for row in mine):
        sentences.append(say("why_running_limit", {"jobs": counted(terms.running, "job")}))
    sentences.append(_spent(lately))
    if terms.weight != 1:
        sentences.append(say("why_weight", {"weight": f"{terms.weight:g}"}))
    return sentences


def _spent(lately: Spent) -> str:
    used = gpu(lately.mine_ms)
    average_ms = lately.average_ms or 0.0
    average = f"{average_ms / 1000:,.0f}"
    if average == "0":  # nobody else is there, or nobody used anything worth a word
        return say("why_used_alone", {"used": used})
    facts = {"used": used, "average": average}
    if lately.mine_ms > average_ms:
        return say("why_used_more", facts)
    return say("why_used_less", facts)


def choice_text(job: Job, person: str, now_ms: float) -> str:
    """A job among the choices of `/cancel`, which show plain text: what, whose, how far, how old."""
    name = job.submission.recipe.title
    whose = "you" if job.submission.requester.id == person else plain(job.submission.requester.name)[:NAME]
    age = lasting(max(0.0, now_ms - job.submission.accepted_ms))
    return f"{name} · {whose} · {_stage(job)} · {age} ago"


def _stage(job: Job) -> str:
    if job.state is State.WAITING:
        return "waiting"
    if job.cancel_by:
        return "stopping"
    progress = job.progress
    return f"{progress.step}/{progress.total}" if progress and progress.total > 1 else "running"
