"""`/storyboard`: one message of the bot, pictures in reply to it, and one clip that passes through all of them."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Sequence
from typing import Any, Self

import discord
from discord.ext.commands import Cog
from discord.ui import FileUpload, Label, TextInput

from bot.asked import asked_by
from bot.attachments import pictures_in
from bot.buttons import JOB, LastingButton, lasting_view, moderates
from bot.client import Zoetrope
from bot.forms import Form
from bot.gate import Asked, CannotPostHere
from bot.options import Options, bounds, described, slash_command
from bot.storyboard import (
    MODELS,
    SHOWN_NAME,
    NotYourStory,
    Picture,
    Stories,
    Story,
    StoryEmpty,
    StoryFull,
    StoryGone,
    plain,
    starting,
)
from bot.suggestions import suggestions
from jobs.errors import Refusal
from jobs.requests.animatediff import MOST_PICTURES, AnimateDiffRequest
from jobs.texts import say, word

LINK = re.compile(r"https?://(?:\w+\.)?discord(?:app)?\.com/channels/(?:@me|\d+)/(\d+)/(\d+)")
PINS = AnimateDiffRequest.model_fields["pins"]
TOO_LARGE = 40005
"""Discord's code for a request with more bytes than the channel takes."""


class StoryLost(Refusal):
    """Messages with some of its pictures were deleted."""

    code = "story_lost"


class StoryUnseen(Refusal):
    """A reply that does not ping the bot, which may not read messages."""

    code = "story_unseen"


class StoryUnreadable(Refusal):
    """The bot may not read the channel's history."""

    code = "story_unreadable"


class StoryUploadLarge(Refusal):
    """Pictures from a form that the bot cannot show in the channel."""

    code = "story_upload_large"


class Storyboard(Cog):
    """The command. What follows is done by buttons, and by replies, which `Mention` sees."""

    def __init__(self, bot: Zoetrope) -> None:
        self.bot = bot
        description = "Make one clip that passes through several pictures, which you send in reply."
        suggest = suggestions(bot, AnimateDiffRequest)
        self.command = slash_command("storyboard", description, MODELS, self.begin, suggest=suggest)

    async def cog_load(self) -> None:
        """Put it into the tree; buttons of a day ago work again."""
        self.bot.tree.add_command(self.command)
        self.bot.add_dynamic_items(*STORY_BUTTONS)

    async def begin(self, interaction: discord.Interaction, options: Options) -> None:
        """Refuse what can be told to be wrong already, then post the message."""
        await interaction.response.defer(ephemeral=True, thinking=True)
        asked = await asked_by(self.bot, interaction)
        story = starting(asked.id, interaction.user.id, int(asked.channel.id), options)
        await _check(self.bot, asked, story)
        stories = Stories(self.bot.redis)
        await stories.keep(story)
        try:
            channel = self.bot.get_partial_messageable(story.channel)
            message = await channel.send(story.text, view=story_view(story), nonce=f"b{story.id}")
        except BaseException:
            await stories.drop(story)
            raise
        link = f"https://discord.com/channels/{asked.channel.guild_id or '@me'}/{story.channel}/{message.id}"
        await interaction.followup.send(say("story_started", {"link": link}), ephemeral=True)


async def _check(bot: Zoetrope, asked: Asked, story: Story) -> None:
    """Whether it could become a job with a picture or two.

    Raises:
        Refusal: something is in the way.
    """
    lead, *others = story.steps(yet_to_come=1)
    assert isinstance(lead, AnimateDiffRequest)
    if lead.motion is not None:
        motion = await bot.intake.motions.find(lead.motion, asked.requester.id, asked.channel.guild_id)
        lead = lead.model_copy(update={"motion": None, "module": motion.module}).checked()
    steps = await bot.gate.settled([lead, *others])
    (await bot.gate.admit(asked, *steps)).check_clip(story.sketch(steps))


def story_answered(message: discord.Message) -> str | None:
    """The story whose message this one answers. Its buttons say so, even where the story is long over."""
    answered = message.reference.resolved if message.reference else None
    if not isinstance(answered, discord.Message):
        return None
    for row in answered.components:
        for button in getattr(row, "children", ()):
            if found := re.fullmatch(rf"zt:story-\w+:{JOB}", getattr(button, "custom_id", None) or ""):
                return found["job"]
    return None


