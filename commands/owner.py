"""`/zoetrope`: what moderators and the bot's owner do to the line, and how things stand."""

from __future__ import annotations

import io
from typing import Literal

import discord
from discord import app_commands
from discord.ext.commands import Cog

from bot.amounts import counted
from bot.asked import person_of
from bot.client import Zoetrope
from bot.gate import where
from commands.owner_pages import Standing, status_page
from commands.owner_settings import SettingsGroup
from jobs.aside import Aside, SetAside
from jobs.errors import Refusal
from jobs.line import Line
from jobs.policy import EVERYWHERE, channel_scope, guild_scope
from jobs.rulebook import Editor
from jobs.texts import say

Where = Literal["this channel", "this server", "everything"]
MOST_LOGS = 10
"""Files that Discord takes with one message."""


class NeedsManageServer(Refusal):
    """Who asked neither manages the server nor owns the bot."""

    code = "needs_manage_server"


class OwnerOnly(Refusal):
    """What concerns all servers is the bot owner's."""

    code = "owner_only"


class NotInDirectMessages(Refusal):
    """There is no server, and so nothing of it to change."""

    code = "not_in_direct_messages"


class Owner(Cog):
    """Puts the group into the tree."""

    def __init__(self, bot: Zoetrope) -> None:
        self.bot = bot
        self.group = OwnerGroup(bot)
        self.group.add_command(SettingsGroup(bot, self.group.editor))

    async def cog_load(self) -> None:
        """Register it."""
        self.bot.tree.add_command(self.group)


