"""Buttons that outlive a restart: their whole state is in the `custom_id`, so no view is kept in memory."""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING, Any, Self, cast

import discord
from discord.ui import DynamicItem

from bot.about import about
from bot.asked import asked_by
from bot.forms import RemixForm, open_finish
from bot.wishes import open_continue
from jobs.queue import NotYours
from jobs.record import Job, Rendered

if TYPE_CHECKING:
    from bot.client import Zoetrope

JOB = r"(?P<job>[0-9A-Za-z_.-]{1,24})"


def moderates(interaction: discord.Interaction) -> bool:
    """Whether who pressed may manage the channel's messages."""
    return interaction.permissions.manage_messages


class LastingButton(DynamicItem[discord.ui.Button[Any]], template=r"zt:never"):
    """A button that needs no memory. Subclasses read their state from the `custom_id` and say what `press` does."""

    async def callback(self, interaction: discord.Interaction) -> None:
        """Discord's entry; errors end in a sentence here as everywhere."""
        bot = cast("Zoetrope", interaction.client)
        try:
            await self.press(bot, interaction)
        except Exception as error:  # noqa: BLE001 - discord.py would only log it, and the person would see nothing
            await bot.answer_error(interaction, error)

    async def press(self, bot: Zoetrope, interaction: discord.Interaction) -> None:
        """What the button does."""
        raise NotImplementedError


class JobButton(LastingButton, template=r"zt:never:job"):
    """A button about one job. Subclasses say what it looks like."""

    action: str
    label: str
    emoji: str | None = None
    style = discord.ButtonStyle.secondary

    def __init__(self, job_id: str) -> None:
        self.job_id = job_id
        custom_id = f"zt:{self.action}:{job_id}"
        super().__init__(discord.ui.Button(label=self.label, emoji=self.emoji, style=self.style, custom_id=custom_id))

    @classmethod
    async def from_custom_id(  # type: ignore[override]
        cls, interaction: discord.Interaction, item: discord.ui.Item[Any], match: re.Match[str], /
    ) -> Self:
        """The button again, from what Discord kept of it."""
        return cls(match["job"])


class CancelButton(JobButton, template=rf"zt:cancel:{JOB}"):
    """Take a job out of the line, or stop its render."""

    action, label, style = "cancel", "Cancel", discord.ButtonStyle.danger

    async def press(self, bot: Zoetrope, interaction: discord.Interaction) -> None:
        """Requester and moderators only."""
        await interaction.response.defer(ephemeral=True)
        answer = await bot.queue.cancel(self.job_id, str(interaction.user.id), moderator=moderates(interaction))
        said = {"cancelled": "Cancelled.", "stopping": "Stopping it…", "ended": "It has already ended."}[answer]
        await interaction.followup.send(said, ephemeral=True)


class AgainButton(JobButton, template=rf"zt:again:{JOB}"):
    """The same recipe with a new seed, for whoever presses."""

    action, label, emoji = "again", "Again", "🔁"

    async def press(self, bot: Zoetrope, interaction: discord.Interaction) -> None:
        """Anyone may; the new job is theirs."""
        await interaction.response.defer(ephemeral=True, thinking=True)
        job = await bot.queue.job(self.job_id)
        again = await bot.intake.prepare_again(await asked_by(bot, interaction), job.submission.recipe.again())
        await bot.confirm.start(bot, interaction, [again], seen=True)


class RemixButton(JobButton, template=rf"zt:remix:{JOB}"):
    """The same recipe with other options, for whoever presses."""

    action, label, emoji = "remix", "Remix…", "🎛️"

    async def press(self, bot: Zoetrope, interaction: discord.Interaction) -> None:
        """A form must be the first answer, within three seconds."""
        job = await bot.queue.job(self.job_id)
        await interaction.response.send_modal(RemixForm(bot, job.submission.recipe))


class FinishButton(JobButton, template=rf"zt:finish:{JOB}"):
    """Smoother, steadier, larger, looping, another format: of the clip under which it hangs."""

    action, label, emoji = "finish", "Finish…", "✨"

    async def press(self, bot: Zoetrope, interaction: discord.Interaction) -> None:
        """Anyone may; the new job is theirs."""
        assert interaction.message is not None
        await open_finish(bot, interaction, interaction.message)


class ContinueButton(JobButton, template=rf"zt:continue:{JOB}"):
    """What comes next, from the last frame on, behind the clip under which it hangs."""

    action, label, emoji = "continue", "Continue…", "⏩"

    async def press(self, bot: Zoetrope, interaction: discord.Interaction) -> None:
        """Anyone may; the new job is theirs."""
        assert interaction.message is not None
        await open_continue(bot, interaction, interaction.message)


class InfoButton(JobButton, template=rf"zt:info:{JOB}"):
    """How it was made."""

    action, label, emoji = "info", "Info", "ℹ️"

    async def press(self, bot: Zoetrope, interaction: discord.Interaction) -> None:
        """For the eyes of who asks."""
        await interaction.response.defer(ephemeral=True, thinking=True)
        await interaction.followup.send(about(await bot.queue.job(self.job_id)), ephemeral=True)


class DeleteButton(JobButton, template=rf"zt:delete:{JOB}"):
    """Take the result out of the channel."""

    action, label, emoji = "delete", "Delete", "🗑️"

    async def press(self, bot: Zoetrope, interaction: discord.Interaction) -> None:
        """Requester and moderators only. Whom a forgotten job belonged to, its message still says."""
        await interaction.response.defer(ephemeral=True)
        message = interaction.message
        assert message is not None
        owners = {mention.id for mention in message.mentions}
        if interaction.user.id not in owners and not moderates(interaction):
            raise NotYours()
        with contextlib.suppress(discord.NotFound):  # pressed twice
            await bot.get_partial_messageable(message.channel.id).get_partial_message(message.id).delete()
        await interaction.followup.send("Deleted.", ephemeral=True)


BUTTONS = (CancelButton, AgainButton, RemixButton, FinishButton, ContinueButton, InfoButton, DeleteButton)


def lasting_view(*buttons: LastingButton) -> discord.ui.View:
    """Buttons for a message."""
    view = discord.ui.View(timeout=None)
    for button in buttons:
        view.add_item(button)
    view.stop()  # the library would keep it in memory for ever; presses reach the DynamicItem classes without it
    return view


def while_open(job: Job) -> discord.ui.View:
    """Under the status message."""
    return lasting_view(CancelButton(job.id))


def under_result(job: Job) -> discord.ui.View:
    """Under the final message."""
    again = AgainButton(job.id)
    if not isinstance(job.outcome, Rendered):
        return lasting_view(again)
    onward = (RemixButton(job.id), FinishButton(job.id), ContinueButton(job.id))
    return lasting_view(again, *onward, InfoButton(job.id), DeleteButton(job.id))