async def take_reply(bot: Zoetrope, message: discord.Message, story_id: str) -> None:
    """Put the reply's pictures into the story; a reply without any is talk.

    Raises:
        Refusal: they do not go in.
    """
    assert message.reference is not None
    assert message.reference.message_id is not None
    pointed = await _pointed_at(bot, message)
    found = [(message, one) for one in pictures_in(message)] or [(pointed, one) for one in pictures_in(pointed)]
    blank = not message.content and not message.attachments and not bot.intents.message_content
    if not found and not blank:
        return
    story = await Stories(bot.redis).get(story_id)
    theirs = story.starter == message.author.id
    if not found:
        if theirs:
            raise StoryUnseen()
        return
    if not theirs:
        raise NotYourStory(person=f"<@{story.starter}>")
    pictures = [(_picture(there, one, added=message.id), one) for there, one in found]
    await _add(bot, story, message.reference.message_id, pictures)


async def _pointed_at(bot: Zoetrope, message: discord.Message) -> discord.Message:
    """The message of this channel whose address stands in a reply; else the reply itself."""
    link = LINK.search(message.content)
    if link is None or int(link[1]) != message.channel.id:  # elsewhere it might be none of that person's business
        return message
    try:
        return await message.channel.fetch_message(int(link[2]))
    except discord.NotFound:
        return message
    except discord.Forbidden:
        raise StoryUnreadable() from None


def _picture(message: discord.Message, one: discord.Attachment, *, added: int, ours: bool = False) -> Picture:
    return Picture(message=message.id, attachment=one.id, name=one.filename, added=added, ours=ours)


async def _add(
    bot: Zoetrope, story: Story, message_id: int, pictures: Sequence[tuple[Picture, discord.Attachment]]
) -> None:
    """Those that fit go in; then of the others the first is refused.

    Two messages may be read in either order, but the story is told in the order in which they were sent: what comes
    late may take the place of what had no right to it.

    Raises:
        StoryFull: for some there is no room.
        Refusal: one of them is no picture that could be read.
    """
    good: list[Picture] = []
    refused: Refusal | None = None
    for picture, attachment in pictures:
        try:
            bot.intake.sources.check_declared("image", attachment)
        except Refusal as refusal:
            refused = refused or refusal
        else:
            good.append(picture)
    left: list[Picture] = []

    def added(story: Story) -> Story:
        changed = story.with_pictures(good)
        left[:] = [one for one in (*story.pictures, *good) if one not in changed.pictures]
        return changed

    changed = await Stories(bot.redis).change(story.id, added)
    await _show(bot, changed, message_id)
    if left:
        raise StoryFull(most=MOST_PICTURES, left=len(left))
    if refused:
        raise refused


async def _show(bot: Zoetrope, story: Story, message_id: int) -> None:
    """Bring its message up to date, and again where somebody changed the story meanwhile."""
    message = bot.get_partial_messageable(story.channel).get_partial_message(message_id)
    while True:
        shown = story
        try:
            await message.edit(content=shown.text, view=story_view(shown))
        except discord.NotFound:  # somebody deleted it, and with it the story
            await Stories(bot.redis).drop(shown)
            raise StoryGone() from None
        try:
            story = await Stories(bot.redis).get(story.id)
        except StoryGone:
            return
        if story == shown:
            return


async def _fetch(bot: Zoetrope, story: Story) -> dict[Picture, discord.Attachment]:
    """Its pictures with addresses that are good now; those that were deleted are missing."""
    channel = bot.get_partial_messageable(story.channel)
    messages: dict[int, discord.Message] = {}
    for message_id in dict.fromkeys(picture.message for picture in story.pictures):
        try:
            messages[message_id] = await channel.fetch_message(message_id)
        except discord.NotFound:
            continue
        except discord.Forbidden:
            raise StoryUnreadable() from None
    there = {(message.id, one.id): one for message in messages.values() for one in pictures_in(message)}
    keys = {picture: (picture.message, picture.attachment) for picture in story.pictures}
    return {picture: there[key] for picture, key in keys.items() if key in there}


