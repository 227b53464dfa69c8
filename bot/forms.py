"""Forms about a clip that is there: finish it, or make it once more with other options."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, get_args

import discord
from discord.ui import Label, Modal, Select, TextInput
from pydantic import BaseModel

from bot.asked import asked_by, place_of_interaction
from bot.attachments import first_clip
from bot.options import attached, bounds, described, offered, parse, plain_type
from jobs.errors import Refusal
from jobs.queue import REDIS_AWAY
from jobs.recipe import Format, Output, Recipe
from jobs.requests import Finishing, Request
from jobs.requests.convert import ConvertRequest
from jobs.requests.finish import Finish, onto, prepared_for
from media.formats import FORMATS

if TYPE_CHECKING:
    from bot.client import Zoetrope

FORM_SECONDS = 900
FOUND = "form"
"""Marks an interaction whose form is still open here."""
LONGEST_TEXT = 4000
"""Discord's limit for a field of text, in characters."""
SHORT_TEXT = 100
"""What goes into one line."""
OWN_FIELDS = 4
"""A form has five; the last one holds all other options as text."""


class NothingToFinish(Refusal):
    """The form was sent as it came: no step was chosen, and the format is what the clip has."""

    code = "nothing_to_finish"


class BadLine(Refusal):
    """A line of the form's last field that is no `option: value` of this system."""

    code = "bad_line"


class Form(Modal):
    """Errors end in a sentence, as everywhere.

    Its `custom_id` is a new one each time: by it the library finds the form that somebody sent, and two people may have
    one of a kind open.
    """

    def __init__(self, bot: Zoetrope, title: str) -> None:
        super().__init__(title=title[:45], timeout=FORM_SECONDS)
        self.bot = bot

    async def interaction_check(self, interaction: discord.Interaction, /) -> bool:
        """Everybody may send it; from here on it answers for itself."""
        interaction.extras[FOUND] = True
        return True

    async def on_error(self, interaction: discord.Interaction, error: Exception, /) -> None:
        """Answer in private."""
        await self.bot.answer_error(interaction, error)


class FinishForm(Form):
    """What may be done to a clip, one job for the first of the clips that hang there."""

    def __init__(self, bot: Zoetrope, clip: discord.Attachment, usual: Format) -> None:
        super().__init__(bot, "Finish")
        self.clip = clip
        self.chosen = {name: _choices(Finish, name) for name in Finish.model_fields}
        self.format = _choices(Output, "format", usual)
        for name, select in self.chosen.items():
            self.add_item(_label(Finish, name, select))
        self.add_item(_label(Output, "format", self.format))

    async def on_submit(self, interaction: discord.Interaction, /) -> None:
        """The chosen steps, one after another, as one job."""
        await interaction.response.defer(ephemeral=True, thinking=True)
        finish = parse(Finish, {name: select.values[0] for name, select in self.chosen.items()})
        await start_finishing(self.bot, interaction, self.clip, finish, self.format.values[0])


async def start_finishing(
    bot: Zoetrope, interaction: discord.Interaction, clip: discord.Attachment, finish: Finish, format_: str
) -> None:
    """One job over a clip that was posted.

    Raises:
        NothingToFinish: it would come back as it is.
        Refusal: something else is in the way.
    """
    output = parse(Output, {"format": format_})
    steps = onto("clip", prepared_for(output.format, finish.steps()))
    if not steps:
        steps = [_converted(clip, output)]
    prepared = await bot.intake.prepare(await asked_by(bot, interaction), steps, {"clip": clip}, output)
    await bot.confirm.start(bot, interaction, [prepared])


def _converted(clip: discord.Attachment, output: Output) -> Finishing:
    same = FORMATS.get(output.format)
    if same and clip.filename.lower().endswith(same.suffix):
        raise NothingToFinish()
    return ConvertRequest(clip="clip")


class OptionsForm(Form):
    """Options of one system, to be changed: four fields, and all others as lines of text."""

    def __init__(self, bot: Zoetrope, title: str, kind: type[Request], values: Mapping[str, Any]) -> None:
        super().__init__(bot, title)
        self.kind = kind
        own, others = split(values)
        self.own = {name: _text(kind, name, value) for name, value in own.items()}
        for name, field in self.own.items():
            self.add_item(_label(kind, name, field))
        self.others: TextInput[Any] | None = None
        if others:
            self.others = TextInput[Any](
                custom_id="others",
                style=discord.TextStyle.paragraph,
                default="\n".join(f"{name}: {on_a_line(shown(value))}" for name, value in others.items()),
                required=False,
                max_length=LONGEST_TEXT,
            )
            self.add_item(Label(text="everything else", description="one option on each line", component=self.others))

    @property
    def typed(self) -> dict[str, str]:
        """What stands in the form, without what was left empty.

        Raises:
            BadLine: a line is no option.
        """
        typed = {name: field.value.strip() for name, field in self.own.items()}
        typed |= read_lines(self.others.value if self.others else "", self.kind)
        return {name: value for name, value in typed.items() if value}


