"""Asking by a message: mention the bot beside a picture or in a reply to one, or reply to the bot with pictures."""

import logging
import re
import shlex
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cache
from typing import Any

import aiohttp
import discord
from discord.ext.commands import Cog

from bot.asked import asked_in
from bot.attachments import NoClip, NoPicture, clips_in, pictures_in
from bot.client import Zoetrope, sentence_for
from bot.options import attached, marked, offered, parse, wordy
from bot.wishes import too_many
from commands.storyboard import story_answered, take_reply
from jobs import logs
from jobs.errors import Note, Refusal
from jobs.recipe import Output
from jobs.requests import BY_SYSTEM, GENERATIONS, Brief, Generation, Request
from jobs.requests.base import Attached
from jobs.requests.finish import Smoothing, prepared_for

log = logging.getLogger(__name__)
REFUSAL_SECONDS = 60
"""A message cannot be answered in private, so a refusal is taken away again."""


class UnknownOption(Refusal):
    """A word that names no option."""

    code = "unknown_option"


class MissingValue(Refusal):
    """An option's name at the end of the text."""

    code = "missing_value"


class MoreAttachments(Refusal):
    """A system that joins several files, which a message cannot tell apart."""

    code = "more_attachments"


class CannotSeeMessage(Refusal):
    """The replied-to message is another person's, and the message-content intent is off."""

    code = "cannot_see_message"


def words_of(text: str) -> list[str]:
    """The text's words: mentions away, quotes kept together, `name=value` and `name: value` as two."""
    text = re.sub(r"<[@#][!&]?\d+>|[\u200b-\u200f\u2060\ufeff]", " ", text)
    lexer = shlex.shlex(text, posix=True)
    lexer.whitespace_split, lexer.quotes, lexer.escape, lexer.commenters = True, '"', "", ""
    try:
        words = list(lexer)
    except ValueError:  # a quote without its end
        words = text.split()
    parts: list[str] = []
    for word in words:
        if parts and parts[-1].lower() in _known(None) and word.startswith(("=", ":")):  # `seed = 7`, `seed =7`
            parts += [word[1:]] if word[1:] else []
        else:
            parts += _pair(word)
    return parts


def _pair(word: str) -> list[str]:
    """`motion=180` and `motion:` as name and value; other words as they are."""
    name, sign, value = re.fullmatch(r"(\w+)([=:])(.*)|.*", word, re.DOTALL).groups("")  # type: ignore[union-attr]
    if sign and name.lower() in _known(None):
        return [name, value] if value else [name]
    return [word]


def read_options(text: str, system: str | None) -> tuple[str | None, dict[str, str]]:
    """`svd motion 180 seconds 3` as the system's name, if one is named, and options by name.

    Raises:
        UnknownOption, MissingValue: naming the word.
    """
    words = words_of(text)
    values: dict[str, str] = {}
    if words and _bare(words[0]).lower() in BY_SYSTEM:
        system = _bare(words.pop(0)).lower()
    names = _known(system if system not in GENERATIONS else None)  # another generation's option is refused later
    if system in GENERATIONS and GENERATIONS[system].reads_prompt and (said := _up_to_a_name(words, names)):
        values["prompt"] = said
    while words:
        name = _bare(words.pop(0)).lower()
        if name not in names:
            raise UnknownOption(option=name[:50], known=", ".join(sorted(_known(system))))
        if not words:
            raise MissingValue(option=name)
        value = words.pop(0)
        if names[name]:
            value = " ".join(filter(None, (value, _up_to_a_name(words, names))))
        value = _bare(value)
        if name == "system":
            if value.lower() not in GENERATIONS:
                raise UnknownOption(option=value[:50], known=", ".join(GENERATIONS))
            system = value.lower()
        else:
            values[name] = value
    return system, values


def _bare(word: str) -> str:
    """Without the commas that people put between options."""
    return word.rstrip(",;") or word


def _up_to_a_name(words: list[str], names: Collection[str]) -> str:
    """Take the words before the next option's name."""
    taken: list[str] = []
    while words and _bare(words[0]).lower() not in names:
        taken.append(words.pop(0))
    return _bare(" ".join(taken))