async def _clear(bot: Zoetrope, before: Story, after: Story | None = None) -> None:
    """Delete the bot's own posts of pictures that are in the story no more."""
    kept = {picture.message for picture in after.pictures} if after else set[int]()
    channel = bot.get_partial_messageable(before.channel)
    for message_id in {picture.message for picture in before.pictures if picture.ours} - kept:
        with contextlib.suppress(discord.NotFound, discord.Forbidden):
            await channel.get_partial_message(message_id).delete()


class StoryButton(LastingButton, template=r"zt:never:story"):
    """One of a story's. The starter alone may press it, where a subclass does not say otherwise."""

    action: str
    label: str
    style = discord.ButtonStyle.secondary
    needs_pictures = False
    for_moderators = False

    def __init__(self, story_id: str, *, disabled: bool = False) -> None:
        self.story_id = story_id
        button = discord.ui.Button[Any](
            label=self.label, style=self.style, disabled=disabled, custom_id=f"zt:story-{self.action}:{story_id}"
        )
        super().__init__(button)

    @classmethod
    async def from_custom_id(  # type: ignore[override]
        cls, interaction: discord.Interaction, item: discord.ui.Item[Any], match: re.Match[str], /
    ) -> Self:
        """The button again, from what Discord kept of it."""
        return cls(match["job"])

    async def press(self, bot: Zoetrope, interaction: discord.Interaction) -> None:
        """Where the story is over, that stands in its place."""
        try:
            story = await Stories(bot.redis).get(self.story_id)
        except StoryGone as gone:
            await interaction.response.edit_message(content=word(gone), view=None)
            return
        if interaction.user.id != story.starter and not (self.for_moderators and moderates(interaction)):
            raise NotYourStory(person=f"<@{story.starter}>")
        if self.needs_pictures and not story.pictures:
            raise StoryEmpty()
        assert interaction.message is not None
        await self.do(bot, interaction, story, interaction.message.id)

    async def do(self, bot: Zoetrope, interaction: discord.Interaction, story: Story, message_id: int) -> None:
        """What the button does."""
        raise NotImplementedError


class RenderButton(StoryButton, template=rf"zt:story-render:{JOB}"):
    """Make the clip. The story stays, so that it can be changed and made once more."""

    action, label, style, needs_pictures = "render", "Render", discord.ButtonStyle.primary, True

    async def do(self, bot: Zoetrope, interaction: discord.Interaction, story: Story, message_id: int) -> None:
        """A job like any other."""
        await interaction.response.defer(ephemeral=True, thinking=True)
        steps, asked = story.steps(), await asked_by(bot, interaction)
        found = await _fetch(bot, story)
        if lost := [picture for picture in story.pictures if picture not in found]:
            await _show(bot, await Stories(bot.redis).change(story.id, lambda story: story.without(lost)), message_id)
            raise StoryLost(lost=len(lost), names=", ".join(plain(picture.name, SHOWN_NAME) for picture in lost))
        files = dict(zip(story.names, found.values(), strict=True))
        prepared = await bot.intake.prepare(asked, steps, files, story.output)
        await bot.confirm.start(bot, interaction, [prepared])


class AddButton(StoryButton, template=rf"zt:story-add:{JOB}"):
    """Pictures by a form, for who cannot reply."""

    action, label = "add", "Add pictures…"

    async def do(self, bot: Zoetrope, interaction: discord.Interaction, story: Story, message_id: int) -> None:
        """A form must be the first answer."""
        if story.full:
            raise StoryFull(most=MOST_PICTURES, left="all")
        await interaction.response.send_modal(AddForm(bot, story, message_id))


class TimesButton(StoryButton, template=rf"zt:story-times:{JOB}"):
    """When each picture stands."""

    action, label, needs_pictures = "times", "Times…", True

    async def do(self, bot: Zoetrope, interaction: discord.Interaction, story: Story, message_id: int) -> None:
        """A form must be the first answer."""
        await interaction.response.send_modal(TimesForm(bot, story, message_id))


