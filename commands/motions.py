"""`/motion`: what `/learnmotion` taught, to be listed, shared and taken away."""

from __future__ import annotations

import discord
from discord import app_commands
from discord.app_commands import Choice, Group
from discord.ext.commands import Cog

from bot.about import fitting
from bot.buttons import moderates
from bot.client import Zoetrope
from bot.sources import Bringer
from commands.presets import mine, ours, server
from jobs.errors import Refusal
from jobs.motions import Motion, TooManyMotions
from jobs.owned import MOST
from jobs.texts import say


class NothingLearned(Refusal):
    """The job is none of this person's, or learned nothing."""

    code = "nothing_learned"


class MotionCog(Cog, name="Motions"):
    """Five verbs over one small book."""

    motion = Group(name="motion", description="Motions that you taught with /learnmotion.")

    def __init__(self, bot: Zoetrope) -> None:
        self.bot = bot
        self.motions = bot.intake.motions

    @motion.command(name="list", description="Your motions, and those of this server.")
    async def list_motions(self, interaction: discord.Interaction) -> None:
        """In private."""
        await interaction.response.defer(ephemeral=True, thinking=True)
        lines = [say("motion_line", _facts(each)) for each in await self.motions.all(mine(interaction))]
        shared = await self.motions.all(ours(interaction)) if interaction.guild_id else []
        lines += [say("motion_line_of_server", _facts(each)) for each in shared]
        await interaction.followup.send(fitting(lines) or say("no_motions"))

    @motion.command(name="share", description="Give a motion of yours to everybody in this server.")
    @app_commands.describe(name="which one")
    async def share(self, interaction: discord.Interaction, name: str) -> None:
        """One that is there already is replaced by whoever shared it, or by moderators."""
        await interaction.response.defer(ephemeral=True, thinking=True)
        guild, person = server(interaction), str(interaction.user.id)
        motion = await self.motions.share(name, person, guild, moderates=moderates(interaction))
        await interaction.followup.send(say("motion_shared", {"name": motion.name}))

    @motion.command(name="unshare", description="Take a motion back that you shared with this server.")
    @app_commands.describe(name="which one; for moderators any of them")
    async def unshare(self, interaction: discord.Interaction, name: str) -> None:
        """One that one shared; moderators any of the server's."""
        await interaction.response.defer(ephemeral=True, thinking=True)
        guild, person = server(interaction), str(interaction.user.id)
        await self.motions.unshare(name, person, guild, moderates=moderates(interaction))
        await interaction.followup.send(say("motion_unshared", {"name": name[:40]}))

    @motion.command(name="delete", description="Take a motion of yours away.")
    @app_commands.describe(name="which one")
    async def delete(self, interaction: discord.Interaction, name: str) -> None:
        """One's own."""
        await interaction.response.defer(ephemeral=True, thinking=True)
        await self.motions.delete(mine(interaction), name)
        await interaction.followup.send(say("motion_deleted", {"name": name[:40]}))

    @motion.command(name="keep", description="Keep what a job of yours learned, where there was no room, or once more.")
    @app_commands.describe(job="the id that Info shows")
    async def keep(self, interaction: discord.Interaction, job: str) -> None:
        """As long as the job's files are there."""
        await interaction.response.defer(ephemeral=True, thinking=True)
        person = str(interaction.user.id)
        found = await self.bot.queue.job(job.strip()[:24])
        motion = Motion.of(found)
        if motion is None or motion.by != person:
            raise NothingLearned()
        await self.bot.intake.sources.motion(Bringer(str(interaction.id), person), motion)
        match await self.motions.keep(found, again=True):
            case "kept" | "replaced":
                await interaction.followup.send(say("motion_kept_now", {"name": motion.name}))
            case "full":
                raise TooManyMotions(most=MOST)
            case _:
                raise NothingLearned()

    @share.autocomplete("name")
    @delete.autocomplete("name")
    async def own_names(self, interaction: discord.Interaction, typed: str) -> list[Choice[str]]:
        """Names of one's own that hold what was typed."""
        return _choices(await self.motions.all(mine(interaction)), typed)

    @unshare.autocomplete("name")
    async def names_of_server(self, interaction: discord.Interaction, typed: str) -> list[Choice[str]]:
        """Names of the server's that hold what was typed."""
        return _choices(await self.motions.all(ours(interaction)) if interaction.guild_id else [], typed)


def _choices(motions: list[Motion], typed: str) -> list[Choice[str]]:
    names = [each.name for each in motions if typed.strip().casefold() in each.name.casefold()]
    return [Choice(name=name, value=name) for name in names][:25]


def _facts(motion: Motion) -> dict[str, str | int]:
    size = f"{motion.size_bytes / 1e6:.0f} MB"
    return {"name": motion.name, "module": motion.module, "size": size, "made": motion.made_ms // 1000}