class OwnerGroup(app_commands.Group):
    """Every answer is private, says what happened, and how to undo it."""

    def __init__(self, bot: Zoetrope) -> None:
        super().__init__(
            name="zoetrope",
            description="For moderators: pause the queue, see how things stand, change settings.",
            default_permissions=discord.Permissions(manage_guild=True),
        )
        self.bot = bot

    async def editor(self, interaction: discord.Interaction, *, everywhere: bool = False) -> Editor:
        """Who asked, if they may. Discord hides the command from others, but an admin may have shown it to them.

        Raises:
            NotInDirectMessages, NeedsManageServer, OwnerOnly: they may not, or not here.
        """
        guild = str(interaction.guild_id) if interaction.guild_id else None
        if await self.bot.is_owner(interaction.user):
            if guild is None and not everywhere:
                raise NotInDirectMessages()
            return Editor(person_of(interaction), None if everywhere else guild)
        if everywhere:
            raise OwnerOnly()
        if guild is None:
            raise NotInDirectMessages()
        if not interaction.permissions.manage_guild:
            raise NeedsManageServer()
        return Editor(person_of(interaction), guild)

    async def _at(self, interaction: discord.Interaction, choice: Where) -> tuple[Editor, str]:
        """Who asked, and the scope that they mean."""
        editor = await self.editor(interaction, everywhere=choice == "everything")
        if editor.guild is None:
            return editor, EVERYWHERE
        if choice == "this server":
            return editor, guild_scope(editor.guild)
        return editor, channel_scope(str(interaction.channel_id))

    @app_commands.command(description="Hold what waits, until /zoetrope resume. What runs is finished.")
    @app_commands.rename(choice="where")
    @app_commands.describe(choice="what is held; everything: the bot's owner alone")
    async def pause(self, interaction: discord.Interaction, choice: Where) -> None:
        """Waiting jobs keep their places; new requests are accepted and wait as well."""
        await interaction.response.defer(ephemeral=True, thinking=True)
        editor, scope = await self._at(interaction, choice)
        place = {"where": where(scope), "choice": choice}
        if not await self.bot.queue.pause(scope, editor.person.id):
            await _answer(interaction, say("paused_before", place))
            return
        await self.bot.rulebook.note(editor, scope, paused=True)
        waiting, running = await self._open(scope)
        await _answer(interaction, say("paused_now", {**place, "waiting": waiting, "running": running}))

    @app_commands.command(description="Refuse new requests, until /zoetrope resume. What waits and runs is finished.")
    @app_commands.rename(choice="where")
    @app_commands.describe(choice="where nothing new is taken; everything: the bot's owner alone")
    async def drain(self, interaction: discord.Interaction, choice: Where) -> None:
        """For a restart, or the evening: the line runs empty."""
        await interaction.response.defer(ephemeral=True, thinking=True)
        editor, scope = await self._at(interaction, choice)
        place = {"where": where(scope), "choice": choice}
        if await self.bot.rulebook.change(editor, scope, {"drained": True}, via="drain") is None:
            await _answer(interaction, say("drained_before", place))
            return
        waiting, running = await self._open(scope)
        said = say("drained_now", {**place, "waiting": waiting, "running": running})
        paused = await self._still_paused(interaction)
        await _answer(interaction, "\n".join([said, *paused]))

    @app_commands.command(description="Go on after /zoetrope pause or /zoetrope drain.")
    @app_commands.rename(choice="where")
    @app_commands.describe(choice="where it goes on, as it was said to pause or drain")
    async def resume(self, interaction: discord.Interaction, choice: Where) -> None:
        """What was held goes on from its places, and new requests are taken again."""
        await interaction.response.defer(ephemeral=True, thinking=True)
        editor, scope = await self._at(interaction, choice)
        place = {"where": where(scope), "choice": choice}
        said: list[str] = []
        freed = await self.bot.queue.resume(scope)
        if freed is not None:
            await self.bot.rulebook.note(editor, scope, paused=False)
            said.append(say("resumed", {**place, "waiting": (await self._open(scope))[0]}))
        if await self.bot.rulebook.change(editor, scope, {"drained": None}, via="drain"):
            said.append(say("open_again", place))
        said = said or [say("nothing_to_resume", place)]
        await _answer(interaction, "\n".join([*said, *await self._still_paused(interaction, scope)]))

    async def _open(self, scope: str) -> tuple[str, str]:
        """How many jobs of a scope wait, and how many run, in words."""
        waiting, running = _open(await self.bot.queue.line(), scope)
        return (counted(waiting, "job") if waiting else "nothing"), (counted(running, "job") if running else "nothing")

    async def _still_paused(self, interaction: discord.Interaction, but: str = "") -> list[str]:
        """What holds the jobs of this channel besides, and how that ends."""
        paused = await self.bot.queue.paused()
        choices: dict[str, Where] = {
            EVERYWHERE: "everything",
            channel_scope(str(interaction.channel_id)): "this channel",
        }
        if interaction.guild_id:
            choices[guild_scope(str(interaction.guild_id))] = "this server"
        return [
            say("also_paused", {"where": where(scope), "choice": choice})
            for scope, choice in choices.items()
            if scope in paused and scope != but
        ]

    @app_commands.command(description="Machines, the line, what jobs cost, and jobs that were set aside.")
    async def status(self, interaction: discord.Interaction) -> None:
        """The owner sees all of it, moderators what concerns their server."""
        await interaction.response.defer(ephemeral=True, thinking=True)
        mine = await self.bot.is_owner(interaction.user)
        guild = (await self.editor(interaction, everywhere=mine and interaction.guild_id is None)).guild
        aside = await Aside(self.bot.redis).all() if mine else []
        page = status_page(
            Standing(
                workers=await self.bot.workers.online(),
                line=await self.bot.queue.line(),
                paused=tuple(scope for scope in await self.bot.queue.paused() if mine or _concerns(interaction, scope)),
                costs=await self.bot.costs.table() if mine else [],
                aside=aside,
                guild=guild,
                owner=mine,
            )
        )
        await interaction.followup.send(page, files=[_log(job) for job in aside if job.log][:MOST_LOGS], ephemeral=True)


async def _answer(interaction: discord.Interaction, text: str) -> None:
    await interaction.followup.send(text, ephemeral=True)


def _open(line: Line, scope: str) -> tuple[int, int]:
    """Jobs of a scope that wait, and that run."""

    def inside(guild: str, channel: str) -> bool:
        return scope in (EVERYWHERE, guild_scope(guild), channel_scope(channel))

    waiting = sum(inside(job.guild, job.channel) for job in line.waiting)
    return waiting, sum(inside(job.guild, job.channel) for job in line.running)


def _concerns(interaction: discord.Interaction, scope: str) -> bool:
    """Whether a pause is over this server, or in one of its channels; another server's is none of its business."""
    kind, _, id_ = scope.partition(":")
    guild = interaction.guild
    if kind == "channel":
        return guild is not None and guild.get_channel_or_thread(int(id_)) is not None
    return scope == EVERYWHERE or (guild is not None and scope == guild_scope(str(guild.id)))


def _log(job: SetAside) -> discord.File:
    """What the renderer wrote last, as a text file."""
    return discord.File(io.BytesIO(job.log.encode()), filename=f"set-aside-{job.job_id}.txt")
