"""A small real bot on discord.py, one command for each thing to be proved.

In a process of its own: `python -m tests.discord_server.example_bot REST-BASE GATEWAY TOKEN`.
"""

from __future__ import annotations

import io
import sys
from typing import Any

import discord
import yarl
from discord import app_commands, ui
from discord.gateway import DiscordWebSocket


def point_at(api: str, gateway: str) -> None:
    """What any discord.py bot needs for a Discord other than discord.com.

    The gateway is asked for at login, but after a lost session discord.py goes to DEFAULT_GATEWAY without asking.
    """
    discord.http.Route.BASE = api
    DiscordWebSocket.DEFAULT_GATEWAY = yarl.URL(gateway)


class Bot(discord.AutoShardedClient):
    """A small real bot; what its commands met is in `seen`."""

    def __init__(self, *, message_content: bool = False) -> None:
        intents = discord.Intents.default()
        intents.message_content = message_content
        super().__init__(intents=intents, guild_ready_timeout=0.05, enable_debug_events=True)
        self.tree = app_commands.CommandTree(self)
        self.seen: list[Any] = []
        self.errors: list[BaseException] = []
        self.tree.on_error = self._on_error  # type: ignore[method-assign]

    async def before_identify_hook(self, shard_id: int | None, *, initial: bool = False) -> None:
        """No five seconds between two IDENTIFYs: the local Discord does not limit them."""

    async def setup_hook(self) -> None:
        """Register everything."""
        add_commands(self)
        await self.tree.sync()

    async def on_message(self, message: discord.Message) -> None:
        """Keep what was said."""
        self.seen.append(message)

    async def on_resumed(self) -> None:
        """Keep that it happened."""
        self.seen.append("resumed")

    async def _on_error(self, _: discord.Interaction, error: BaseException) -> None:
        self.errors.append(getattr(error, "original", error))


class Form(ui.Modal, title="Animate"):
    """A text, a choice and a file."""

    prompt = ui.Label(text="Prompt", component=ui.TextInput(custom_id="prompt", default="slowly"))
    system = ui.Label(
        text="System",
        component=ui.Select(
            custom_id="system",
            options=[discord.SelectOption(label="SVD", value="svd", default=True), discord.SelectOption(label="Rife")],
        ),
    )
    files = ui.Label(text="Files", component=ui.FileUpload(custom_id="files", required=False, max_values=2))

    async def on_submit(self, interaction: discord.Interaction) -> None:
        """Say what came."""
        names = [file.filename for file in self.files.component.values]  # type: ignore[attr-defined]
        said = f"{self.prompt.component.value} {self.system.component.values} {names}"  # type: ignore[attr-defined]
        await interaction.response.send_message(said, ephemeral=True)


class Board(ui.LayoutView):
    """Components V2: a text, the clip, a button."""

    def __init__(self, file: str) -> None:
        super().__init__(timeout=None)
        self.add_item(ui.Container(ui.TextDisplay("Your clip"), ui.MediaGallery(discord.MediaGalleryItem(file))))
        button: ui.Button[Board] = ui.Button(label="Again", custom_id="again:1")
        button.callback = self.again
        self.add_item(ui.ActionRow(button))

    async def again(self, interaction: discord.Interaction) -> None:
        """Say who pressed."""
        await interaction.response.send_message(f"again by {interaction.user.name}", ephemeral=True)


class Picker(ui.View):
    """A select and a button that is too late."""

    @ui.select(placeholder="system", options=[discord.SelectOption(label=each) for each in ("SVD", "Rife")])
    async def chosen(self, interaction: discord.Interaction, select: ui.Select[Picker]) -> None:
        """First "thinking" without words, then the message itself changes."""
        await interaction.response.defer()
        await interaction.edit_original_response(content=select.values[0], view=None)

    @ui.button(label="gone", disabled=True)
    async def gone(self, interaction: discord.Interaction, button: ui.Button[Picker]) -> None:
        """Never."""


def add_commands(bot: Bot) -> None:
    """A command for each thing to be proved."""

    @bot.tree.command()
    async def look(
        interaction: discord.Interaction, image: discord.Attachment, motion: app_commands.Range[int, 1, 255] = 127
    ) -> None:
        """Read a picture, deferred and ephemeral."""
        await interaction.response.defer(ephemeral=True)
        data = await image.read()
        await interaction.followup.send(f"{len(data)} bytes, {image.width}x{image.height}, {motion}", ephemeral=True)
        bot.seen.append(interaction)

    @bot.tree.command()
    async def slow(interaction: discord.Interaction) -> None:
        """Answer when told."""
        bot.seen.append(interaction)

    @bot.tree.command()
    async def form(interaction: discord.Interaction) -> None:
        """Open a form."""
        await interaction.response.send_modal(Form())

    @bot.tree.command()
    async def board(interaction: discord.Interaction) -> None:
        """Post components with a file."""
        file = discord.File(io.BytesIO(b"clip"), "clip.mp4")
        await interaction.response.send_message(view=Board("attachment://clip.mp4"), file=file)

    @bot.tree.command()
    async def system(interaction: discord.Interaction, name: str) -> None:
        """Complete a name."""
        await interaction.response.send_message(name)

    @system.autocomplete("name")
    async def names(_: discord.Interaction, typed: str) -> list[app_commands.Choice[str]]:
        return [app_commands.Choice(name=each, value=each) for each in ("svd", "svd_xt", "rife") if typed in each]

    @bot.tree.command()
    async def pick(interaction: discord.Interaction) -> None:
        """Offer a select menu, whose choice replaces the message."""
        await interaction.response.send_message("which?", view=Picker())

    queue = app_commands.Group(name="queue", description="the queue", default_permissions=discord.Permissions(1 << 13))

    @queue.command()
    async def cancel(interaction: discord.Interaction, whose: discord.Member, where: discord.TextChannel) -> None:
        """Take part of somebody's."""
        await interaction.response.send_message(f"{whose.name} {where.name}", ephemeral=True)

    bot.tree.add_command(queue)

    @bot.tree.context_menu(name="Animate…")
    async def animate(interaction: discord.Interaction, message: discord.Message) -> None:
        await interaction.response.send_message(f"{message.content} {message.attachments[0].filename}", ephemeral=True)


def main() -> None:
    """Run until killed."""
    api, gateway, token = sys.argv[1:]
    point_at(api, gateway)
    Bot().run(token, log_handler=None)


if __name__ == "__main__":
    main()
