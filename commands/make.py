"""Everything that starts a job by a command: one for each Request class, the front door, the message menu."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, get_args

import discord
from discord import app_commands
from discord.ext.commands import Cog
from discord.ui import Label, Select, TextInput
from pydantic import BaseModel

from bot.asked import asked_by, place_of_interaction
from bot.attachments import NoPicture, pictures_in
from bot.client import Zoetrope
from bot.forms import Form
from bot.gate import Asked
from bot.options import Options, attached, bounds, offered, parse, slash_command
from jobs.errors import Note, Refusal
from jobs.queue import REDIS_AWAY
from jobs.recipe import Format, Output
from jobs.record import Submission
from jobs.requests import GENERATIONS, REQUESTS, Brief, Generation, Request
from jobs.requests.finish import STAMPS, Smoothing, prepared_for
from jobs.workers import best_system

SYSTEMS = tuple(GENERATIONS)
SystemName = Literal[SYSTEMS]  # type: ignore[valid-type]


def first_line(request: type[Request]) -> str:
    """The first line of the class docstring: what people read under the command's name."""
    return (request.__doc__ or request.name()).splitlines()[0]


class Make(Cog):
    """Slash commands derived from `REQUESTS`, `/animate`, and the message menu."""

    def __init__(self, bot: Zoetrope) -> None:
        self.bot = bot
        menu = app_commands.ContextMenu(name="Animate…", callback=self.animate_message)
        self.starters = [self._front_door(), *(self._command(request) for request in REQUESTS), menu]

    async def cog_load(self) -> None:
        """Put them into the tree."""
        for starter in self.starters:
            self.bot.tree.add_command(starter)

    def _command(self, kind: type[Request]) -> app_commands.Command[Any, ..., None]:
        async def handle(interaction: discord.Interaction, options: Options) -> None:
            await interaction.response.defer(ephemeral=True, thinking=True)
            asked = await asked_by(self.bot, interaction)
            request = parse(kind, _named(kind, options))
            others = {name: value for name, value in options.items() if name not in kind.model_fields}
            if kind.name() in STAMPS:
                others["format"] = kind.name()
            await self._start(interaction, asked, request, {**others, **_files(options)})

        models = _models(kind)
        return slash_command(kind.name(), first_line(kind), models, handle)

    def _front_door(self) -> app_commands.Command[Any, ..., None]:
        async def handle(interaction: discord.Interaction, options: Options) -> None:
            await interaction.response.defer(ephemeral=True, thinking=True)
            asked = await asked_by(self.bot, interaction)
            choice = await self.bot.intake.choose(parse(Brief, _named(Brief, options)), options.get("system"), asked)
            await self._start(interaction, asked, choice.request, options, choice.said)

        extra = {"system": (SystemName, "who animates it; empty: the best that is installed")}
        return slash_command("animate", "Make a picture move.", (Brief, Smoothing, Output), handle, extra)

    async def _start(
        self,
        interaction: discord.Interaction,
        asked: Asked,
        request: Request,
        options: Options,
        said: Sequence[Note] = (),
    ) -> None:
        output = parse(Output, options)
        steps = prepared_for(output.format, [request, *parse(Smoothing, options).steps()])
        prepared = await self.bot.intake.prepare(asked, steps, _files(options), output, said)
        await self.bot.confirm.start(self.bot, interaction, [prepared])

    async def _offered(self, interaction: discord.Interaction) -> tuple[Mapping[str, tuple[str, ...]], Format]:
        """Installed systems that are allowed here, and the usual format, if Redis says so at once.

        A form has three seconds to open, and can offer everything.
        """
        try:
            async with asyncio.timeout(1):
                installed = await self.bot.workers.installed()
                rules = await self.bot.gate.rules(place_of_interaction(interaction))
        except (TimeoutError, *REDIS_AWAY):
            return {}, "mp4"
        return {name: weights for name, weights in installed.items() if rules.allows(name)}, rules.format or "mp4"

    async def animate_message(self, interaction: discord.Interaction, message: discord.Message) -> None:
        """The message menu: a form filled with defaults, and then a job for each picture in the message."""
        pictures = pictures_in(message)
        if not pictures:
            raise NoPicture()
        installed, usual = await self._offered(interaction)
        await interaction.response.send_modal(AnimateForm(self.bot, pictures, installed, usual))