class RemixForm(OptionsForm):
    """A recipe's leading step as it was, to be changed. What followed it follows again."""

    def __init__(self, bot: Zoetrope, recipe: Recipe) -> None:
        lead = recipe.lead
        values = {name: getattr(lead, name) for name in remixed(type(lead))}
        super().__init__(bot, f"Remix: {recipe.title}", type(lead), values)
        self.recipe = recipe

    async def on_submit(self, interaction: discord.Interaction, /) -> None:
        """The new recipe over the same sources."""
        await interaction.response.defer(ephemeral=True, thinking=True)
        recipe = remix(self.recipe, self.typed)
        prepared = await self.bot.intake.prepare_again(await asked_by(self.bot, interaction), recipe)
        await self.bot.confirm.start(self.bot, interaction, [prepared])


Go = Callable[[discord.Interaction, Mapping[str, Any]], Awaitable[None]]
"""Goes on with a command whose options are all there."""


class AdvancedForm(OptionsForm):
    """The options for which a slash command has no room. What was chosen there stays."""

    def __init__(self, bot: Zoetrope, kind: type[Request], names: Sequence[str], go: Go) -> None:
        super().__init__(
            bot, f"Advanced: {kind.name()}", kind, {name: kind.model_fields[name].default for name in names}
        )
        self.go = go

    async def on_submit(self, interaction: discord.Interaction, /) -> None:
        """The command goes on."""
        await self.go(interaction, self.typed)


async def open_finish(bot: Zoetrope, interaction: discord.Interaction, message: discord.Message) -> None:
    """Show the form for the first clip of a message.

    Raises:
        NoClip: there is none.
    """
    clip = first_clip(message)
    await interaction.response.send_modal(FinishForm(bot, clip, await usual_format(bot, interaction)))


async def usual_format(bot: Zoetrope, interaction: discord.Interaction) -> Format:
    """What clips come as in this place, if Redis says so at once: a form has three seconds to open."""
    try:
        async with asyncio.timeout(1):
            return (await bot.gate.rules(place_of_interaction(interaction))).format or "mp4"
    except (TimeoutError, *REDIS_AWAY):
        return "mp4"


def remixed(kind: type[Request]) -> list[str]:
    """The options of a system that a form can show, in the order of its command."""
    return [name for name, field in offered(kind).items() if not attached(field)]


def split(values: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What gets a field of its own, and what stands together in the last one."""
    names = list(values)
    alone = names if len(names) <= OWN_FIELDS + 1 else names[:OWN_FIELDS]
    return {name: values[name] for name in alone}, {name: values[name] for name in names if name not in alone}


def shown(value: object) -> str:
    """A value as somebody would type it; nothing for one that was left open."""
    if value is None:
        return ""
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def on_a_line(text: str) -> str:
    """Lists may be written on several lines; among other options each has one, with a comma where a line ended."""
    return re.sub(r"[\s,]*\n[\s,]*", ", ", text.strip())


def read_lines(text: str, kind: type[Request]) -> dict[str, str]:
    """`option: value` on each line.

    Raises:
        BadLine: naming the line.
    """
    values: dict[str, str] = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        found = re.fullmatch(r"(\w+)\s*[:=\s]\s*(.*)", line)
        if found is None or found[1].lower() not in remixed(kind):
            raise BadLine(line=line[:80], known=", ".join(remixed(kind)))
        values[found[1].lower()] = found[2].strip()
    return values


def remix(recipe: Recipe, values: Mapping[str, str]) -> Recipe:
    """The recipe with other options in its leading step; what is not given is the option's default.

    Raises:
        Refusal: a value does not fit.
    """
    lead = recipe.lead
    kept = {name: getattr(lead, name) for name in lead.attached() if name not in remixed(type(lead))}
    changed = parse(type(lead), {**kept, **values})
    steps = tuple(changed if step is lead else step for step in recipe.steps)
    return recipe.model_copy(update={"steps": steps})


def _label(model: type[BaseModel], name: str, component: Any) -> Label[Any]:
    return Label(text=name, description=described(name, model.model_fields[name]), component=component)


def _choices(model: type[BaseModel], name: str, chosen: str = "") -> Select[Any]:
    field = model.model_fields[name]
    options: Sequence[str] = get_args(plain_type(field))
    chosen = chosen or str(field.default)
    return Select(
        custom_id=name, options=[discord.SelectOption(label=option, default=option == chosen) for option in options]
    )


def _text(model: type[Request], name: str, value: object) -> TextInput[Any]:
    field = model.model_fields[name]
    low, high = bounds(field)
    kinds = get_args(plain_type(field))
    hint = ", ".join(map(str, kinds)) if kinds else f"{low} to {high}" if None not in (low, high) else ""
    long = isinstance(high, int) and plain_type(field) is str and high > SHORT_TEXT
    return TextInput(
        custom_id=name,
        style=discord.TextStyle.paragraph if long else discord.TextStyle.short,
        default=shown(value) or None,
        placeholder="" if long else hint[:100] or None,
        required=False,
        max_length=min(high, LONGEST_TEXT) if long else 1000,
    )
