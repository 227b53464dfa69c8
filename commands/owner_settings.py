"""`/zoetrope settings`: what may be used where, how clips come back, and what each role may have."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Literal

import discord
from discord import app_commands

from bot.asked import may_post, place_of_interaction
from bot.client import Zoetrope
from bot.gate import where
from bot.options import Options, parse, slash_command
from commands.owner_pages import Shown, audit_page, change_in_words, fitting, settings_page
from jobs.errors import Refusal
from jobs.policy import EVERYONE, ClipRules, Share, channel_scope, combined, guild_scope, holding_scopes
from jobs.requests import BY_SYSTEM
from jobs.rulebook import SHARE, Change, Editor, share_name
from jobs.texts import say

Where = Literal["this server", "this channel"]
What = Literal["systems", "format", "seconds", "megapixels", "nsfw", "nsfw_systems", "results", "shares", "everything"]
MayEdit = Callable[[discord.Interaction], Awaitable[Editor]]
AUDITED = 25
"""Changes that fit one message."""
SYSTEMS = f"names with spaces between: {' '.join(BY_SYSTEM)}"


class UnknownSystem(Refusal):
    """A name that is no system's."""

    code = "unknown_system"


class NothingGiven(Refusal):
    """An edit without any value."""

    code = "nothing_given"


class RoleHasSharesAlone(Refusal):
    """Something else than shares was to be cleared for a role."""

    code = "role_has_shares_alone"


class CannotPostThere(Refusal):
    """The bot may not post files in the channel that was chosen for clips."""

    code = "cannot_post_there"


class SettingsGroup(app_commands.Group):
    """Settings of a server, and of its channels where they are to be others."""

    def __init__(self, bot: Zoetrope, editor: MayEdit) -> None:
        super().__init__(
            name="settings", description="What may be used here, how clips come back, who may have how much."
        )
        self.bot = bot
        self.editor = editor
        self.add_command(self._edit())
        self.add_command(self._share())

    def _edit(self) -> app_commands.Command[Any, ..., None]:
        async def edit(interaction: discord.Interaction, options: Options) -> None:
            await interaction.response.defer(ephemeral=True, thinking=True)
            editor = await self.editor(interaction)
            scope = _scope(interaction, options.get("where", "this server"))
            change = await self.bot.rulebook.change(editor, scope, _edited(options))
            await self._answer(interaction, scope, change)

        extra: dict[str, tuple[Any, str]] = {
            "where": (Where, "where it holds; what is set for a channel goes before what is set for the server"),
            "systems": (str, f"systems that may be used; {SYSTEMS}"),
            "nsfw_systems": (str, f"systems that nsfw is about; empty: all; {SYSTEMS}"),
            "results": (discord.TextChannel, "clips are posted there, with a link where they were asked for"),
        }
        return slash_command("edit", "Change what may be used and how clips come back.", (ClipRules,), edit, extra)

    def _share(self) -> app_commands.Command[Any, ..., None]:
        async def share(interaction: discord.Interaction, options: Options) -> None:
            await interaction.response.defer(ephemeral=True, thinking=True)
            editor = await self.editor(interaction)
            given = parse(Share, options).model_dump(exclude_none=True)
            if not given:
                raise NothingGiven()
            who = _who(options.get("role"))
            scope = _scope(interaction, "this server")
            values = {share_name(who, name): value for name, value in given.items()}
            await self._answer(interaction, scope, await self.bot.rulebook.change(editor, scope, values))

        extra: dict[str, tuple[Any, str]] = {"role": (discord.Role, "whose share; empty: everyone's on this server")}
        return slash_command("share", "Change what everyone or a role may have on this server.", (Share,), share, extra)

    @app_commands.command(description="Take settings away again, so that those around them hold.")
    @app_commands.rename(choice="where")
    @app_commands.describe(
        what="which; nsfw: with its systems; everything: all that is set there",
        choice="where; shares are the server's (default: this server)",
        role="with shares alone: whose; empty: all shares",
    )
    async def clear(
        self,
        interaction: discord.Interaction,
        what: What,
        choice: Where = "this server",
        role: discord.Role | None = None,
    ) -> None:
        """One setting, or all of them."""
        await interaction.response.defer(ephemeral=True, thinking=True)
        editor = await self.editor(interaction)
        if role and what != "shares":
            raise RoleHasSharesAlone()
        scope = _scope(interaction, "this server" if what == "shares" else choice)
        share = f"{SHARE}:{_who(role)}:" if role else f"{SHARE}:"
        prefix = {"everything": "", "shares": share}.get(what, what)
        await self._answer(interaction, scope, await self.bot.rulebook.clear(editor, scope, prefix))

    @app_commands.command(description="Take the last change of this server's settings back.")
    async def undo(self, interaction: discord.Interaction) -> None:
        """Again takes back the one before."""
        await interaction.response.defer(ephemeral=True, thinking=True)
        back = await self.bot.rulebook.undo(await self.editor(interaction))
        lines = [say("undone", {"where": where(back.scope)}), *(f"- {change_in_words(each)}" for each in back.changes)]
        await interaction.followup.send(fitting(lines), ephemeral=True)

    @app_commands.command(description="What holds in this channel, and where each of it was set.")
    async def show(self, interaction: discord.Interaction) -> None:
        """The settings here."""
        await interaction.response.defer(ephemeral=True, thinking=True)
        await self.editor(interaction)
        place = place_of_interaction(interaction)
        layers = await self.bot.rulebook.layers(place)
        paused, holding = await self.bot.queue.paused(), holding_scopes(place.guild or "", place.channel, place.parent)
        page = settings_page(
            Shown(
                place=where(channel_scope(place.channel)),
                layers=layers,
                rules=combined(layers),
                table=self.bot.gate.table,
                roles=tuple(str(role.id) for role in interaction.guild.roles) if interaction.guild else (),
                paused=tuple(scope for scope in place.scopes if scope in paused and scope in holding),
            )
        )
        await interaction.followup.send(page, ephemeral=True)

    @app_commands.command(description="Who changed what, and when.")
    async def audit(self, interaction: discord.Interaction) -> None:
        """The bot's owner sees beside it what was done to all servers."""
        await interaction.response.defer(ephemeral=True, thinking=True)
        editor = await self.editor(interaction)
        changes = await self.bot.rulebook.history(editor.guild)
        if await self.bot.is_owner(interaction.user):
            changes = sorted([*changes, *await self.bot.rulebook.history(None)], key=_age)
        await interaction.followup.send(audit_page(changes[:AUDITED]), ephemeral=True)

    async def _answer(self, interaction: discord.Interaction, scope: str, change: Change | None) -> None:
        if change is None:
            await interaction.followup.send(say("nothing_changed", {"where": where(scope)}), ephemeral=True)
            return
        lines = [f"- {change_in_words(each)}" for each in change.changes]
        page = fitting([say("changed", {"where": where(scope)}), *lines, f"-# {say('how_to_undo')}"])
        await interaction.followup.send(page, ephemeral=True)