def named_system(text: str) -> str | None:
    """The system that the first word names."""
    first = _bare(next(iter(words_of(text)), "")).lower()
    return first if first in BY_SYSTEM else None


@cache
def _known(system: str | None) -> Mapping[str, bool]:
    """Names that may be typed: the brief's, the output's, and the system's own (of all systems where none is named).

    Each with whether its value may be several words without quotes. Where two have one name, the brief's is meant.
    """
    if system is None:
        fields = offered(*reversed(tuple(GENERATIONS.values())), Output, Smoothing, Brief)
    elif system in GENERATIONS:
        fields = offered(GENERATIONS[system], Output, Smoothing, Brief)
    else:
        fields = offered(BY_SYSTEM[system], Output)
    typed = {name: wordy(field) for name, field in fields.items() if not attached(field)}
    return {"system": False, **typed}


def finishing_from(values: dict[str, str], kind: type[Request]) -> Request:
    """A step over one clip, with its options as typed.

    Raises:
        Refusal: an option is not this system's, or its value does not fit; or it takes more than one file.
    """
    strange = [name for name in values if name not in _known(kind.name())]
    if strange:
        raise UnknownOption(option=strange[0], known=", ".join(sorted(_known(kind.name()))))
    files = [name for name, field in kind.model_fields.items() if attached(field) and field.default is not None]
    if files != ["clip"]:
        raise MoreAttachments(system=kind.name())
    return parse(kind, values)


def names_a_motion(values: Mapping[str, str], kind: type[Generation]) -> bool:
    """Whether `motion` is one that was learned: a name, where the system takes one. A number says how much may move."""
    field = kind.model_fields.get("motion")
    typed = values.get("motion", "")
    return field is not None and marked(field, Attached) and bool(typed) and not re.fullmatch(r"[-+]?[\d.]+", typed)


def from_words(kind: type[Generation]) -> bool:
    """Whether words are enough for it."""
    return kind.reads_prompt and "image" in kind.model_fields and kind.model_fields["image"].default is None


def request_from(brief: Brief, values: dict[str, str], kind: type[Generation], *, with_picture: bool = True) -> Request:
    """The system's request: the brief translated, then the system's own options as typed.

    Raises:
        Refusal: an option is not this system's, or its value does not fit.
    """
    base = kind.from_brief(brief).model_dump()
    if not with_picture:
        base["image"] = None
    briefs = set(Brief.model_fields) - ({"motion"} if names_a_motion(values, kind) else set())
    own = {name: value for name, value in values.items() if name in kind.model_fields and name not in briefs}
    strange = [name for name in values if name not in _known(kind.name())]
    if strange:
        raise UnknownOption(option=strange[0], known=", ".join(sorted(_known(kind.name()))))
    return parse(kind, {**base, **own})