def _models(kind: type[Request]) -> tuple[type[BaseModel], ...]:
    """What a system's command offers beside its own options: a stamp has one format, and no clip is finished twice."""
    if kind.name() in STAMPS:
        return (kind,)
    return (Smoothing, kind, Output) if issubclass(kind, Generation) else (kind, Output)


def _files(options: Options) -> dict[str, discord.Attachment]:
    """What was attached, by its option's name."""
    return {name: value for name, value in options.items() if isinstance(value, discord.Attachment)}


def _named(model: type[Brief] | type[Request], options: Options) -> dict[str, Any]:
    """Options as the model takes them: an attachment by the name under which the recipe will know it."""
    fields = offered(model)
    return {key: key if key in fields and attached(fields[key]) else value for key, value in options.items()}


class AnimateForm(Form):
    """The brief as a form. Five components are Discord's limit; each is filled with its default."""

    def __init__(
        self,
        bot: Zoetrope,
        pictures: Sequence[discord.Attachment],
        installed: Mapping[str, tuple[str, ...]],
        usual: Format,
    ) -> None:
        super().__init__(bot, "Animate")
        self.pictures = pictures
        self.system = _system_select(dict(installed))
        self.motion = _number("motion", "127")
        self.seconds = _number("seconds", "")
        self.seed = _number("seed", "")
        self.format = Select[Any](
            options=[discord.SelectOption(label=kind, default=kind == usual) for kind in get_args(Format)],
            custom_id="format",
        )
        fields = Brief.model_fields
        self.add_item(Label(text="system", description="who animates it", component=self.system))
        for name in ("motion", "seconds", "seed"):
            self.add_item(Label(text=name, description=fields[name].description, component=getattr(self, name)))
        self.add_item(Label(text="format", description="the file that comes back", component=self.format))

    async def on_submit(self, interaction: discord.Interaction, /) -> None:
        """One job for each picture."""
        await interaction.response.defer(ephemeral=True, thinking=True)
        values = {name: getattr(self, name).value.strip() for name in ("motion", "seconds", "seed")}
        brief = parse(Brief, {name: value for name, value in values.items() if value})
        output = parse(Output, {"format": self.format.values[0]})
        asked = await asked_by(self.bot, interaction)
        choice = await self.bot.intake.choose(brief, self.system.values[0], asked)
        await start_each(self.bot, interaction, asked, choice.request, self.pictures, output)


def _system_select(installed: dict[str, tuple[str, ...]]) -> Select[Any]:
    best = best_system(installed)
    preferred = best.name() if best else SYSTEMS[0]
    options = [
        discord.SelectOption(label=kind.name(), description=first_line(kind)[:100], default=kind.name() == preferred)
        for kind in GENERATIONS.values()
        if kind.name() in installed or not installed
    ]
    return Select(options=options, custom_id="system")


def _number(name: str, default: str) -> TextInput[Any]:
    low, high = bounds(Brief.model_fields[name])
    return TextInput(
        custom_id=name,
        default=default or None,
        placeholder=f"{low} to {high}" if high is not None else None,
        required=False,
        max_length=12,
    )


async def start_each(
    bot: Zoetrope,
    interaction: discord.Interaction,
    asked: Asked,
    request: Request,
    pictures: Sequence[discord.Attachment],
    output: Output,
) -> None:
    """A job for each picture, the first under the interaction's own id. A refused picture does not stop the others."""
    most = bot.limits.pictures_per_message
    said = too_many(pictures, most)
    prepared: list[Submission] = []
    for index, picture in enumerate(pictures[:most]):
        own = asked if index == 0 else replace(asked, id=f"{asked.id}-{index}")
        step = request if index == 0 else request.again()
        try:
            steps = prepared_for(output.format, [step])
            prepared.append(await bot.intake.prepare(own, steps, {"image": picture}, output, said))
        except Refusal as refusal:
            if len(pictures) == 1:
                raise
            await bot.answer_error(interaction, refusal)
    if prepared:
        await bot.confirm.start(bot, interaction, prepared)


def too_many(pictures: Sequence[discord.Attachment], most: int) -> tuple[Note, ...]:
    """What to say where a message holds more pictures than one may start at once."""
    return (Note("too_many_pictures", {"most": most, "count": len(pictures)}),) if len(pictures) > most else ()
