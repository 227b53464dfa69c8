"""`/preset`: keep the options of a clip under a name, and use them on something else."""

from __future__ import annotations

import discord
from discord import app_commands
from discord.app_commands import Choice, Group
from discord.ext.commands import Cog

from bot.about import fitting
from bot.asked import asked_by, visible_job
from bot.buttons import moderates
from bot.client import Zoetrope
from jobs.errors import Refusal
from jobs.presets import Preset, Presets
from jobs.queue import NoSuchJob
from jobs.record import Job
from jobs.texts import say


class NothingToSave(Refusal):
    """This person made nothing lately."""

    code = "nothing_to_save"


class WantsSource(Refusal):
    """The preset takes a picture, a clip or a sound that was not given."""

    code = "preset_wants"


class OnlyInServer(Refusal):
    """A direct message has nobody to share with."""

    code = "only_in_server"


def mine(interaction: discord.Interaction) -> str:
    """The person as an owner of presets."""
    return f"person:{interaction.user.id}"


def server(interaction: discord.Interaction) -> str:
    """Its id.

    Raises:
        OnlyInServer: there is none.
    """
    if interaction.guild_id is None:
        raise OnlyInServer()
    return str(interaction.guild_id)


def ours(interaction: discord.Interaction) -> str:
    """The server as an owner of presets.

    Raises:
        OnlyInServer: there is none.
    """
    return f"guild:{server(interaction)}"


class PresetCog(Cog, name="Presets"):
    """Five verbs over one small book."""

    preset = Group(name="preset", description="Options under a name, to be used again.")

    def __init__(self, bot: Zoetrope) -> None:
        self.bot = bot
        self.presets = Presets(bot.redis)

    @preset.command(name="save", description="Keep the options of a job under a name; by default of your newest one.")
    @app_commands.describe(name="what to call it", job="the id that Info shows; empty: your newest job")
    async def save(self, interaction: discord.Interaction, name: str, job: str | None = None) -> None:
        """Sources and seeds stay behind: every use has new ones."""
        await interaction.response.defer(ephemeral=True, thinking=True)
        recipe = (await self._job(interaction, job)).submission.recipe
        preset = Preset.of(name, recipe)
        await self.presets.save(mine(interaction), preset)
        await interaction.followup.send(say("preset_saved", {"name": preset.name, "title": preset.title}))

    @preset.command(name="use", description="Make a clip with a preset of yours or of this server.")
    @app_commands.describe(
        name="which one", image="the picture, where it takes one", clip="the video or GIF, where it takes one",
        sound="the sound, where it takes one", second="the clip that comes second, where it takes two",
    )  # fmt: skip
    async def use(
        self,
        interaction: discord.Interaction,
        name: str,
        image: discord.Attachment | None = None,
        clip: discord.Attachment | None = None,
        sound: discord.Attachment | None = None,
        second: discord.Attachment | None = None,
    ) -> None:
        """New seeds, and what was attached in the places of the old sources."""
        await interaction.response.defer(ephemeral=True, thinking=True)
        preset = await self._find(interaction, name)
        given = {
            "image": [("a picture", image)],
            "clip": [("a clip", clip), ("a second clip", second)],
            "sound": [("a sound", sound)],
        }
        files: dict[str, discord.Attachment] = {}
        for source, kind in preset.wanted.items():
            what, attachment = given[kind].pop(0) if given[kind] else ("more than this command can take", None)
            if attachment is None:
                raise WantsSource(name=preset.name, what=what)
            files[source] = attachment
        steps = [step.again() for step in preset.steps]
        prepared = await self.bot.intake.prepare(await asked_by(self.bot, interaction), steps, files, preset.output)
        await self.bot.confirm.start(self.bot, interaction, [prepared])

    @preset.command(name="list", description="Your presets, and those of this server.")
    async def list_presets(self, interaction: discord.Interaction) -> None:
        """In private."""
        await interaction.response.defer(ephemeral=True, thinking=True)
        lines = [f"- **{each.name}**: {each.title}" for each in await self.presets.all(mine(interaction))]
        shared = await self.presets.all(ours(interaction)) if interaction.guild_id else []
        lines += [say("preset_of_server", {"name": each.name, "title": each.title}) for each in shared]
        await interaction.followup.send(fitting(lines) or say("no_presets"))

    @preset.command(name="share", description="Give a preset of yours to everybody in this server.")
    @app_commands.describe(name="which one")
    async def share(self, interaction: discord.Interaction, name: str) -> None:
        """One that is there already is replaced by whoever shared it, or by moderators."""
        await interaction.response.defer(ephemeral=True, thinking=True)
        guild, person = server(interaction), str(interaction.user.id)
        preset = await self.presets.get(name, mine(interaction))
        await self.presets.share(preset, person, guild, moderates=moderates(interaction))
        await interaction.followup.send(say("preset_shared", {"name": preset.name}))

    @preset.command(name="delete", description="Take a preset away.")
    @app_commands.describe(name="which one", shared="one that you shared with this server; for moderators any of them")
    async def delete(self, interaction: discord.Interaction, name: str, shared: bool = False) -> None:
        """One's own, or one of the server's that one shared; moderators any of those."""
        await interaction.response.defer(ephemeral=True, thinking=True)
        if shared:
            guild, person = server(interaction), str(interaction.user.id)
            await self.presets.unshare(name, person, guild, moderates=moderates(interaction))
        else:
            await self.presets.delete(mine(interaction), name)
        await interaction.followup.send(say("preset_deleted", {"name": name[:40]}))

    @save.autocomplete("name")
    @use.autocomplete("name")
    @share.autocomplete("name")
    @delete.autocomplete("name")
    async def names(self, interaction: discord.Interaction, typed: str) -> list[Choice[str]]:
        """Names that begin, or go on, with what was typed."""
        found = await self.presets.all(mine(interaction))
        found += await self.presets.all(ours(interaction)) if interaction.guild_id else []
        names = dict.fromkeys(each.name for each in found if typed.lower() in each.name.lower())
        return [Choice(name=name, value=name) for name in names][:25]

    async def _find(self, interaction: discord.Interaction, name: str) -> Preset:
        owners = [mine(interaction), *([ours(interaction)] if interaction.guild_id else [])]
        return await self.presets.get(name, *owners)

    async def _job(self, interaction: discord.Interaction, job_id: str | None) -> Job:
        if job_id:
            return await visible_job(self.bot, interaction, job_id)
        for each in await self.bot.intake.sources.retention.history(str(interaction.user.id)):
            try:
                return await self.bot.queue.job(each)
            except NoSuchJob:
                continue
        raise NothingToSave()
