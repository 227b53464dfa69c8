"""Everything that starts a job by a command: one for each Request class, the front door, the message menu."""

from collections.abc import Sequence
from typing import Any, Literal

import discord
from discord import app_commands
from discord.ext.commands import Cog
from pydantic import BaseModel

from bot.asked import asked_by
from bot.attachments import NoPicture, pictures_in
from bot.client import Zoetrope
from bot.forms import AdvancedForm
from bot.gate import Asked
from bot.options import ADVANCED, Handler, Options, attached, first_line, offered, parse, shown_at_once, slash_command
from bot.suggestions import suggestions
from bot.wishes import AnimateForm, offered_here
from jobs.errors import Note
from jobs.recipe import Output
from jobs.requests import GENERATIONS, REQUESTS, Brief, Generation, Request
from jobs.requests.finish import STAMPS, Continuation, Smoothing, prepared_for

SYSTEMS = tuple(GENERATIONS)
SystemName = Literal[SYSTEMS]  # type: ignore[valid-type]
CHOICE = {"system": (SystemName, "who animates it; empty: the best that is installed")}


class Make(Cog):
    """Slash commands derived from `REQUESTS`, `/animate`, and the message menu."""

    def __init__(self, bot: Zoetrope) -> None:
        self.bot = bot
        menu = app_commands.ContextMenu(name="Animate…", callback=self.animate_message)
        systems = (self._command(request) for request in REQUESTS)
        self.starters = [self._front_door(), self._onward(), *systems, menu]

    async def cog_load(self) -> None:
        """Put them into the tree."""
        for starter in self.starters:
            self.bot.tree.add_command(starter)

    def _command(self, kind: type[Request]) -> app_commands.Command[Any, ..., None]:
        async def handle(interaction: discord.Interaction, options: Options) -> None:
            if options.get(ADVANCED):
                await interaction.response.send_modal(_advanced(self.bot, kind, options, go))
            else:
                await go(interaction, options)

        async def go(interaction: discord.Interaction, options: Options) -> None:
            await interaction.response.defer(ephemeral=True, thinking=True)
            asked = await asked_by(self.bot, interaction)
            request = parse(kind, _named(kind, options))
            others = {name: value for name, value in options.items() if name not in kind.model_fields}
            if kind.name() in STAMPS:
                others["format"] = kind.name()
            await self._start(interaction, asked, [request], {**others, **_files(options)})

        models = _models(kind)
        return slash_command(kind.name(), first_line(kind), models, handle, suggest=suggestions(self.bot, kind))

    def _front_door(self) -> app_commands.Command[Any, ..., None]:
        async def handle(interaction: discord.Interaction, options: Options) -> None:
            await interaction.response.defer(ephemeral=True, thinking=True)
            asked = await asked_by(self.bot, interaction)
            choice = await self.bot.intake.choose(parse(Brief, _named(Brief, options)), options.get("system"), asked)
            await self._start(interaction, asked, [choice.request], options, choice.said)

        return slash_command("animate", "Make a picture move.", (Brief, Smoothing, Output), handle, CHOICE)

    def _onward(self) -> app_commands.Command[Any, ..., None]:
        async def handle(interaction: discord.Interaction, options: Options) -> None:
            await interaction.response.defer(ephemeral=True, thinking=True)
            asked = await asked_by(self.bot, interaction)
            onward = parse(Continuation, _named(Continuation, options))
            choice = await self.bot.intake.choose(onward.brief, options.get("system"), asked)
            await self._start(interaction, asked, onward.steps(choice.request), options, choice.said)

        models = (Continuation, Smoothing, Output)
        return slash_command("continue", "Let a clip go on from its last frame.", models, handle, CHOICE)

    async def _start(
        self,
        interaction: discord.Interaction,
        asked: Asked,
        steps: Sequence[Request],
        options: Options,
        said: Sequence[Note] = (),
    ) -> None:
        output = parse(Output, options)
        steps = prepared_for(output.format, [*steps, *parse(Smoothing, options).steps()])
        prepared = await self.bot.intake.prepare(asked, steps, _files(options), output, said)
        await self.bot.confirm.start(self.bot, interaction, [prepared])

    async def animate_message(self, interaction: discord.Interaction, message: discord.Message) -> None:
        """The message menu: a form filled with defaults, and then a job for each picture in the message."""
        pictures = pictures_in(message)
        if not pictures:
            raise NoPicture()
        form = AnimateForm(self.bot, pictures, *await offered_here(self.bot, interaction))
        await interaction.response.send_modal(form)


def _advanced(bot: Zoetrope, kind: type[Request], options: Options, go: Handler) -> AdvancedForm:
    """The form with what the command does not show; it goes on with the options that were chosen there."""
    everything = offered(*_models(kind))
    left = [name for name in everything if name not in shown_at_once(everything)]
    chosen = {name: value for name, value in options.items() if name != ADVANCED}
    return AdvancedForm(bot, kind, left, lambda interaction, typed: go(interaction, {**chosen, **typed}))


def _models(kind: type[Request]) -> tuple[type[BaseModel], ...]:
    """What a system's command offers beside its own options: a stamp has one format, and no clip is finished twice."""
    if kind.name() in STAMPS:
        return (kind,)
    return (Smoothing, kind, Output) if issubclass(kind, Generation) else (kind, Output)


def _files(options: Options) -> dict[str, discord.Attachment]:
    """What was attached, by its option's name."""
    return {name: value for name, value in options.items() if isinstance(value, discord.Attachment)}


def _named(model: type[BaseModel], options: Options) -> dict[str, Any]:
    """Options as the model takes them: an attachment by the name under which the recipe will know it."""
    fields = offered(model)
    return {key: key if key in fields and attached(fields[key]) else value for key, value in options.items()}
