"""What can be done with a clip that was posted: finish it, ask where it comes from, look at how it was made."""

from __future__ import annotations

import contextlib
import io
from dataclasses import replace

import discord
from discord import app_commands
from discord.ext.commands import Cog

from bot.about import about
from bot.asked import visible_job
from bot.attachments import first_clip
from bot.client import Zoetrope
from bot.forms import open_finish
from bot.whose import FOUND_HERE, Answer
from jobs.queue import NoSuchJob
from jobs.texts import say


class Clips(Cog):
    """The message menus and `/show`."""

    def __init__(self, bot: Zoetrope) -> None:
        self.bot = bot
        self.menus = (
            app_commands.ContextMenu(name="Finish…", callback=self.finish),
            app_commands.ContextMenu(name="Who made this?", callback=self.whose),
        )

    async def cog_load(self) -> None:
        """Put the menus into the tree."""
        for menu in self.menus:
            self.bot.tree.add_command(menu)

    async def finish(self, interaction: discord.Interaction, message: discord.Message) -> None:
        """The form, for the first clip in the message, whoever posted it."""
        await open_finish(self.bot, interaction, message)

    async def whose(self, interaction: discord.Interaction, message: discord.Message) -> None:
        """By its credential, its metadata, its hash or its looks, in private."""
        await interaction.response.defer(ephemeral=True, thinking=True)
        clip = first_clip(message)

        async def fetch() -> bytes:
            data = io.BytesIO()
            await self.bot.downloads.fetch_to(clip.url, data, self.bot.limits.clip_bytes)
            return data.getvalue()

        answer = await self._discreet(interaction, await self.bot.asker.ask(fetch))
        known = f"\n-# `/show id:{answer.job_id}`" if answer.job_id else ""
        await interaction.followup.send(f"{say(answer.note.code, answer.note.facts)}{known}", ephemeral=True)

    async def _discreet(self, interaction: discord.Interaction, answer: Answer) -> Answer:
        """Without the job where the file does not name it and this person could not see it: it may be a private one."""
        if answer.job_id and answer.by in FOUND_HERE:
            with contextlib.suppress(NoSuchJob):
                await visible_job(self.bot, interaction, answer.job_id)
                return answer
            return replace(answer, job_id=None)
        return answer

    @app_commands.command(name="show", description="How a clip was made: every step, option, seed and checkpoint.")
    @app_commands.describe(id="a job's id")
    async def show(self, interaction: discord.Interaction, id: str) -> None:  # noqa: A002 - the option's name
        """In private."""
        await interaction.response.defer(ephemeral=True, thinking=True)
        job = await visible_job(self.bot, interaction, id)
        await interaction.followup.send(about(job), ephemeral=True)
