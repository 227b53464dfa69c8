"""A wish as a form: from a message's pictures, or from a clip that is to go on."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, get_args

import discord
from discord.ui import Label, Select, TextInput

from bot.asked import asked_by, place_of_interaction
from bot.attachments import first_clip
from bot.forms import Form
from bot.gate import Asked
from bot.options import bounds, first_line, parse
from jobs.errors import Note, Refusal
from jobs.queue import REDIS_AWAY
from jobs.recipe import Format, Output
from jobs.record import Submission
from jobs.requests import GENERATIONS, Brief, Request
from jobs.requests.base import Wish
from jobs.requests.finish import Continuation, prepared_for
from jobs.workers import best_system

if TYPE_CHECKING:
    from bot.client import Zoetrope


class WishForm(Form):
    """A wish as a form. Five components are Discord's limit; each is filled with its default."""

    def __init__(self, bot: Zoetrope, title: str, installed: Mapping[str, tuple[str, ...]], usual: Format) -> None:
        super().__init__(bot, title)
        self.system = _system_select(dict(installed))
        self.motion = _number("motion", "127")
        self.seconds = _number("seconds", "")
        self.seed = _number("seed", "")
        self.format = Select[Any](
            options=[discord.SelectOption(label=kind, default=kind == usual) for kind in get_args(Format)],
            custom_id="format",
        )
        fields = Wish.model_fields
        self.add_item(Label(text="system", description="who animates it", component=self.system))
        for name in ("motion", "seconds", "seed"):
            self.add_item(Label(text=name, description=fields[name].description, component=getattr(self, name)))
        self.add_item(Label(text="format", description="the file that comes back", component=self.format))

    @property
    def wish(self) -> dict[str, str]:
        """What was typed, by the wish's fields.

        The form has no field for a prompt: it would take the place of one that every system knows.
        """
        values = {name: getattr(self, name).value.strip() for name in ("motion", "seconds", "seed")}
        return {name: value for name, value in values.items() if value}

    @property
    def output(self) -> Output:
        """The format that was chosen."""
        return parse(Output, {"format": self.format.values[0]})


class AnimateForm(WishForm):
    """What to make of the pictures in a message."""

    def __init__(
        self,
        bot: Zoetrope,
        pictures: Sequence[discord.Attachment],
        installed: Mapping[str, tuple[str, ...]],
        usual: Format,
    ) -> None:
        super().__init__(bot, "Animate", installed, usual)
        self.pictures = pictures

    async def on_submit(self, interaction: discord.Interaction, /) -> None:
        """One job for each picture."""
        await interaction.response.defer(ephemeral=True, thinking=True)
        asked = await asked_by(self.bot, interaction)
        choice = await self.bot.intake.choose(parse(Brief, self.wish), self.system.values[0], asked)
        await start_each(self.bot, interaction, asked, choice.request, self.pictures, self.output)


class ContinueForm(WishForm):
    """How a clip goes on."""

    def __init__(
        self, bot: Zoetrope, clip: discord.Attachment, installed: Mapping[str, tuple[str, ...]], usual: Format
    ) -> None:
        super().__init__(bot, "Continue", installed, usual)
        self.clip = clip

    async def on_submit(self, interaction: discord.Interaction, /) -> None:
        """One job: the next part, and the clip before it."""
        await interaction.response.defer(ephemeral=True, thinking=True)
        asked = await asked_by(self.bot, interaction)
        onward, output = parse(Continuation, self.wish), self.output
        choice = await self.bot.intake.choose(onward.brief, self.system.values[0], asked)
        steps = prepared_for(output.format, onward.steps(choice.request))
        prepared = await self.bot.intake.prepare(asked, steps, {"clip": self.clip}, output, choice.said)
        await self.bot.confirm.start(self.bot, interaction, [prepared])


async def open_continue(bot: Zoetrope, interaction: discord.Interaction, message: discord.Message) -> None:
    """Show the form for the first clip of a message.

    Raises:
        NoClip: there is none.
    """
    clip = first_clip(message)
    await interaction.response.send_modal(ContinueForm(bot, clip, *await offered_here(bot, interaction)))


async def offered_here(bot: Zoetrope, interaction: discord.Interaction) -> tuple[Mapping[str, tuple[str, ...]], Format]:
    """Installed systems that are allowed here, and the usual format, if Redis says so at once.

    A form has three seconds to open, and can offer everything.
    """
    try:
        async with asyncio.timeout(1):
            installed = await bot.workers.installed()
            rules = await bot.gate.rules(place_of_interaction(interaction))
    except (TimeoutError, *REDIS_AWAY):
        return {}, "mp4"
    return {name: weights for name, weights in installed.items() if rules.allows(name)}, rules.format or "mp4"


def _system_select(installed: dict[str, tuple[str, ...]]) -> Select[Any]:
    best = best_system(installed)
    preferred = best.name() if best else next(iter(GENERATIONS))
    options = [
        discord.SelectOption(label=kind.name(), description=first_line(kind)[:100], default=kind.name() == preferred)
        for kind in GENERATIONS.values()
        if kind.name() in installed or not installed
    ]
    return Select(options=options, custom_id="system")


def _number(name: str, default: str) -> TextInput[Any]:
    low, high = bounds(Wish.model_fields[name])
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
