"""What the board keeps of one status message. None of it has to survive a restart."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field

import discord

from bot.claims import Claim
from bot.pace import OLD_SECONDS, Urgency
from jobs.record import Job

SENDING_SECONDS = 3.0
"""A clip is usually posted within this: until then "on its way" is not worth an edit of its own."""
FORECAST_SECONDS = 1.0
"""So long a new job's message waits for a forecast that knows the job."""
LONGEST_PAUSE_SECONDS = 60.0


@dataclass(eq=False)
class Card:
    """One job's status message. Instants are those of `time.monotonic`."""

    job: Job
    """As last read."""
    said: Claim | None = None
    """What the message says; None: nobody knows."""
    pictured: bool = True
    """A preview may hang on it."""
    preview: str = ""
    """Which one."""
    previewed_at: float = float("-inf")
    takes_files: bool = True
    edited_at: float = float("-inf")
    since: float = field(default_factory=time.monotonic)
    ended_at: float = float("inf")
    due: dict[Urgency, float] = field(default_factory=dict[Urgency, float])
    """When what is to be said should be said at the latest."""
    end: str | None = None
    """The last words, once somebody knows them."""
    done: bool = False
    """They were said, or can never be."""
    busy: bool = False
    """A request about it is under way."""
    lost: bool = False
    """The message or its channel is out of reach: no use in trying again."""
    unheard: bool = False
    """It may have been posted without our hearing of it: Discord's answer was lost, or the bot that asked has died."""
    tries: int = 0
    """Requests that failed in a row."""
    not_before: float = float("-inf")
    opened: asyncio.Event = field(default_factory=asyncio.Event)
    settled: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def channel(self) -> str:
        """Where it stands: what the pace is kept for."""
        return self.job.submission.channel.id

    @property
    def new(self) -> bool:
        """Whether it may still wait for a forecast before it is posted."""
        waits = self.job.status_message is None and not self.job.state.ended
        return waits and time.monotonic() < self.since + FORECAST_SECONDS

    @property
    def old(self) -> bool:
        """Whether Discord lets it be edited only now and then."""
        if self.job.status_message is None:
            return False
        written = discord.utils.snowflake_time(int(self.job.status_message)).timestamp()
        return time.time() - written > OLD_SECONDS

    def reads(self, job: Job) -> None:
        """The record changed."""
        self.job = job
        if job.state.ended:
            self.ended_at = min(self.ended_at, time.monotonic())
        if job.status_message:
            self.opened.set()

    def says(self, said: Claim) -> None:
        """The message was brought up to date."""
        self.said, self.edited_at, self.tries = said, time.monotonic(), 0
        self.due.clear()

    def fails(self, *, for_ever: bool = False) -> None:
        """It was not, or nobody knows; after a while it may be tried again."""
        self.said, self.edited_at = None, time.monotonic()
        self.tries += 1
        self.not_before = self.edited_at + min(2.0**self.tries, LONGEST_PAUSE_SECONDS)
        self.lost = self.lost or for_ever
        if self.lost:
            self.opened.set()

    def closes(self) -> None:
        """Nobody looks at it again."""
        self.opened.set()
        self.settled.set()
