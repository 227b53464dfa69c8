"""Which of a message's attachments are pictures."""

import discord

from jobs.errors import Refusal


class NoPicture(Refusal):
    """A message without any."""

    code = "no_picture"


def pictures_in(message: discord.Message | discord.MessageSnapshot) -> list[discord.Attachment]:
    """The message's pictures, those of a forwarded message included. A missing type may still be a picture."""
    found = [one for one in message.attachments if (one.content_type or "image/").startswith("image/")]
    if not found and isinstance(message, discord.Message):
        found = [one for snapshot in message.message_snapshots for one in pictures_in(snapshot)]
    return found


class NoClip(Refusal):
    """A message without any video or GIF."""

    code = "no_clip"


MOVING = ("video/", "image/gif", "image/webp", "image/png", "image/apng")
"""What may hold a clip by its declared type; the bytes are looked at later."""


def clips_in(message: discord.Message | discord.MessageSnapshot) -> list[discord.Attachment]:
    """The message's videos and animations, surely moving ones first; those of a forwarded message included."""
    found = [one for one in message.attachments if (one.content_type or "video/").startswith(MOVING)]
    if not found and isinstance(message, discord.Message):
        found = [one for snapshot in message.message_snapshots for one in clips_in(snapshot)]
    return sorted(found, key=lambda one: not (one.content_type or "").startswith(("video/", "image/gif")))


def first_clip(message: discord.Message) -> discord.Attachment:
    """The one that a menu or a button under the message means.

    Raises:
        NoClip: there is none.
    """
    clips = clips_in(message)
    if not clips:
        raise NoClip()
    return clips[0]
