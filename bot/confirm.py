"""The question before much is queued: what it costs, when it would start, and two buttons that outlive a restart.

What was prepared waits in Redis for a quarter of an hour; nothing is queued, and no place held, until it is confirmed.
"""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Self

import discord
from arq.connections import ArqRedis

from bot.amounts import lasting
from bot.buttons import JOB, LastingButton, lasting_view
from jobs.errors import Note, Refusal
from jobs.queue import REDIS_AWAY, NotYours
from jobs.recipe import Value
from jobs.record import Submission
from jobs.texts import say, word

if TYPE_CHECKING:
    from bot.client import Zoetrope
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

    @property
    def id(self) -> str:
        """The first job's."""
        return self.submissions[0].id

    @property
    def asker(self) -> str:
        """Who alone may answer."""
        return self.submissions[0].requester.id

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

    def high(self, prepared: Prepared) -> bool:
        """Whether it takes so long that it should be said before; 0 as the limit means never."""
        return 0 < self.above_ms <= prepared.estimate_ms

    def noted(self, submission: Submission) -> Submission:
        """For who cannot be asked in private: what it costs stands in the status message."""
        if not self.high(Prepared(submissions=(submission,))):
            return submission
        note = Note("takes_long", {"cost": lasting(submission.estimate_ms)})
        return submission.model_copy(update={"said": (*submission.said, note)})

    async def start(self, bot: Zoetrope, interaction: discord.Interaction, submissions: Sequence[Submission]) -> None:
        """Into the line, or first the question. `interaction` is deferred, in private."""
        prepared = Prepared(submissions=tuple(submissions))
        if not self.high(prepared):
            await interaction.followup.send(await self.enqueue(bot, prepared), ephemeral=True)
            return
        await self.redis.set(_key(prepared.id), prepared.model_dump_json(), ex=KEPT_SECONDS)
        await interaction.followup.send(await self._question(prepared), view=_answers(prepared), ephemeral=True)

    async def enqueue(self, bot: Zoetrope, prepared: Prepared) -> str:
        """Queue each, and say of each how it went.

        Raises:
            Refusal: there is no room for the one job; of several, each is answered by itself.
        """
        said: list[str] = []
        for submission in prepared.submissions:
            try:
                said.append(await bot.started(await bot.intake.enqueue(submission)))
            except Refusal as refusal:
                if len(prepared.submissions) == 1:
                    raise
                said.append(word(refusal))
        return "\n".join(said)

    async def take(self, question: str, person: str) -> Prepared:
        """What a question was about.

        Raises:
            QuestionGone: it was answered, or is too old.
            NotYours: somebody else was asked.
        """
        document = await self.redis.get(_key(question))
        if document is None:
            raise QuestionGone()
        prepared = Prepared.model_validate_json(document)
        if prepared.asker != person:
            raise NotYours()
        return prepared

    async def forget(self, prepared: Prepared) -> None:
        """The question is answered."""
        await self.redis.delete(_key(prepared.id))

    async def _question(self, prepared: Prepared) -> str:
        try:
            expected = await self.look(prepared.submissions[0])
        except REDIS_AWAY:
            raise
        except Exception:
            log.exception("no forecast for a question")
            return question(prepared, None, prepared.submissions[0].accepted_ms)
        return question(prepared, expected, prepared.submissions[0].accepted_ms)


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
    """An answer to the question under whose first job's id the rest is kept."""

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


class QueueItButton(AnswerButton, template=rf"zt:yes:{JOB}"):
    """Into the line."""

    action, label, style = "yes", "Queue it", discord.ButtonStyle.primary

    async def press(self, bot: Zoetrope, interaction: discord.Interaction) -> None:
        """Pressed twice, it is queued once: the jobs have their ids since they were asked for."""
        await interaction.response.defer()
        try:
            prepared = await bot.confirm.take(self.question, str(interaction.user.id))
        except QuestionGone as gone:
            await interaction.edit_original_response(content=word(gone), view=None)
            return
        said = await bot.confirm.enqueue(bot, prepared)
        await bot.confirm.forget(prepared)
        await interaction.edit_original_response(content=said, view=None)


class NeverMindButton(AnswerButton, template=rf"zt:no:{JOB}"):
    """Nothing was queued, and nothing will be."""

    action, label = "no", "Never mind"

    async def press(self, bot: Zoetrope, interaction: discord.Interaction) -> None:
        """Once it is queued, Cancel is the way."""
        await interaction.response.defer()
        with contextlib.suppress(QuestionGone):
            await bot.confirm.forget(await bot.confirm.take(self.question, str(interaction.user.id)))
        await interaction.edit_original_response(content=say("never_mind"), view=None)


ANSWERS = (QueueItButton, NeverMindButton)


def _answers(prepared: Prepared) -> discord.ui.View:
    label = "Queue them" if len(prepared.submissions) > 1 else None
    return lasting_view(QueueItButton(prepared.id, label), NeverMindButton(prepared.id))
