"""From what somebody asked to an accepted job: check, fetch, store, and only then enqueue."""

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import discord

from bot.amounts import lasting
from bot.download import Downloads
from bot.gate import Asked, Gate, Leave
from bot.sources import Bringer, Sources
from jobs.costs import Costs
from jobs.errors import Note, Refusal
from jobs.motions import Motion, Motions
from jobs.queue import JobQueue, TooManyJobs
from jobs.recipe import Output, Recipe, Source
from jobs.record import Job, Submission
from jobs.requests import GENERATIONS, Brief, Generation, Request
from jobs.requests.base import source_kinds
from jobs.requests.diffusion import Diffusion
from jobs.requests.learnmotion import LearnMotionRequest
from jobs.retention import Retention
from jobs.settings import LimitSettings
from media.store import MediaStore

SAID_BY_GATE = frozenset({"results_unreachable", "no_worker_online"})
"""Notes of a `Leave`, which become untrue as settings and machines change."""


class MotionModule(Refusal):
    """A learned motion with another motion module than it was learned for."""

    code = "motion_module"


class WouldTakeTooLong(Refusal):
    """By all that is known, the render would be stopped before its end."""

    code = "would_take_too_long"


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
        self.motions = Motions(queue.redis)
        self.most_seconds = limits.render_seconds
        self.sources = Sources(store, Retention(queue.redis), downloads, limits)

    async def choose(self, brief: Brief, system: str | None, asked: Asked) -> Choice:
        """The system's request for a brief: the one that was named, or the best that is installed and allowed there.

        Raises:
            Refusal: there is none, or the brief does not fit.
        """
        kind = GENERATIONS[system] if system else await self.gate.best_system(asked, brief)
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
        steps, motions = await self._with_motions(asked, steps)
        steps = await self.gate.settled(steps)
        leave = await self._admit(asked, steps)
        kinds = source_kinds(steps)
        for name, attachment in attachments.items():
            self.sources.check_declared(kinds[name], attachment)
        bringer = Bringer(asked.id, asked.requester.id)
        fetched = {name: await self.sources.fetch(bringer, kinds[name], each) for name, each in attachments.items()}
        sources = {name: source for name, (source, _) in fetched.items()}
        sources |= await self._motions(bringer, motions)
        said = (*said, *(note for _, notes in fetched.values() for note in notes))
        recipe = Recipe(sources=sources, steps=tuple(steps), output=leave.output(output))  # type: ignore[arg-type]
        return await self._submission(asked, recipe, said, leave)

    async def prepare_again(self, asked: Asked, recipe: Recipe) -> Submission:
        """A recipe whose sources are in the store already, for whoever asks now.

        Raises:
            Refusal: its sources are gone, or a system is.
        """
        there = {name for name, source in recipe.sources.items() if source.kind == "motion"}
        steps, motions = await self._with_motions(asked, recipe.steps, there)
        steps = await self.gate.settled(steps)
        leave = await self._admit(asked, steps)
        bringer = Bringer(asked.id, asked.requester.id)
        left = there - source_kinds(steps).keys()
        sources = {name: source for name, source in recipe.sources.items() if name not in left}
        sources |= await self._motions(bringer, motions)
        recipe = recipe.model_copy(update={"sources": sources, "steps": steps})
        await self.sources.check(bringer, recipe)
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

    async def _with_motions(
        self, asked: Asked, steps: Sequence[Request], there: Collection[str] = ()
    ) -> tuple[tuple[Request, ...], dict[str, Motion]]:
        """The steps, each for the module of the motion that it names, and these motions by name.

        Motions that are `there` already are a recipe's own: they stay, whatever became of their names.

        Raises:
            NoSuchMotion, MotionModule: one is none that the asker may use here, or does not fit.
            TooManyMotions: one more would be learned than a person may have.
        """
        found: dict[str, Motion] = {}
        changed: list[Request] = []
        for step in steps:
            if isinstance(step, LearnMotionRequest):
                await self.motions.check_room(asked.requester.id, step.save_as)
            if isinstance(step, Diffusion) and step.motion is not None and step.motion not in there:
                motion = await self.motions.find(step.motion, asked.requester.id, asked.channel.guild_id)
                found[motion.name] = motion
                changed.append(_for_motion(step, motion))
            else:
                changed.append(step)
        return tuple(changed), found

    async def _motions(self, bringer: Bringer, motions: Mapping[str, Motion]) -> dict[str, Source]:
        return {name: await self.sources.motion(bringer, motion) for name, motion in motions.items()}

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
        if estimate.least_ms > self.most_seconds * 1000:
            raise WouldTakeTooLong(cost=lasting(estimate.gpu_ms), most=lasting(self.most_seconds * 1000))
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


def _for_motion(step: Diffusion, motion: Motion) -> Diffusion:
    """The step with the motion as it is spelled, and its module.

    Raises:
        MotionModule: another was chosen.
    """
    if step.module not in (None, motion.module):
        raise MotionModule(name=motion.name, learned=motion.module, module=step.module or "")
    return step.model_copy(update={"motion": motion.name, "module": motion.module})