class Mention(Cog):
    """Reads messages that are meant for the bot, and no others."""

    def __init__(self, bot: Zoetrope) -> None:
        self.bot = bot

    @Cog.listener()
    async def on_message(self, message: discord.Message) -> None:
        """Discord's event; whatever goes wrong is answered, not swallowed."""
        if message.author.bot:
            return
        story = story_answered(message)
        if story is None and not await self._meant_for_us(message):
            return
        logs.job_id.set(str(message.id))
        try:
            await (take_reply(self.bot, message, story) if story else self._start(message))
        except Exception as error:  # noqa: BLE001 - the event's one net
            await self._refuse(message, error)

    async def _meant_for_us(self, message: discord.Message) -> bool:
        """A typed mention (a reply's ping alone is none), a picture in reply to us, or a picture by DM."""
        me = self.bot.user
        assert me is not None
        typed = re.search(rf"<@!?{me.id}>", message.content) is not None
        answered = message.reference.resolved if message.reference else None
        to_us = isinstance(answered, discord.Message) and answered.author.id == me.id
        by_dm = message.guild is None
        return typed or ((to_us or by_dm) and bool(pictures_in(message)))

    async def _start(self, message: discord.Message) -> None:
        finishes = named_system(message.content) not in (None, *GENERATIONS)
        files = self._files(message, finishes=finishes)
        system, values = read_options(message.content, None)
        output = parse(Output, values)
        if system and finishes:
            await self._start_each(message, [finishing_from(values, BY_SYSTEM[system])], files, output)
            return
        learned = system is not None and names_a_motion(values, GENERATIONS[system])
        brief = parse(Brief, {name: value for name, value in values.items() if not (learned and name == "motion")})
        said: tuple[Note, ...] = ()
        if system is None:
            asked = await asked_in(self.bot, message, 0)
            choice = await self.bot.intake.choose(brief, _system_of(values), asked)
            system, said = choice.request.system, choice.said
        kind = GENERATIONS[system]
        if brief.prompt and not kind.reads_prompt and not said:
            said = (Note("prompt_unread", {"system": system}),)
        request = request_from(brief, values, kind, with_picture=bool(files))
        others = {name: value for name, value in values.items() if name not in kind.model_fields}
        await self._start_each(message, [request, *parse(Smoothing, others).steps()], files, output, said)

    async def _start_each(
        self,
        message: discord.Message,
        chain: Sequence[Request],
        files: Sequence[discord.Attachment],
        output: Output,
        said: tuple[Note, ...] = (),
    ) -> None:
        """A job for each file, which the chain's first step takes; one where there is none."""
        most = self.bot.limits.pictures_per_message
        said = (*said, *too_many(files, most))
        sources = [name for _, name, kind in chain[0].named() if kind != "motion"]
        for index, file in enumerate(files[:most] or [None]):
            asked = await asked_in(self.bot, message, index)
            steps = prepared_for(output.format, [step if index == 0 else step.again() for step in chain])
            try:
                attachments = dict.fromkeys(sources, file) if file else {}
                prepared = await self.bot.intake.prepare(asked, steps, attachments, output, said)
                await self.bot.board.open(await self.bot.intake.enqueue(self.bot.confirm.noted(prepared)))
            except Refusal as refusal:
                await self._refuse(message, refusal)

    def _files(self, message: discord.Message, *, finishes: bool) -> list[discord.Attachment]:
        """Clips or pictures; none where words are enough.

        Raises:
            Refusal: there are none.
        """
        if finishes:
            return self._attached(message, clips_in, NoClip)
        system = GENERATIONS.get(named_system(message.content) or "")
        try:
            return self._attached(message, pictures_in, NoPicture)
        except NoPicture:
            if system and from_words(system):
                return []
            raise

    def _attached(
        self,
        message: discord.Message,
        find: Callable[[discord.Message], list[discord.Attachment]],
        nothing: type[Refusal],
    ) -> list[discord.Attachment]:
        """What hangs on the message, or on the one it answers."""
        answered = message.reference.resolved if message.reference else None
        found = find(message)
        if not found and isinstance(answered, discord.Message):
            found = find(answered)
            blank = not answered.content and not answered.attachments and not answered.embeds
            if not found and blank and not self.bot.intents.message_content:
                raise CannotSeeMessage()
        if not found:
            raise nothing()
        return found

    async def _refuse(self, message: discord.Message, error: Exception) -> None:
        """In the channel, or by DM where the bot may not speak there."""
        sentence = sentence_for(error)
        try:
            try:
                await message.reply(
                    sentence,
                    delete_after=REFUSAL_SECONDS,
                    allowed_mentions=discord.AllowedMentions(users=False, replied_user=True),
                )
            except discord.HTTPException:
                await message.author.send(sentence)
        except (discord.HTTPException, aiohttp.ClientError, OSError) as lost:
            log.warning("the refusal did not arrive: %s", lost)


def _system_of(values: dict[str, Any]) -> str | None:
    """The one system that knows an option that was typed, where only one does: `move orbit` means parallax."""
    owners = {
        kind.name()
        for kind in GENERATIONS.values()
        for name in values
        if name in kind.model_fields and name not in Brief.model_fields and name not in Output.model_fields
    }
    return owners.pop() if len(owners) == 1 else None
