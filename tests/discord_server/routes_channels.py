"""Channels and messages: /channels/…"""

from __future__ import annotations

from tests.discord_server import announce, payloads
from tests.discord_server.errors import ApiError, Json, missing_access, missing_permissions, unknown
from tests.discord_server.model import DM, THREAD, Channel, Message
from tests.discord_server.permissions import Permission, in_channel
from tests.discord_server.posting import Posting
from tests.discord_server.rest import Call, Reply, Routes
from tests.discord_server.world import Event

routes = Routes()
P = Permission


def _channel(call: Call, *needed: Permission) -> Channel:
    """The path's channel if the bot may see it and has what it takes: 10003, 50001 or 50013 otherwise."""
    channel = call.world.channel(call.params["channel_id"])
    has = in_channel(channel, call.world.bot)
    if not has & P.VIEW_CHANNEL:
        raise missing_access()
    if any(not has & each for each in needed):
        raise missing_permissions()
    return channel


def _message(call: Call, channel: Channel) -> Message:
    """Ephemeral messages do not exist here."""
    message = channel.messages.get(int(call.params["message_id"]))
    if message is None or message.deleted or message.ephemeral:
        raise unknown("Message")
    return message


def _wire(call: Call, message: Message) -> Json:
    return payloads.message(call.world, message, readable=payloads.readable(call.world, message))


@routes("GET", "/channels/{channel_id}")
def get_channel(call: Call) -> Json:
    """Any channel the bot sees."""
    return payloads.channel(_channel(call))


@routes("POST", "/channels/{channel_id}/typing")
def typing(call: Call) -> None:
    """ "… is typing"."""
    channel = _channel(call, P.SEND_MESSAGES)
    channel.typing += 1
    announce.typing(call.world, channel, call.world.bot)


@routes("GET", "/channels/{channel_id}/messages")
def list_messages(call: Call) -> list[Json]:
    """Newest first; `before`, `after`, `around`, `limit` (50, at most 100)."""
    channel = _channel(call)
    if not in_channel(channel, call.world.bot) & P.READ_MESSAGE_HISTORY:
        return []
    found = [message for message in channel.messages.values() if not message.deleted and not message.ephemeral]
    found.sort(key=lambda message: message.id)
    limit = int(call.query.get("limit", 50))
    if "after" in call.query:
        found = [message for message in found if message.id > int(call.query["after"])][:limit]
    if "before" in call.query:
        found = [message for message in found if message.id < int(call.query["before"])]
    if "around" in call.query:
        middle = int(call.query["around"])
        found = sorted(sorted(found, key=lambda each: abs(each.id - middle))[:limit], key=lambda each: each.id)
    return [_wire(call, message) for message in reversed(found[-limit:])]


@routes("POST", "/channels/{channel_id}/messages")
def create_message(call: Call) -> Json:
    """Post as the bot."""
    channel = _channel(call)
    speak = P.SEND_MESSAGES_IN_THREADS if channel.type == THREAD else P.SEND_MESSAGES
    _channel(call, speak, *([P.ATTACH_FILES] if call.files else []))
    if channel.recipient and not channel.recipient.accepts_dms:
        raise ApiError(403, 50007, "Cannot send messages to this user")
    if channel.archived:
        raise ApiError(400, 50083, "Thread is archived")
    return _wire(call, Posting(call.world, channel, call.world.bot, call.body or {}, call.files).create())


@routes("GET", "/channels/{channel_id}/messages/{message_id}")
def get_message(call: Call) -> Json:
    """One message, its file addresses signed anew."""
    return _wire(call, _message(call, _channel(call, P.READ_MESSAGE_HISTORY)))


@routes("PATCH", "/channels/{channel_id}/messages/{message_id}")
def edit_message(call: Call) -> Json:
    """Only one's own (50005)."""
    channel = _channel(call, *([P.ATTACH_FILES] if call.files else []))
    message = _message(call, channel)
    if message.author is not call.world.bot:
        raise ApiError(403, 50005, "Cannot edit a message authored by another user")
    return _wire(call, Posting(call.world, channel, call.world.bot, call.body or {}, call.files).edit(message))


@routes("DELETE", "/channels/{channel_id}/messages/{message_id}")
def delete_message(call: Call) -> None:
    """One's own, or anybody's with MANAGE_MESSAGES."""
    channel = _channel(call)
    message = _message(call, channel)
    if message.author is not call.world.bot:
        if channel.type == DM:
            raise ApiError(403, 50003, "Cannot execute action on a DM channel")
        _channel(call, P.MANAGE_MESSAGES)
    message.deleted = True
    announce.message_deleted(call.world, message)


@routes("PUT", "/channels/{channel_id}/messages/{message_id}/reactions/{emoji}/@me")
def react(call: Call) -> None:
    """Add the bot's reaction."""
    message = _message(call, _channel(call, P.ADD_REACTIONS, P.READ_MESSAGE_HISTORY))
    people = message.reactions.setdefault(call.params["emoji"], [])
    if call.world.bot not in people:
        people.append(call.world.bot)
        announce.reaction(call.world, "MESSAGE_REACTION_ADD", message, call.world.bot, call.params["emoji"])


@routes("DELETE", "/channels/{channel_id}/messages/{message_id}/reactions/{emoji}/@me")
def unreact(call: Call) -> None:
    """Take the bot's reaction away."""
    message = _message(call, _channel(call))
    people = message.reactions.get(call.params["emoji"], [])
    if call.world.bot in people:
        people.remove(call.world.bot)
        announce.reaction(call.world, "MESSAGE_REACTION_REMOVE", message, call.world.bot, call.params["emoji"])
    if not people:
        message.reactions.pop(call.params["emoji"], None)


@routes("POST", "/channels/{channel_id}/threads")
@routes("POST", "/channels/{channel_id}/messages/{message_id}/threads")
def create_thread(call: Call) -> Reply:
    """A public thread, alone or from a message."""
    parent = _channel(call, P.CREATE_PUBLIC_THREADS)
    assert parent.guild
    thread = call.world.add_channel(call.body["name"], parent.guild, type=THREAD, parent=parent)
    body = payloads.channel(thread)
    call.world.publish(Event("THREAD_CREATE", {**body, "newly_created": True}, parent.guild, 1))
    return Reply(201, body)
