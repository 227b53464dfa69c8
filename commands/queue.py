"""What people ask the queue: `/queue`, `/cancel` and `/me`. All answers are private."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import discord
from discord import app_commands
from discord.app_commands import Choice
from discord.ext.commands import Cog

from bot.amounts import counted
from bot.asked import asked_by
from bot.buttons import JOB, LastingButton, lasting_view
from bot.client import Zoetrope
from commands.line import Row, Spent, View, choice_text, page, spent, view
from commands.standing import SHOWN, Standing, standing_text
from jobs.errors import Facts, Refusal
from jobs.queue import NoSuchJob
from jobs.record import Job
from jobs.texts import say

if TYPE_CHECKING:
    from jobs.terms import Terms

ALL_MINE = "mine"
CHOICES = 25
"""Discord's limit for what is offered while somebody types."""
LOOKED_AT = 200
"""Newest jobs whose records are read for one list of choices."""


class PickAJob(Refusal):
    """What was typed is no job."""

    code = "pick_a_job"


class NothingToCancel(Refusal):
    """All of mine, and there is none."""

    code = "nothing_to_cancel"


@dataclass(frozen=True)
class Looked:
    """The line as one person sees it now, and their part of it."""

    seen: View
    own: View
    """Their own jobs alone, of all servers."""
    spent: Spent
    terms: Terms


async def look(bot: Zoetrope, interaction: discord.Interaction) -> Looked:
    """Read it anew: every answer, and every press of a button, is of now."""
    person, guild = str(interaction.user.id), str(interaction.guild_id) if interaction.guild_id else None
    line, forecast, paused = await bot.queue.line(), await bot.forecasts.get(), await bot.queue.paused()
    seen, own = (view(line, forecast.places, paused, where, person) for where in (guild, None))
    terms = await bot.gate.terms(await asked_by(bot, interaction))
    used = await bot.queue.usage_of_guild(guild) if guild else {person: (await bot.queue.usage(person)).last_hour_ms}
    return Looked(seen, own, spent(seen, used), terms)


async def records(bot: Zoetrope, rows: Iterable[Row]) -> Mapping[str, Job]:
    """The records behind some rows; a job that was forgotten meanwhile is left out."""

    async def record(job_id: str) -> Job | None:
        try:
            return await bot.queue.job(job_id)
        except NoSuchJob:
            return None

    found = await asyncio.gather(*(record(row.job.id) for row in rows))
    return {job.id: job for job in found if job}


# --- /queue ---


class PageButton(LastingButton, template=r"zt:line:(?P<way>back|now|on):(?P<page>\d{1,5})"):
    """Another page of the line, or the same one as it is now."""

    def __init__(self, way: str, page: int, *, label: str | None = None, disabled: bool = False) -> None:
        self.page = page
        emoji = {"back": "◀️", "now": "🔄", "on": "▶️"}[way]
        custom_id = f"zt:line:{way}:{page}"
        super().__init__(discord.ui.Button(label=label, emoji=emoji, custom_id=custom_id, disabled=disabled))

    @classmethod
    async def from_custom_id(  # type: ignore[override]
        cls, interaction: discord.Interaction, item: discord.ui.Item[Any], match: re.Match[str], /
    ) -> Self:
        """The button again, from what Discord kept of it."""
        return cls(match["way"], int(match["page"]))

    async def press(self, bot: Zoetrope, interaction: discord.Interaction) -> None:
        """Turn the page."""
        await interaction.response.defer()
        text, buttons = await queue_page(bot, interaction, self.page)
        await interaction.edit_original_response(content=text, view=buttons, allowed_mentions=NOBODY)


NOBODY = discord.AllowedMentions.none()


async def queue_page(bot: Zoetrope, interaction: discord.Interaction, number: int) -> tuple[str, discord.ui.View]:
    """The message's text and its buttons."""
    looked = await look(bot, interaction)
    seen, last = looked.seen, looked.seen.pages - 1
    number = min(number, last)
    text = page(seen, number, await records(bot, seen.page(number)), looked.spent, looked.terms)
    now = PageButton("now", number, label=f"{number + 1} / {last + 1}" if last else None)
    if not last:
        return text, lasting_view(now)
    back = PageButton("back", max(0, number - 1), disabled=number == 0)
    return text, lasting_view(back, now, PageButton("on", min(last, number + 1), disabled=number == last))


# --- /cancel ---


def moderates_job(interaction: discord.Interaction, job: Job) -> bool:
    """Whether who asks may manage messages where this job is. Of another server's jobs nobody is a moderator here."""
    channel = job.submission.channel
    if interaction.guild is None or channel.guild_id != str(interaction.guild_id):
        return False
    if channel.id == str(interaction.channel_id):
        return interaction.permissions.manage_messages
    if not isinstance(interaction.user, discord.Member):
        return False
    there = interaction.guild.get_channel_or_thread(int(channel.id))
    here = there.permissions_for(interaction.user) if there else interaction.user.guild_permissions
    return here.manage_messages


