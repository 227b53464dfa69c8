"""How far status messages are behind the truth, seen from outside: what people read, held against the records in Redis.

Nothing of the board is asked. Several times a second every message is read as a person would read it and compared with
its job's record, and with the order that the line itself gives (`docs` of the terms: `bot/claims.py`).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from bot.wording import STAGES
from jobs.costs import Costs
from jobs.forecast import look_ahead
from jobs.queue import JobQueue
from jobs.workers import Workers
from tests.discord_server import LocalDiscord

SAMPLE_SECONDS = 0.25
OVER = ("✅", "⚠️", "✖️")
KINDS = ("stage", "place", "time", "over", "bar", "any")
"""`any`: since when a message has not been true in all it says, whatever was false of it in turn."""


@dataclass
class Record:
    """What Redis says of a job."""

    state: str
    stage: str = ""
    step: int = 0
    message: int | None = None


@dataclass
class Lies:
    """Since when each message says each kind of falsehood, and how long that ever lasted."""

    since: dict[tuple[str, str], float] = field(default_factory=dict)
    worst: dict[tuple[str, str], float] = field(default_factory=dict)
    said: dict[tuple[str, str], str] = field(default_factory=dict)

    def note(self, job_id: str, now: float, kinds: set[str], text: str) -> None:
        """What is false of one message at this instant."""
        kinds = kinds | {"any"} if kinds else kinds
        for kind in KINDS:
            key = (job_id, kind)
            if kind not in kinds:
                self.since.pop(key, None)
            else:
                lasted = now - self.since.setdefault(key, now)
                if lasted >= self.worst.get(key, 0.0):
                    self.worst[key], self.said[key] = lasted, text


class Truth:
    """Watches the messages of the crowd's jobs."""

    def __init__(self, queue: JobQueue, server: LocalDiscord, asked: Sequence[str]) -> None:
        self.queue = queue
        self.server = server
        self.asked = asked
        """Grows while it is watched."""
        self.lies = Lies()
        self.samples = 0
        self.slowest_sample = 0.0
        self.most_live = 0
        """The most open jobs that had a message at one instant."""
        self.fewest_live = sys.maxsize
        self._seen_at: dict[tuple[str, str, int], float] = {}

    @contextlib.asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """Look as long as the block lasts."""
        looking = asyncio.create_task(self._look_for_ever())
        try:
            yield
        finally:
            looking.cancel()
            (ending,) = await asyncio.gather(looking, return_exceptions=True)
            assert isinstance(ending, asyncio.CancelledError), ending

    def worst(self, kind: str | None = None) -> float:
        """The longest that any message said something false, in seconds."""
        return max((lasted for (_, each), lasted in self.lies.worst.items() if kind in (None, each)), default=0.0)

    def report(self) -> str:
        """A line for each kind: the worst, and what was said then."""
        lines: list[str] = []
        for kind in KINDS:
            found = {key: lasted for key, lasted in self.lies.worst.items() if key[1] == kind}
            worst = max(found, key=lambda key: found[key], default=None)
            said = repr(self.lies.said[worst]) if worst else ""
            lines.append(f"{kind:6} {self.worst(kind):5.2f} s, {len(found):4} messages  {said}")
        return "\n".join(lines)

    async def _look_for_ever(self) -> None:
        while True:
            begun = time.monotonic()
            await self._look()
            self.samples += 1
            self.slowest_sample = max(self.slowest_sample, time.monotonic() - begun)
            await asyncio.sleep(max(0.0, SAMPLE_SECONDS - (time.monotonic() - begun)))

    async def _look(self) -> None:
        records, ahead = await self._records(), await self._ahead()
        messages = {message.id: message for message in self.server.world.messages()}
        now = time.monotonic()
        live = 0
        for job_id, record in records.items():
            if record.stage:
                self._seen_at[job_id, record.stage, record.step] = now
            if record.message is None:
                continue
            live += record.state != "closed"
            text = messages[record.message].content
            self.lies.note(job_id, now, set(self._lies(job_id, text, record, ahead.get(job_id), now)), text)
        self.most_live, self.fewest_live = max(self.most_live, live), min(self.fewest_live, live)

    async def _records(self) -> dict[str, Record]:
        asked = list(self.asked)
        async with cast(Any, self.queue.redis).pipeline(transaction=False) as pipe:
            for job_id in asked:
                pipe.hmget(f"zoetrope:job:{job_id}", "state", "progress", "status_message")
            rows = await pipe.execute()
        records: dict[str, Record] = {}
        for job_id, (state, progress, message) in zip(asked, rows, strict=True):
            done = json.loads(progress) if progress else {}
            stage, step = done.get("stage", ""), done.get("step", 0)
            records[job_id] = Record(state.decode(), stage, step, int(message) if message else None)
        return records

    async def _ahead(self) -> dict[str, int]:
        """How many waiting jobs start before each waiting job."""
        redis = self.queue.redis
        line, adverts, pace = await self.queue.line(), await Workers(redis).online(), await Costs(redis).pace()
        forecast = look_ahead(line, adverts, pace, round(time.time() * 1000))
        return {job.id: forecast.places[job.id].ahead for job in line.waiting}

    def _lies(self, job_id: str, text: str, record: Record, ahead: int | None, now: float) -> Iterator[str]:
        """What kinds of falsehood a message holds."""
        first, _, rest = text.partition("\n")
        if first.startswith(OVER):
            return
        if record.state not in ("waiting", "running"):
            if record.state == "closed" or not first.startswith("📮"):
                yield "over"
            return
        if first.startswith("⏳") != (record.state == "waiting") or (
            record.state == "running" and record.stage and f": {STAGES[record.stage]}" not in first
        ):
            yield "stage"
        if ahead is not None and _miscounts(first, ahead):
            yield "place"
        if (promised := re.search(r"ready <t:(\d+):R>", first)) and time.time() > int(promised[1]):
            yield "time"
        shown = re.search(r"(\d+)/\d+$", rest)
        if shown and now - self._seen_at.get((job_id, record.stage, int(shown[1])), now) > SAMPLE_SECONDS * 2:
            yield "bar"


def _miscounts(first: str, ahead: int) -> bool:
    if "next in line" in first:
        return ahead > 0
    if bound := re.search(r"fewer than (\d+) ahead", first):
        return ahead >= int(bound[1])
    exact = re.search(r"(\d+) ahead", first)
    return exact is not None and ahead != int(exact[1])
