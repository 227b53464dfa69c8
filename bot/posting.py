"""Messages of ours in a job's channel: what they answer, and how to find one whose arrival we never heard of."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import discord
from discord.abc import Messageable

from jobs.record import Channel, Job, Rendered

CANNOT_REPLY = 160002
"""Without Read Message History no message can be answered, and `fail_if_not_exists` does not help."""
LOOK_BACK = timedelta(minutes=1)
LOOKED_THROUGH = 2000


def channel_of(client: discord.Client, job: Job) -> discord.PartialMessageable:
    """The job's channel, without asking Discord for it."""
    channel = job.submission.channel
    guild_id = int(channel.guild_id) if channel.guild_id else None
    return client.get_partial_messageable(int(channel.id), guild_id=guild_id)


def destination(job: Job) -> Channel:
    """Where its end is told: a clip in the channel for results, if there is one; all else where it was asked for."""
    elsewhere = job.submission.results
    return elsewhere if elsewhere and isinstance(job.outcome, Rendered) else job.submission.channel


def final_channel_of(client: discord.Client, job: Job) -> discord.PartialMessageable:
    """The same, without asking Discord for it."""
    channel = destination(job)
    return client.get_partial_messageable(int(channel.id), guild_id=int(channel.guild_id) if channel.guild_id else None)


def at_home(job: Job) -> Job:
    """The same job, its end told where it was asked for in any case."""
    return job.model_copy(update={"submission": job.submission.model_copy(update={"results": None})})


def reference(job: Job, message_id: str) -> discord.MessageReference:
    """A reply to a message in the job's channel that may be gone by now."""
    channel = job.submission.channel
    return discord.MessageReference(
        message_id=int(message_id),
        channel_id=int(channel.id),
        guild_id=int(channel.guild_id) if channel.guild_id else None,
        fail_if_not_exists=False,
    )


async def answering_if_possible(
    send: Callable[[Any], Awaitable[discord.Message]], answering: discord.MessageReference | None
) -> discord.Message:
    """Send as a reply, or as a plain message where the channel allows the bot no replies."""
    try:
        return await send(answering)
    except discord.HTTPException as error:
        if error.code != CANNOT_REPLY or answering is None:
            raise
        return await send(None)


async def find_final(channel: Messageable, job: Job, me: int) -> discord.Message | None:
    """A final message of this job that Discord took but whose answer was lost: among the channel's since it ended.

    Every final message of ours carries a button with the job's id.
    """
    ended = datetime.fromtimestamp((job.ended_ms or job.submission.accepted_ms) / 1000, UTC)
    async for message in channel.history(limit=LOOKED_THROUGH, after=ended - LOOK_BACK):
        if message.author.id == me and f"zt:again:{job.id}" in custom_ids(message):
            return message
    return None


def custom_ids(message: discord.Message) -> set[str]:
    """What a message's buttons are known by."""
    rows = [row for row in message.components if isinstance(row, discord.ActionRow)]
    buttons = [child for row in rows for child in row.children if isinstance(child, discord.Button)]
    return {button.custom_id for button in buttons if button.custom_id}