async def cancellable(bot: Zoetrope, interaction: discord.Interaction) -> list[Job]:
    """Open jobs that this person may cancel, the newest first."""
    person = str(interaction.user.id)
    line = await bot.queue.line()
    every = [Row(job, None) for job in (*reversed(line.waiting), *line.running)]
    mine = [row for row in every if row.job.person == person]
    others = [row for row in every if row.job.person != person and row.job.guild == str(interaction.guild_id)]
    moderated = others[:LOOKED_AT] if interaction.guild_id else []
    jobs = (await records(bot, [*mine, *moderated])).values()
    allowed = [job for job in jobs if job.submission.requester.id == person or moderates_job(interaction, job)]
    return sorted(allowed, key=lambda job: job.submission.accepted_ms, reverse=True)


class Queue(Cog):
    """Looks at the line and takes jobs out of it."""

    def __init__(self, bot: Zoetrope) -> None:
        self.bot = bot

    async def cog_load(self) -> None:
        """Buttons of pages that were sent before a restart work again."""
        self.bot.add_dynamic_items(PageButton)

    @app_commands.command(name="queue", description="What waits and runs here, when yours starts, and why then.")
    async def queue(self, interaction: discord.Interaction) -> None:
        """The first page."""
        await interaction.response.defer(ephemeral=True, thinking=True)
        text, buttons = await queue_page(self.bot, interaction, 0)
        await interaction.followup.send(text, view=buttons, ephemeral=True, allowed_mentions=NOBODY)

    @app_commands.command(name="me", description="What you used of the GPU, your limits, and your jobs.")
    async def me(self, interaction: discord.Interaction) -> None:
        """One private page."""
        await interaction.response.defer(ephemeral=True, thinking=True)
        person = str(interaction.user.id)
        looked, usage = await look(self.bot, interaction), await self.bot.queue.usage(person)
        standing = Standing(
            terms=looked.terms,
            usage=usage,
            open_jobs=await self.bot.queue.open_jobs_of(person),
            now_ms=time.time() * 1000,
        )
        text = standing_text(standing, looked.own, await records(self.bot, looked.own.rows[:SHOWN]), looked.spent)
        await interaction.followup.send(text, ephemeral=True, allowed_mentions=NOBODY)

    @app_commands.command(name="cancel", description="Take a job out of the line, or stop its render.")
    @app_commands.describe(job="which one: pick it from the list")
    async def cancel(self, interaction: discord.Interaction, job: str) -> None:
        """One job, or all of mine."""
        await interaction.response.defer(ephemeral=True, thinking=True)
        said = await self._cancel_mine(interaction) if job == ALL_MINE else await self._cancel_one(interaction, job)
        await interaction.followup.send(said, ephemeral=True, allowed_mentions=NOBODY)

    async def _cancel_one(self, interaction: discord.Interaction, job_id: str) -> str:
        if not re.fullmatch(JOB, job_id):
            raise PickAJob()
        try:
            job = await self.bot.queue.job(job_id)
        except NoSuchJob:
            raise PickAJob() from None
        person = str(interaction.user.id)
        answer = await self.bot.queue.cancel(job_id, person, moderator=moderates_job(interaction, job))
        mine = job.submission.requester.id == person
        whose = "Your" if mine else f"{job.submission.requester.name}'s"
        facts: Facts = {"whose": whose, "system": job.submission.recipe.title}
        match answer:
            case "cancelled":
                return say("cancel_cancelled", facts)
            case "stopping":
                return say("cancel_stopping", facts)
            case "ended":
                return say("cancel_ended", facts)

    async def _cancel_mine(self, interaction: discord.Interaction) -> str:
        line, person = await self.bot.queue.line(), str(interaction.user.id)
        mine = [job.id for job in (*line.waiting, *line.running) if job.person == person]
        if not mine:
            raise NothingToCancel()
        answers = [await self.bot.queue.cancel(job_id, person) for job_id in mine]
        stopping = answers.count("stopping")
        jobs = counted(len(answers) - answers.count("ended"), "job")
        return say("cancelled_all_stopping", {"jobs": jobs}) if stopping else say("cancelled_all", {"jobs": jobs})

    @cancel.autocomplete("job")
    async def _offer(self, interaction: discord.Interaction, typed: str) -> list[Choice[str]]:
        """Jobs that contain every word that was typed; before them, all of mine at once."""
        person, now_ms = str(interaction.user.id), time.time() * 1000
        jobs = await cancellable(self.bot, interaction)
        mine = sum(job.submission.requester.id == person for job in jobs)
        choices = [Choice(name=f"all of mine ({mine})", value=ALL_MINE)] if mine > 1 else []
        choices += [Choice(name=choice_text(job, person, now_ms), value=job.id) for job in jobs]
        words = typed.lower().split()
        return [choice for choice in choices if all(word in choice.name.lower() for word in words)][:CHOICES]
