"""The status messages: one for each open job, kept true to its record with as few edits as will do.

What a message says, and when that counts as behind the truth, is the matter of `bot.claims`; how often Discord may be
asked, that of `bot.pace`. The board hears of changes, reads what changed, asks for the forecast once for each look, and
then gives every channel's next edits to the messages that need them most: ends first, then what is false, then what
could say more. An edit is worded when it starts, so whatever changed while it waited is said together.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING, NamedTuple, Protocol

import discord
from pydantic import ValidationError

from bot import wording
from bot.cards import SENDING_SECONDS, Card
from bot.claims import CROWD, Claim, Lag, Phase, claim, lag
from bot.pace import Pace, Urgency
from bot.painting import UNREACHED, Painter
from jobs import logs
from jobs.errors import Refusal
from jobs.previews import Previews
from jobs.queue import REDIS_AWAY, JobQueue, NoSuchJob
from jobs.record import Job, State

if TYPE_CHECKING:
    from jobs.forecast import Expected, Forecast

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.4
"""Between two looks at everything, unless something ends; longer where there are thousands of jobs."""
LOOKED_AT = 1000
COMPARE_SECONDS = 5.0
"""Pub/sub may lose a word: so often the whole line is held against what is known of it."""
READ_AT_ONCE = 40
"""Records read side by side."""
OPEN_SECONDS = 1.5
"""So long somebody who asked waits for the status message to be there; it is posted in any case."""
REMEMBER_SECONDS = 15.0
REQUEST_SECONDS = 40.0
"""discord.py tries for 25 s by itself; what takes longer hangs."""
SOON_MS = 60_000
END_TRIES = 3
ENDED = Claim(Phase.SENDING)
"""What is known of a job whose end came before its message was looked at."""


class Foresight(Protocol):
    """Who knows when jobs start and end."""

    async def get(self, wanted: Collection[str] = ()) -> Forecast:
        """The newest forecast, cheap to ask for again; `wanted`: jobs for which a newer one is made, if it can be."""
        ...


class Wish(NamedTuple):
    """A message that should be posted or edited, in the order in which wishes are granted."""

    urgency: Urgency
    due: float
    starts_ms: float
    """Among equals: whose job starts first."""
    job_id: str


class Board:
    """Opens, refreshes and settles status messages. `previews` None: none are shown."""

    def __init__(
        self, client: discord.Client, queue: JobQueue, foresight: Foresight, previews: Previews | None
    ) -> None:
        self.queue = queue
        self.foresight = foresight
        self.pace = Pace()
        self.painter = Painter(client, queue, previews)
        self._cards: dict[str, Card] = {}
        self._claims: dict[str, Claim] = {}
        self._dirty: set[str] = set()
        self._hurry = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._remembers = False
        self._begun_ms = time.time() * 1000

    async def open(self, job: Job, seconds: float = OPEN_SECONDS) -> str | None:
        """See that the job gets its status message.

        Returns its id, or None where it could not be posted within `seconds`; the job goes on without.
        """
        card = self._card(job)
        card.reads(job)
        self._hurry.set()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(card.opened.wait(), seconds)
        return card.job.status_message

    async def settle(self, job_id: str, link: str | None) -> bool:
        """The last edit: one line, no buttons. True when it is done, False if given up; not to wait stops nothing."""
        card = await self._last_words(job_id, link)
        await card.settled.wait()
        return card.done or (card.job.status_message is None and not card.unheard)

    def _card(self, job: Job) -> Card:
        """What is kept of a job's message. An earlier life of the bot may have posted one and died before it heard."""
        unheard = job.status_message is None and job.submission.accepted_ms < self._begun_ms
        return self._cards.setdefault(job.id, Card(job, unheard=unheard))

    async def _last_words(self, job_id: str, link: str | None) -> Card:
        job = await self.queue.job(job_id)
        card = self._card(job)
        card.reads(job)
        card.end, card.tries = wording.settled(job, link), 0
        self._hurry.set()
        return card

    async def listen(self) -> None:
        """Hear of changes for ever; the client starts it again when Redis was away."""
        while True:
            self._dirty.update(await self.queue.open_jobs())
            async for job_id in self.queue.changes():
                self._dirty.add(job_id)

    async def sweep(self) -> None:
        """Look at everything and start what is due, for ever."""
        compared = float("-inf")
        while True:
            if time.monotonic() - compared > COMPARE_SECONDS:
                compared = time.monotonic()
                await self._compare()
            await self._read_changed()
            if not self._remembers:
                await self._remember()
            new = [job_id for job_id, card in self._cards.items() if card.new]
            self._start_due((await self.foresight.get(new)).places)
            await self._pause()

    async def _pause(self) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._hurry.wait(), LOOK_SECONDS * max(1.0, len(self._cards) / LOOKED_AT))
        self._hurry.clear()

    # --- what is so ---

    async def _compare(self) -> None:
        """Find jobs that changed unheard: who waits or runs in the line and not here, or here and not in the line."""
        line = await self.queue.line()
        states = {job.id: State.WAITING for job in line.waiting} | {job.id: State.RUNNING for job in line.running}
        known = {job_id: card.job.state for job_id, card in self._cards.items()}
        self._dirty.update(job_id for job_id, state in states.items() if known.get(job_id) is not state)
        self._dirty.update(job_id for job_id in known if job_id not in states)
        self.pace.forget_idle()
        for job_id in await self.queue.owed_last_edits():
            if job_id not in self._cards:
                await self._make_good(job_id)

    async def _make_good(self, job_id: str) -> None:
        """A job that was closed while its message could not be edited, or whose bot died before it was."""
        try:
            card = await self._last_words(job_id, None)
            card.unheard = card.job.status_message is None
        except NoSuchJob:
            await self.queue.paid_last_edit(job_id)

    async def _read_changed(self) -> None:
        """The records of jobs that changed; those that cannot be read now stay marked."""
        while batch := sorted(self._dirty)[:READ_AT_ONCE]:
            self._dirty.difference_update(batch)  # first: what changes from now on is read again
            try:
                await asyncio.gather(*map(self._read, batch))
            except BaseException:
                self._dirty.update(batch)
                raise

    async def _read(self, job_id: str) -> None:
        try:
            job = await self.queue.job(job_id)
        except NoSuchJob:
            self._drop(job_id)
            return
        except (ValidationError, Refusal):  # of another version, with other rules; all other messages go on
            log.exception("the record of %s cannot be read", job_id)
            self._drop(job_id)
            return
        if job.state is not State.CLOSED or job_id in self._cards:
            self._card(job).reads(job)

    async def _remember(self) -> None:
        """After a restart: read what the messages say. Those that are not found are taken for stale."""
        by_channel: dict[str, list[Card]] = {}
        for card in self._cards.values():
            if card.job.status_message or card.job.submission.accepted_ms < self._begun_ms:
                by_channel.setdefault(card.channel, []).append(card)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(REMEMBER_SECONDS):
                await asyncio.gather(*map(self.painter.remember, by_channel.values()))
        self._remembers = True

    # --- what should be said ---

    def _start_due(self, places: Mapping[str, Expected]) -> None:
        """Grant as many wishes as the pace allows, the most urgent first."""
        cards = list(self._cards.values())
        crowds = Counter(card.channel for card in cards)
        ending = {card.channel for card in cards if card.job.state.ended}
        wishes = [
            wish
            for card in cards
            if (wish := self._wish(card, places.get(card.job.id), crowded=crowds[card.channel] > CROWD))
        ]
        for wish in sorted(wishes):
            card = self._cards[wish.job_id]
            if card.job.status_message is None and card.end is None:
                self._post(card, leaves=3 if card.channel in ending else 1)
            else:
                self._edit(card, wish.urgency)

    def _wish(self, card: Card, expected: Expected | None, *, crowded: bool) -> Wish | None:
        """What should become of a message now; None where nothing need, or may."""
        now = time.monotonic()
        if card.busy:
            return None
        if card.end is not None or card.job.state is State.CLOSED:
            return self._last_wish(card, now)
        if card.lost or now < card.not_before or now < card.ended_at + SENDING_SECONDS < float("inf"):
            return None
        true = self._claims[card.job.id] = claim(card.job, expected, time.time(), crowded=crowded)
        if card.job.status_message is None:
            early = expected is None and card.new
            return None if early or card.job.state.ended else Wish(Urgency.MUST, card.since, 0, card.job.id)
        starts_ms = expected.starts_ms if expected and expected.starts_ms else float("inf")
        return _edit_wish(card, lag(card.said, true, time.time(), crowded=crowded), now, starts_ms)

    def _last_wish(self, card: Card, now: float) -> Wish | None:
        """To be settled; what has been, what has no message, or is out of reach, is let go."""
        nothing = card.job.status_message is None and not card.unheard
        if card.end is None or card.done or nothing or card.tries >= END_TRIES:
            self._drop(card.job.id)
            return None
        return None if now < card.not_before else Wish(Urgency.END, card.ended_at, 0, card.job.id)

    def _drop(self, job_id: str) -> None:
        self._claims.pop(job_id, None)
        if card := self._cards.pop(job_id, None):
            card.closes()

    # --- saying it ---

    def _post(self, card: Card, leaves: int) -> None:
        if self.pace.may_post(card.channel, leaves=leaves):
            self._start(card, self.painter.post, self.pace.post(card.channel))

    def _edit(self, card: Card, urgency: Urgency) -> None:
        if self.pace.may_edit(card.channel, urgency, old=card.old):
            doing = self.painter.edit if card.end is None else self.painter.settle
            self._start(card, doing, self.pace.edit(card.channel, old=card.old))

    def _start(self, card: Card, doing: Callable[[Card, Claim], Awaitable[None]], turn: ExitStack) -> None:
        """One request about a message; there is never a second beside it."""
        said = self._claims.get(card.job.id, ENDED)

        async def started() -> None:
            logs.job_id.set(card.job.id)
            with turn:
                try:
                    async with asyncio.timeout(REQUEST_SECONDS):
                        await doing(card, said)
                except (*REDIS_AWAY, *UNREACHED, NoSuchJob) as error:
                    log.info("status message put off: %s: %s", type(error).__name__, error)
                    card.fails()
                except Exception:
                    log.exception("status message not refreshed")
                    card.fails()
                finally:
                    card.busy = False
                    if card.end is not None:
                        self._hurry.set()

        card.busy = True
        task = asyncio.create_task(started())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _edit_wish(card: Card, why: Lag | None, now: float, starts_ms: float) -> Wish | None:
    """Whether the message should be brought up to date, and how urgently."""
    if why is None:
        card.due.clear()
        return None
    due = min(card.due.get(why.urgency, float("inf")), now + why.patience_seconds)
    card.due = {why.urgency: due}
    if now < card.edited_at + why.gap_seconds:
        return None
    stuck = why.presses and now >= due
    soon_wrong = why is Lag.UNKNOWN and starts_ms < time.time() * 1000 + SOON_MS
    return Wish(Urgency.MUST if stuck or soon_wrong else why.urgency, due, starts_ms, card.job.id)
