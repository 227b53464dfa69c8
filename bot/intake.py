"""From what somebody asked to an accepted job: check, fetch, store, and only then enqueue."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import discord

from bot.download import Downloads
from bot.gate import Asked, Gate, Leave
from bot.sources import Bringer, Sources
from jobs.costs import Costs
from jobs.errors import Note
from jobs.queue import JobQueue, TooManyJobs
from jobs.recipe import Output, Recipe
from jobs.record import Job, Submission
from jobs.requests import GENERATIONS, Brief, Generation, Request
from jobs.requests.base import source_kinds
from jobs.retention import Retention
from jobs.settings import LimitSettings
from media.store import MediaStore

SAID_BY_GATE = frozenset({"results_unreachable", "no_worker_online"})
"""Notes of a `Leave`, which become untrue as settings and machines change."""


@dataclass(frozen=True)
class Choice:
    """The system that the front door chose, and what to say about it."""

    request: Generation
    said: tuple[Note, ...] = ()


class Intake:
    """The bot's door: every way of asking ends here."""

    def __init__(
        self, queue: JobQueue, store: MediaStore, gate: Gate, costs: Costs, downloads: Downloads, limits: LimitSettings
    ) -> None:
        self.queue = queue
        self.gate = gate
        self.costs = costs
        self.sources = Sources(store, Retention(queue.redis), downloads, limits)

    async def choose(self, brief: Brief, system: str | None, asked: Asked) -> Choice:
        """The system's request for a brief: the one that was named, or the best that is installed and allowed there.

        Raises:
            Refusal: there is none, or the brief does not fit.
        """
        kind = GENERATIONS[system] if system else await self.gate.best_system(asked)
        said = () if system else (Note(code="chosen_for_you", facts={"system": kind.name()}),)
        if brief.prompt and not kind.reads_prompt:
            said = (*said, Note(code="prompt_unread", facts={"system": kind.name()}))
        return Choice(kind.from_brief(brief), said)

    async def prepare(
        self,
        asked: Asked,
        steps: Sequence[Request],
        attachments: Mapping[str, discord.Attachment],
        output: Output,
        said: Sequence[Note] = (),
    ) -> Submission:
        """Everything but the line: checked, fetched and stored, so that it can be enqueued now or after a question.

        `attachments` are the sources by the names under which the steps know them.

        Raises:
            Refusal: something is in the way.
        """
        leave = await self._admit(asked, steps)
        kinds = source_kinds(steps)
        for name, attachment in attachments.items():
            self.sources.check_declared(kinds[name], attachment)
        bringer = Bringer(asked.id, asked.requester.id)
        fetched = {name: await self.sources.fetch(bringer, kinds[name], each) for name, each in attachments.items()}
        sources = {name: source for name, (source, _) in fetched.items()}
        said = (*said, *(note for _, notes in fetched.values() for note in notes))
        recipe = Recipe(sources=sources, steps=tuple(steps), output=leave.output(output))  # type: ignore[arg-type]
        return await self._submission(asked, recipe, said, leave)

    async def prepare_again(self, asked: Asked, recipe: Recipe) -> Submission:
        """A recipe whose sources are in the store already, for whoever asks now.

        Raises:
            Refusal: its sources are gone, or a system is.
        """
        leave = await self._admit(asked, recipe.steps)
        await self.sources.check(Bringer(asked.id, asked.requester.id), recipe)
        return await self._submission(asked, recipe, (), leave)

    async def enqueue(self, submission: Submission, asked: Asked | None = None) -> Job:
        """Put what was prepared into the line. Doing it twice is doing it once.

        `asked`: who confirms it some time later; what is set there and their roles may be others by now.

        Raises:
            Refusal: meanwhile a limit was reached, its sources are gone, or it is not allowed any more.
        """
        if asked is None:
            await self.gate.check_open(submission)
        else:
            submission = await self._on_present_terms(submission, asked)
        await self.sources.check(Bringer(submission.id, submission.requester.id), submission.recipe)
        submission = submission.model_copy(update={"accepted_ms": round(time.time() * 1000)})
        return await self.queue.enqueue(submission)

    async def _on_present_terms(self, submission: Submission, asked: Asked) -> Submission:
        """The same, on the terms that hold now; what the gate said of it before is said anew."""
        leave = await self.gate.admit(asked, *submission.recipe.steps)
        leave.check_clip(submission.recipe)
        said = (*(note for note in submission.said if note.code not in SAID_BY_GATE), *leave.said)
        terms = {"terms": leave.terms, "results": leave.results, "spoiler": leave.spoiler, "said": said}
        return submission.model_copy(update=terms)

    async def _admit(self, asked: Asked, steps: Sequence[Request]) -> Leave:
        """Whether the job could be accepted, before anything is fetched."""
        leave = await self.gate.admit(asked, *steps)
        most = leave.terms.waiting
        if most and await self.queue.open_jobs_of(asked.requester.id) >= most:
            raise TooManyJobs(most=most)
        return leave

    async def _submission(self, asked: Asked, recipe: Recipe, said: Sequence[Note], leave: Leave) -> Submission:
        leave.check_clip(recipe)
        estimate = await self.costs.estimate(recipe)
        return Submission(
            id=asked.id,
            recipe=recipe,
            requester=asked.requester,
            channel=asked.channel,
            reply_to=asked.reply_to,
            said=(*said, *leave.said),
            accepted_ms=round(time.time() * 1000),
            estimate_ms=max(1, estimate.gpu_ms),
            terms=leave.terms,
            results=leave.results,
            spoiler=leave.spoiler,
        )
