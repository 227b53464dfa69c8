"""The question before much is queued: what it costs, when it would start, and two buttons that outlive a restart.

What was prepared waits in Redis for a quarter of an hour; nothing is queued, and no place held, until it is confirmed.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Self
from weakref import WeakValueDictionary

import discord
from arq.connections import ArqRedis

from bot.amounts import lasting
from bot.asked import asked_by
from bot.buttons import JOB, LastingButton, lasting_view
from bot.forms import RemixForm
from jobs.errors import Note, Refusal
from jobs.queue import REDIS_AWAY, NoSuchJob, NotYours
from jobs.recipe import Value
from jobs.record import Submission
from jobs.retention import Retention
from jobs.texts import say, word

if TYPE_CHECKING:
    from bot.client import Zoetrope
    from bot.gate import Asked
    from jobs.forecast import Expected

log = logging.getLogger(__name__)

KEPT_SECONDS = 15 * 60
"""As long as Discord lets the answer be edited that holds the question."""
SOON_MS = 15_000
"""A start within this is "at once"."""
Look = Callable[[Submission], Awaitable["Expected"]]
"""What is to be expected of a job that would be enqueued now."""


class QuestionGone(Refusal):
    """The question was answered, or is too old."""

    code = "question_gone"


class Prepared(Value):
    """What somebody asked for and has not confirmed."""

    submissions: tuple[Submission, ...]
    said: str = ""
    """What came of it, once it was confirmed: whoever presses again reads it again."""

    @property
    def id(self) -> str:
        """The first job's."""
        return self.submissions[0].id

    @property
    def asker(self) -> str:
        """Who alone may answer."""
        return self.submissions[0].requester.id

    @property
    def ahead(self) -> str:
        """What should be looked at before it is queued; empty where there is nothing."""
        recipes = [submission.recipe for submission in self.submissions]
        looked = (step.ahead(view) for each in recipes for step, view in zip(each.steps, each.views(), strict=True))
        return "\n".join(filter(None, looked))

    @property
    def estimate_ms(self) -> int:
        """GPU milliseconds of all of it."""
        return sum(submission.estimate_ms for submission in self.submissions)


class Confirm:
    """Queues at once what is cheap, and asks before what is not."""

    def __init__(self, redis: ArqRedis, above_gpu_seconds: float, look: Look) -> None:
        self.redis = redis
        self.above_ms = above_gpu_seconds * 1000
        self.look = look
        self.retention = Retention(redis)
        self._answering: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        """Two answers to one question wait for each other."""

    def high(self, prepared: Prepared) -> bool:
        """Whether it takes so long that it should be said before; 0 as the limit means never."""
        return 0 < self.above_ms <= prepared.estimate_ms

    def noted(self, submission: Submission) -> Submission:
        """For who cannot be asked in private: what it costs stands in the status message."""
        if not self.high(Prepared(submissions=(submission,))):
            return submission
        note = Note("takes_long", {"cost": lasting(submission.estimate_ms)})
        return submission.model_copy(update={"said": (*submission.said, note)})

    async def start(
        self,
        bot: Zoetrope,
        interaction: discord.Interaction,
        submissions: Sequence[Submission],
        *,
        seen: bool = False,
    ) -> None:
        """Into the line, or first the question. `interaction` is deferred, in private.

        `seen`: it is a job once more, so a schedule need not be looked at again.
        """
        prepared = Prepared(submissions=tuple(submissions))
        if not self.high(prepared) and (seen or not prepared.ahead):
            await interaction.followup.send(await self.enqueue(bot, prepared), ephemeral=True)
            return
        await self._keep(prepared)
        await interaction.followup.send(await self._question(prepared), view=_answers(prepared), ephemeral=True)

    async def enqueue(self, bot: Zoetrope, prepared: Prepared, asked: Asked | None = None) -> str:
        """Queue each, and say of each how it went. `asked`: who confirms it now, where time has passed.

        Raises:
            Refusal: there is no room for the one job; of several, each is answered by itself.
        """
        said: list[str] = []
        for submission in prepared.submissions:
            try:
                said.append(await bot.started(await bot.intake.enqueue(submission, asked)))
            except Refusal as refusal:
                if len(prepared.submissions) == 1:
                    raise
                said.append(word(refusal))
        return "\n".join(said)

    async def accept(self, bot: Zoetrope, question: str, asked: Asked) -> str:
        """Queue what was asked about, and say how it went; pressed twice, it is queued and said once.

        Raises:
            QuestionGone: it was answered, or is too old.
            NotYours: somebody else was asked.
            Refusal: it is not allowed any more, or there is no room; the question stays.
        """
        async with self._one_answer(question):
            prepared = await self._take(question, asked.requester.id)
            if prepared.said:
                return prepared.said
            said = await self.enqueue(bot, prepared, asked)
            answered = prepared.model_copy(update={"said": said}).model_dump_json()
            await self.redis.set(_key(question), answered, xx=True, keepttl=True)
            return said

    async def decline(self, bot: Zoetrope, question: str, person: str) -> str:
        """Drop what was asked about, its pictures too, and say so; or say what came of it, if it was confirmed before.

        Raises:
            QuestionGone: it was answered, or is too old.
            NotYours: somebody else was asked.
        """
        async with self._one_answer(question):
            prepared = await self._take(question, person)
            if prepared.said:
                return prepared.said
            await self.redis.delete(_key(question))
            ids = [submission.id for submission in prepared.submissions]
            await self.retention.let_go(person, *ids)
            queued = [job_id for job_id in ids if await _is_queued(bot, job_id)]  # and then it could not be said
            return say("queued_before") if queued else say("never_mind")

    async def change(self, bot: Zoetrope, question: str, person: str) -> RemixForm:
        """What was asked about, as a form.

        Raises:
            QuestionGone: it was answered, or is too old.
            NotYours: somebody else was asked.
        """
        prepared = await self._take(question, person)
        if prepared.said:
            raise QuestionGone()
        return RemixForm(bot, prepared.submissions[0].recipe)

    def _one_answer(self, question: str) -> asyncio.Lock:
        return self._answering.setdefault(question, asyncio.Lock())

    async def _keep(self, prepared: Prepared) -> None:
        """Hold the pictures in the asker's name first, so that "forget me" finds them and the question."""
        for submission in prepared.submissions:
            digests = {source.digest for source in submission.recipe.sources.values()}
            await self.retention.hold(submission.id, *digests, person=prepared.asker)
        await self.redis.set(_key(prepared.id), prepared.model_dump_json(), ex=KEPT_SECONDS)

    async def _take(self, question: str, person: str) -> Prepared:
        document = await self.redis.get(_key(question))
        if document is None:
            raise QuestionGone()
        prepared = Prepared.model_validate_json(document)
        if prepared.asker != person:
            raise NotYours()
        return prepared

    async def _question(self, prepared: Prepared) -> str:
        return "\n\n".join(filter(None, (prepared.ahead, await self._asks(prepared))))

    async def _asks(self, prepared: Prepared) -> str:
        if not self.high(prepared):
            return say("ask_ahead")
        try:
            expected = await self.look(prepared.submissions[0])
        except REDIS_AWAY:
            raise
        except Exception:
            log.exception("no forecast for a question")
            return question(prepared, None, prepared.submissions[0].accepted_ms)
        return question(prepared, expected, prepared.submissions[0].accepted_ms)