def _age(change: Change) -> int:
    return -int(change.at_ms)


def _scope(interaction: discord.Interaction, choice: Where) -> str:
    channel = choice == "this channel"
    return channel_scope(str(interaction.channel_id)) if channel else guild_scope(str(interaction.guild_id))


def _who(role: discord.Role | None) -> str:
    """Under which name a share is kept. `@everyone` is everyone."""
    return EVERYONE if role is None or role.is_default() else str(role.id)


def _edited(options: Options) -> Mapping[str, Any]:
    """What was given, as it is stored.

    Raises:
        NothingGiven, UnknownSystem, CannotPostThere: it cannot be set.
    """
    values: dict[str, Any] = parse(ClipRules, options).model_dump(exclude_none=True)
    for name in ("systems", "nsfw_systems"):
        if name in options:
            values[name] = _systems(options[name])
    room = options.get("results")
    if isinstance(room, discord.TextChannel):
        if not may_post(room.permissions_for(room.guild.me), room):
            raise CannotPostThere(channel=room.mention)
        values["results"] = str(room.id)
    if not values:
        raise NothingGiven()
    return values


def _systems(text: str) -> list[str]:
    """The systems that are named, in the order in which they are declared."""
    named = [word.lower().lstrip("/") for word in re.split(r"[\s,]+", text.strip()) if word]
    strange = [name for name in named if name not in BY_SYSTEM]
    if strange or not named:
        raise UnknownSystem(named=", ".join(strange)[:100] or text, known=", ".join(BY_SYSTEM))
    return [name for name in BY_SYSTEM if name in named]
