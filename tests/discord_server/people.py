"""What people do: write, use commands, press buttons, fill forms. Part of the server's face (a mixin)."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from tests.discord_server import announce, payloads
from tests.discord_server.components import BUTTON, SELECTS
from tests.discord_server.forms import ModalForm, Resolved, leaf, option_value, options, picks
from tests.discord_server.interactions import AUTOCOMPLETE, COMMAND, COMPONENT, MODAL_SUBMIT, Asked, allowed_context
from tests.discord_server.model import DM, IS_EPHEMERAL, Attachment, Channel, Json, Message, User, walk
from tests.discord_server.permissions import Permission, in_channel
from tests.discord_server.posting import Posting
from tests.discord_server.world import World

SLASH, USER_MENU, MESSAGE_MENU = 1, 2, 3
LINK_BUTTON = 5
FILLING_SECONDS = 0.3
"""Nobody fills a form faster; meanwhile the bot has read the answer by which it opened it."""


class People:
    """Acts of persons. Each returns at once (a form takes a moment); `await asked.answered()` waits for the bot."""

    world: World
    channel: Channel

    # --- commands ---

    def command(self, name: str, kind: int = SLASH, channel: Channel | None = None) -> Json:
        """The registered command that a person sees under this name; a guild's own goes before the global one."""
        place = channel or self.channel
        guild_id = str(place.guild.id) if place.guild else None
        fitting = [each for each in self.world.commands if each["name"] == name and each["type"] == kind]
        fitting = [each for each in fitting if each.get("guild_id") in (None, guild_id)]
        names = sorted(each["name"] for each in self.world.commands if each["type"] == kind)
        assert fitting, f"no command {name!r} is registered, only {names}"
        return max(fitting, key=lambda each: "guild_id" in each)

    async def slash(
        self,
        name: str,
        user: User,
        /,
        channel: Channel | None = None,
        *,
        given: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> Asked:
        """Type `/name`, subcommands after blanks. Options by keyword; one that is called `channel` goes in `given`."""
        place = channel or self.channel
        root, *path = name.split()
        command = self._usable(root, SLASH, user, place)
        resolved = Resolved(place.guild)
        here, wrap = leaf(command, path)
        typed = wrap(options(here, {**more, **(given or {})}, resolved))
        return self._ask(COMMAND, user, place, self._command_data(command, resolved, options=typed))

    async def autocomplete(
        self, name: str, user: User, /, focused: str, value: str = "", channel: Channel | None = None, **more: Any
    ) -> Asked:
        """What is offered while `focused` holds `value`; other options may be filled already. See `asked.choices`."""
        place = channel or self.channel
        root, *path = name.split()
        command, resolved = self._usable(root, SLASH, user, place), Resolved(place.guild)
        here, wrap = leaf(command, path)
        declared = {each["name"]: each for each in here.get("options", ())}
        assert declared.get(focused, {}).get("autocomplete"), f"/{name} does not complete {focused!r}"
        typed = [
            {"name": key, "type": declared[key]["type"], "value": option_value(declared[key], each, resolved)}
            for key, each in more.items()
        ]
        typed.append({"name": focused, "type": declared[focused]["type"], "value": value, "focused": True})
        return self._ask(AUTOCOMPLETE, user, place, self._command_data(command, resolved, options=wrap(typed)))

    async def message_menu(self, name: str, user: User, message: Message) -> Asked:
        """Right-click a message. The bot gets all of it, with or without the content intent."""
        assert message.visible_to(user), f"{user} does not see {message}"
        command = self._usable(name, MESSAGE_MENU, user, message.channel)
        resolved = Resolved(message.channel.guild)
        target = resolved.add_message(payloads.message(self.world, message))
        return self._ask(COMMAND, user, message.channel, self._command_data(command, resolved, target_id=target))

    async def user_menu(self, name: str, user: User, target: User, channel: Channel | None = None) -> Asked:
        """Right-click a person."""
        place = channel or self.channel
        command, resolved = self._usable(name, USER_MENU, user, place), Resolved(place.guild)
        target_id = resolved.add(target)
        return self._ask(COMMAND, user, place, self._command_data(command, resolved, target_id=target_id))

    def _usable(self, name: str, kind: int, user: User, channel: Channel) -> Json:
        """The command if this person's client would offer it here."""
        command = self.command(name, kind, channel)
        has = in_channel(channel, user)
        assert has & Permission.USE_APPLICATION_COMMANDS, f"{user} may not use commands in {channel}"
        needed = command.get("default_member_permissions")
        if needed is not None and channel.guild:
            # "0" hides it from all but administrators
            everything = has & Permission.ADMINISTRATOR
            assert everything or (int(needed) and has & int(needed) == int(needed)), f"{user} does not see {name}"
        assert allowed_context(command, channel), f"{name} is not offered in {channel}"
        assert not command.get("nsfw") or channel.nsfw or not channel.guild, f"{name} needs an age-restricted channel"
        return command

    def _command_data(self, command: Json, resolved: Resolved, **rest: Any) -> Json:
        data: Json = {"id": command["id"], "name": command["name"], "type": command["type"], **rest}
        if "guild_id" in command:
            data["guild_id"] = command["guild_id"]
        return data | ({"resolved": resolved.data} if resolved.data else {})

    def _ask(self, kind: int, user: User, channel: Channel, data: Json, **rest: Any) -> Asked:
        if channel.guild:
            assert user.id in channel.guild.members, f"{user} is not in {channel.guild}"
        return Asked(self.world, kind, user, channel, data, secrets.token_urlsafe(48), **rest).dispatch()

    # --- components and forms ---

    async def press(self, message: Message, user: User, button: str) -> Asked:
        """Press a button, named by its custom_id or its label."""
        found = self._component(message, user, (BUTTON,), button)
        assert found["style"] < LINK_BUTTON, f"{button!r} is a link or a purchase, not for the bot"
        data = {"component_type": BUTTON, "custom_id": found["custom_id"], "id": found["id"]}
        return self._ask(COMPONENT, user, message.channel, data, message=message)

    async def select(self, message: Message, user: User, select: str, *values: Any) -> Asked:
        """Choose in a select menu (by custom_id or placeholder): option labels or values, users, roles, channels."""
        found = self._component(message, user, SELECTS, select)
        resolved = Resolved(message.channel.guild)
        data: Json = {"component_type": found["type"], "custom_id": found["custom_id"], "id": found["id"]}
        data["values"] = picks(found, list(values), resolved)
        if resolved.data:
            data["resolved"] = resolved.data
        return self._ask(COMPONENT, user, message.channel, data, message=message)

    async def submit_modal(self, asked: Asked, user: User, values: Mapping[str, Any] | None = None) -> Asked:
        """Send the form that `asked` opened: values by custom_id or label; the rest stays as preset."""
        assert asked.modal is not None, f"{asked!r} opened no form"
        assert asked.user is user, f"the form is {asked.user}'s"
        resolved = Resolved(asked.channel.guild)
        form = ModalForm(asked.modal, values or {}, resolved)
        await asyncio.sleep(FILLING_SECONDS)
        data: Json = {"custom_id": asked.modal["custom_id"], "components": form.components, "resolved": resolved.data}
        return self._ask(MODAL_SUBMIT, user, asked.channel, data, message=asked.message, parent=asked)

    def _component(self, message: Message, user: User, kinds: Sequence[int], name: str) -> Json:
        assert message.visible_to(user), f"{user} does not see {message}"
        there = [each for each in walk(message.components) if each["type"] in kinds]
        for key in ("custom_id", "label", "placeholder"):
            found = next((each for each in there if each.get(key) == name), None)
            if found:
                assert not found.get("disabled"), f"{name!r} is disabled"
                return found
        shown = [each.get("label") or each.get("placeholder") or each.get("custom_id") for each in there]
        raise AssertionError(f"{message} has no {name!r}, only {shown}")

    # --- messages ---

    async def say(
        self,
        user: User,
        content: str = "",
        *,
        attachments: Sequence[Attachment] = (),
        reply_to: Message | None = None,
        ping_reply: bool = True,
        mention_bot: bool = False,
        channel: Channel | None = None,
    ) -> Message:
        """Write a message as a person."""
        place = channel or (reply_to.channel if reply_to else self.channel)
        may = Permission.SEND_MESSAGES_IN_THREADS if place.parent else Permission.SEND_MESSAGES
        assert place.type == DM or in_channel(place, user) & may, f"{user} may not write in {place}"
        text = f"{self.world.bot.mention} {content}".strip() if mention_bot else content
        body: Json = {"content": text}
        if reply_to:
            body["message_reference"] = {"message_id": str(reply_to.id), "channel_id": str(place.id)}
        if not ping_reply:
            body["allowed_mentions"] = {"parse": ["users", "roles", "everyone"], "replied_user": False}
        for file in attachments:
            file.folder, file.ephemeral = f"attachments/{place.id}", False
        return _Saying(self.world, place, user, body).with_files(list(attachments))

    async def edit(self, message: Message, content: str) -> Message:
        """A person edits their own message."""
        return Posting(self.world, message.channel, message.author, {"content": content}).edit(message)

    async def delete(self, message: Message) -> None:
        """Somebody deletes a message (its author, a moderator); an ephemeral one is dismissed."""
        message.deleted = True
        announce.message_deleted(self.world, message)

    async def react(self, message: Message, user: User, emoji: str) -> None:
        """A person reacts."""
        message.reactions.setdefault(emoji, []).append(user)
        announce.reaction(self.world, "MESSAGE_REACTION_ADD", message, user, emoji)


class _Saying(Posting):
    """A person's message: its files are on the CDN already, and it cannot be ephemeral."""

    def with_files(self, attachments: list[Attachment]) -> Message:
        self.body["flags"] = (self.body.get("flags") or 0) & ~IS_EPHEMERAL
        self._ready = attachments
        return self.create()

    def _fill(self, message: Message) -> None:
        super()._fill(message)
        message.attachments = self._ready
