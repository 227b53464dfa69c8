"""`/help`: what there is, derived from what is declared."""

import discord
from discord import app_commands
from discord.ext.commands import Cog

from bot.client import Zoetrope
from commands.make import first_line
from jobs.requests import REQUESTS


class Help(Cog):
    """One private page."""

    def __init__(self, bot: Zoetrope) -> None:
        self.bot = bot

    @app_commands.command(name="help", description="How to make pictures move here.")
    async def help(self, interaction: discord.Interaction) -> None:
        """Answer in private."""
        await interaction.response.defer(ephemeral=True, thinking=True)
        installed = await self.bot.workers.installed()
        await interaction.followup.send(page(installed, self.bot.user), ephemeral=True)


def page(installed: dict[str, tuple[str, ...]], me: discord.ClientUser | None) -> str:
    """The help page as text."""
    there = [kind for kind in REQUESTS if kind.name() in installed]
    missing = [kind.name() for kind in REQUESTS if kind.name() not in installed]
    lines = [f"- `/{kind.name()}` {first_line(kind)}" for kind in there]
    if missing:
        lines.append(f"- *Not installed here:* {', '.join(f'`/{name}`' for name in missing)}")
    systems = "\n".join(lines)
    mention = me.mention if me else "@Zoetrope"
    return (
        "**I make pictures move.** Ways to ask:\n"
        "- `/animate` with a picture: the best system that is installed.\n"
        "- `/storyboard`: reply to my message with pictures, and one clip passes through all of them.\n"
        "- Right-click a message with a picture (on a phone: hold it), **Apps → Animate…**\n"
        f"- Reply to a picture with {mention}, with options if you like: {mention} `motion 180 seconds 3`\n\n"
        f"**Systems**\n{systems}\n\n"
        "Under every clip: **Again** makes it with a new seed, **Delete** takes it away. "
        "**Cancel** stops a job of yours. "
        "I read only the pictures and messages you point me at."
    )