class BackButton(StoryButton, template=rf"zt:story-back:{JOB}"):
    """The last picture was a mistake."""

    action, label, needs_pictures = "back", "Take back", True

    async def do(self, bot: Zoetrope, interaction: discord.Interaction, story: Story, message_id: int) -> None:
        """Pressed twice at once, it is taken back once: the picture that was the last one goes."""
        await interaction.response.defer()
        changed = await Stories(bot.redis).change(story.id, lambda now: now.without(story.pictures[-1:]))
        await _show(bot, changed, message_id)
        await _clear(bot, story, changed)


class DropButton(StoryButton, template=rf"zt:story-drop:{JOB}"):
    """No clip after all."""

    action, label, for_moderators = "drop", "Never mind", True

    async def do(self, bot: Zoetrope, interaction: discord.Interaction, story: Story, message_id: int) -> None:
        """The message goes, and those that the bot posted for it."""
        await interaction.response.defer(ephemeral=True)
        await Stories(bot.redis).drop(story)
        await _clear(bot, story)
        with contextlib.suppress(discord.NotFound):  # pressed twice
            await bot.get_partial_messageable(story.channel).get_partial_message(message_id).delete()
        await interaction.followup.send(say("story_dropped"), ephemeral=True)


STORY_BUTTONS = (RenderButton, AddButton, TimesButton, BackButton, DropButton)


def story_view(story: Story) -> discord.ui.View:
    """Under its message; what needs pictures is grey while there are none."""
    return lasting_view(
        *(button(story.id, disabled=button.needs_pictures and not story.pictures) for button in STORY_BUTTONS)
    )


class AddForm(Form):
    """Pictures from somebody's device. Discord soon deletes what a form brings, so the bot shows it in the channel."""

    def __init__(self, bot: Zoetrope, story: Story, message_id: int) -> None:
        super().__init__(bot, "Add pictures")
        self.story, self.message_id = story, message_id
        self.files = FileUpload[Any](custom_id="pictures", min_values=1, max_values=MOST_PICTURES - len(story.pictures))
        text = "in their order; I post them in the channel, from where I take them when it is rendered"
        self.add_item(Label(text="pictures", description=text, component=self.files))

    async def on_submit(self, interaction: discord.Interaction, /) -> None:
        """In the channel they last as long as their message."""
        await interaction.response.defer(ephemeral=True, thinking=True)
        story = await Stories(self.bot.redis).get(self.story.id)
        if not (await asked_by(self.bot, interaction)).may_post:
            raise CannotPostHere()
        message = await self._post(interaction, story)
        pictures = [(_picture(message, one, added=message.id, ours=True), one) for one in message.attachments]
        await _add(self.bot, story, self.message_id, pictures)
        await interaction.followup.send(say("story_added"), ephemeral=True)

    async def _post(self, interaction: discord.Interaction, story: Story) -> discord.Message:
        files: list[discord.File] = []
        for attachment in self.files.values:
            self.bot.intake.sources.check_declared("image", attachment)
            data = await self.bot.downloads.fetch(attachment.url)
            files.append(discord.File(io.BytesIO(data), attachment.filename, spoiler=attachment.is_spoiler()))
        channel = self.bot.get_partial_messageable(story.channel)
        reference = channel.get_partial_message(self.message_id).to_reference(fail_if_not_exists=False)
        said = say("story_uploaded", {"person": f"<@{story.starter}>"})
        try:
            return await channel.send(said, files=files, reference=reference, nonce=f"u{interaction.id}")
        except discord.HTTPException as error:
            if error.status == 413 or error.code == TOO_LARGE:
                raise StoryUploadLarge() from None
            raise


class TimesForm(Form):
    """The request's own option, as text."""

    def __init__(self, bot: Zoetrope, story: Story, message_id: int) -> None:
        super().__init__(bot, "When each picture stands")
        self.story, self.message_id = story, message_id
        self.pins = TextInput[Any](
            custom_id="pins", default=story.pins or None, required=False, max_length=bounds(PINS)[1]
        )
        self.add_item(Label(text="pins", description=described("pins", PINS), component=self.pins))

    async def on_submit(self, interaction: discord.Interaction, /) -> None:
        """What cannot be read changes nothing."""
        await interaction.response.defer()
        typed = self.pins.value
        changed = await Stories(self.bot.redis).change(self.story.id, lambda story: story.timed(typed))
        await _show(self.bot, changed, self.message_id)