async def _is_queued(bot: Zoetrope, job_id: str) -> bool:
    try:
        await bot.queue.job(job_id)
    except NoSuchJob:
        return False
    return True


def question(prepared: Prepared, expected: Expected | None, now_ms: float) -> str:
    """What is asked: what it costs, and when the first of it would start."""
    several = len(prepared.submissions) > 1
    what, it = (f"These {len(prepared.submissions)} clips take", "them") if several else ("This takes", "it")
    facts = {"what": what, "cost": lasting(prepared.estimate_ms), "it": it}
    if expected is None:
        return say("ask", facts)
    if expected.reason == "paused":
        return say("ask_paused", facts)
    if expected.reason:
        return say("ask_no_worker", facts)
    if expected.starts_ms - now_ms < SOON_MS:
        return say("ask_soon", facts)
    return say("ask_later", {**facts, "wait": lasting(expected.starts_ms - now_ms)})


def _key(question: str) -> str:
    return f"zoetrope:asked:{question}"


class AnswerButton(LastingButton, template=r"zt:never:answer"):
    """An answer to the question under whose first job's id the rest is kept. Subclasses say what comes of it."""

    action: str
    label: str
    style = discord.ButtonStyle.secondary

    def __init__(self, question: str, label: str | None = None) -> None:
        self.question = question
        custom_id = f"zt:{self.action}:{question}"
        super().__init__(discord.ui.Button(label=label or self.label, style=self.style, custom_id=custom_id))

    @classmethod
    async def from_custom_id(  # type: ignore[override]
        cls, interaction: discord.Interaction, item: discord.ui.Item[Any], match: re.Match[str], /
    ) -> Self:
        """The button again, from what Discord kept of it."""
        return cls(match["job"])

    async def press(self, bot: Zoetrope, interaction: discord.Interaction) -> None:
        """What came of it stands where the question stood. A refusal leaves the question there."""
        await interaction.response.defer()
        try:
            said = await self.answer(bot, interaction)
        except QuestionGone as gone:
            said = word(gone)
        await interaction.edit_original_response(content=said, view=None)

    async def answer(self, bot: Zoetrope, interaction: discord.Interaction) -> str:
        """Do it, and say what came of it."""
        raise NotImplementedError


class QueueItButton(AnswerButton, template=rf"zt:yes:{JOB}"):
    """Into the line."""

    action, label, style = "yes", "Queue it", discord.ButtonStyle.primary

    async def answer(self, bot: Zoetrope, interaction: discord.Interaction) -> str:
        """Pressed twice, it is queued once: the jobs have their ids since they were asked for."""
        return await bot.confirm.accept(bot, self.question, await asked_by(bot, interaction))


class NeverMindButton(AnswerButton, template=rf"zt:no:{JOB}"):
    """Nothing was queued, and nothing will be."""

    action, label = "no", "Never mind"

    async def answer(self, bot: Zoetrope, interaction: discord.Interaction) -> str:
        """Once it is queued, Cancel is the way."""
        return await bot.confirm.decline(bot, self.question, str(interaction.user.id))


class ChangeButton(AnswerButton, template=rf"zt:change:{JOB}"):
    """The same request in a form. The question stays as it is."""

    action, label = "change", "Change…"

    async def press(self, bot: Zoetrope, interaction: discord.Interaction) -> None:
        """A form must be the first answer to a press."""
        await interaction.response.send_modal(await bot.confirm.change(bot, self.question, str(interaction.user.id)))


ANSWERS = (QueueItButton, ChangeButton, NeverMindButton)


def _answers(prepared: Prepared) -> discord.ui.View:
    if len(prepared.submissions) > 1:
        return lasting_view(QueueItButton(prepared.id, "Queue them"), NeverMindButton(prepared.id))
    return lasting_view(*(button(prepared.id) for button in ANSWERS))
