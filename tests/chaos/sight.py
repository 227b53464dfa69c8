"""What stands in the channels, by job: the only witness that counts."""

from __future__ import annotations

import asyncio
from collections import defaultdict

from tests.discord_server import LocalDiscord
from tests.discord_server.model import Message

LOOK_SECONDS = 0.2
AGAIN = "zt:again:"


def job_of_final(message: Message) -> str | None:
    """Which job's end this message tells: the button under it names the job, and so does its nonce."""
    for button in message.buttons:
        if str(button.get("custom_id", "")).startswith(AGAIN):
            return str(button["custom_id"]).removeprefix(AGAIN)
    return None


def job_of_status(message: Message) -> str | None:
    """Which job this message follows: its nonce is the job's id with an s before it."""
    return message.nonce[1:] if message.nonce and message.nonce.startswith("s") else None


class Sight:
    """All messages of the bot, sorted by what they are."""

    def __init__(self, server: LocalDiscord) -> None:
        self.server = server
        self.finals: dict[str, list[Message]] = {}
        self.statuses: dict[str, list[Message]] = {}
        self.others: list[Message] = []

    def look(self) -> None:
        """Read every channel, direct messages included."""
        finals: dict[str, list[Message]] = defaultdict(list)
        statuses: dict[str, list[Message]] = defaultdict(list)
        self.others = []
        for message in self._public():
            if status := job_of_status(message):
                statuses[status].append(message)
            elif final := job_of_final(message):
                finals[final].append(message)
            elif message.channel.recipient and message.nonce:  # told in private where the channel was closed
                finals[message.nonce].append(message)
            else:
                self.others.append(message)
        self.finals, self.statuses = dict(finals), dict(statuses)

    def _public(self) -> list[Message]:
        bot = self.server.bot
        messages = self.server.world.messages()
        return [each for each in messages if each.author is bot and not each.deleted and not each.ephemeral]

    def nothing_stale(self) -> bool:
        """Whether no status message looks as if its job went on."""
        return not any(message.buttons for messages in self.statuses.values() for message in messages)

    async def watch(self) -> None:
        """Keep looking, for ever."""
        while True:
            self.look()
            await asyncio.sleep(LOOK_SECONDS)
