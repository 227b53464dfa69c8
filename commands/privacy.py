"""`/privacy`: what is kept of a person, where and for how long, and the way to have it forgotten."""

from __future__ import annotations

import contextlib
import re
from typing import Any, Self

import discord
from discord import app_commands
from discord.ext.commands import Cog

from bot.amounts import clock, counted
from bot.buttons import LastingButton, lasting_view
from bot.client import Zoetrope
from bot.storyboard import Stories
from commands.standing import midnight
from jobs.presets import Presets
from jobs.queue import NoSuchJob, NotYours
from jobs.rulebook import KEPT_DAYS
from jobs.texts import say

DAY_SECONDS = 86_400


def privacy_text(media_seconds: float, records_seconds: float) -> str:
    """What is kept, in plain words."""
    kept = (
        say("keeps_media", {"media": days(media_seconds)}),
        say("keeps_records", {"records": days(records_seconds)}),
        say("keeps_seconds"),
        say("keeps_presets"),
        say("keeps_motions"),
        say("keeps_storyboards"),
        say("keeps_changes", {"days": KEPT_DAYS}),
        say("keeps_posts"),
    )
    return "\n".join(
        [f"**{say('privacy_title')}**", say("reads_only"), *(f"- {each}" for each in kept), say("privacy_ask")]
    )


def days(seconds: float) -> str:
    """`7 days`, `1 day`, `1.5 days`."""
    number = seconds / DAY_SECONDS
    return counted(int(number), "day") if float(number).is_integer() else f"{number:.1f} days"


def forgotten_text(jobs: int, files: int, later: int, now_ms: float) -> str:
    """What went, what goes later, and the one thing that stays until midnight."""
    said = [say("forgotten", {"jobs": counted(jobs, "job"), "files": counted(files, "file")})]
    if later:
        said.append(say("forgotten_later", {"jobs": counted(later, "job")}))
    return "\n".join([*said, f"-# {say('seconds_stay', {'resets': clock(midnight(now_ms))})}"])


LOOKS = {
    "ask": ("Forget me…", discord.ButtonStyle.danger),
    "yes": ("Yes, forget me", discord.ButtonStyle.danger),
    "no": ("Keep it", discord.ButtonStyle.secondary),
}


class ForgetButton(LastingButton, template=r"zt:forget:(?P<step>ask|yes|no):(?P<person>\d{1,20})"):
    """Forget me: first the question, then the deed. Only who asked for the page may press."""

    def __init__(self, step: str, person: str) -> None:
        self.step, self.person = step, person
        label, style = LOOKS[step]
        super().__init__(discord.ui.Button(label=label, style=style, custom_id=f"zt:forget:{step}:{person}"))

    @classmethod
    async def from_custom_id(  # type: ignore[override]
        cls, interaction: discord.Interaction, item: discord.ui.Item[Any], match: re.Match[str], /
    ) -> Self:
        """The button again, from what Discord kept of it."""
        return cls(match["step"], match["person"])

    async def press(self, bot: Zoetrope, interaction: discord.Interaction) -> None:
        """One step further, in the same private message."""
        if str(interaction.user.id) != self.person:
            raise NotYours()
        await interaction.response.defer()
        match self.step:
            case "ask":
                text, buttons = await self._question(bot), [ForgetButton("yes", self.person)]
                buttons.append(ForgetButton("no", self.person))
                await interaction.edit_original_response(content=text, view=lasting_view(*buttons))
            case "yes":
                text = await forget(bot, self.person, interaction.created_at.timestamp() * 1000)
                await interaction.edit_original_response(content=text, view=None)
            case _:
                await interaction.edit_original_response(content=say("kept"), view=None)

    async def _question(self, bot: Zoetrope) -> str:
        opened = await bot.queue.open_jobs_of(self.person)
        cancels = say("forget_cancels", {"jobs": counted(opened, "open job")}) if opened else ""
        return " ".join(part for part in (f"**{say('forget_title')}**", cancels, say("forget_what")) if part)


async def forget(bot: Zoetrope, person: str, now_ms: float) -> str:
    """Cancel what is open and delete what is kept; what still stops is deleted as soon as it has ended."""
    line = await bot.queue.line()
    for job in (*line.waiting, *line.running):
        if job.person == person:
            with contextlib.suppress(NoSuchJob):
                await bot.queue.cancel(job.id, person)
    await Presets(bot.redis).forget(str(person))
    await Stories(bot.redis).forget(person)
    forgotten, files = await bot.sweeper.forget(person)
    return forgotten_text(forgotten.jobs, files, forgotten.later, now_ms)


class Privacy(Cog):
    """One private page, and its buttons."""

    def __init__(self, bot: Zoetrope) -> None:
        self.bot = bot

    async def cog_load(self) -> None:
        """Buttons of pages that were sent before a restart work again."""
        self.bot.add_dynamic_items(ForgetButton)

    @app_commands.command(name="privacy", description="What I keep of you, for how long, and how to have it forgotten.")
    async def privacy(self, interaction: discord.Interaction) -> None:
        """Answer in private."""
        await interaction.response.defer(ephemeral=True, thinking=True)
        text = privacy_text(self.bot.sweeper.keep_seconds, self.bot.queue.keep_seconds)
        button = ForgetButton("ask", str(interaction.user.id))
        await interaction.followup.send(text, view=lasting_view(button), ephemeral=True)
