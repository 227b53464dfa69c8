"""One running Zoetrope for each file of end-to-end tests; each test has its own channel and its own people."""

import io
from collections.abc import AsyncIterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest
import pytest_asyncio
from PIL import Image

from media.probe import VideoFacts, probe
from tests.discord_server import LocalDiscord
from tests.discord_server.interactions import Asked
from tests.discord_server.model import Attachment, Channel, Message, User
from tests.stack import Stack, running
from tests.tiny_models import write_usual

_numbers = count(1)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """The stack, with tiny checkpoints of every system, and a local Discord with the content intent switched on."""
    folder = tmp_path_factory.mktemp("stack")
    write_usual(folder / "models")
    never_asked = {"ZOETROPE_LIMITS__CONFIRM_GPU_SECONDS": "0"}  # a tiny render is told to take minutes
    async with LocalDiscord(message_content=True) as server, running(server, folder, settings=never_asked) as stack:
        yield stack


@dataclass
class Room:
    """One test's corner of the server: a channel, a person, and the verbs a test needs."""

    stack: Stack
    server: LocalDiscord
    channel: Channel
    person: User
    folder: Path

    def picture(self, size: tuple[int, int] = (96, 64), name: str = "picture.png") -> Attachment:
        """A plain picture, uploaded."""
        data = io.BytesIO()
        Image.radial_gradient("L").resize(size).convert("RGB").save(data, "PNG")
        return self.server.upload(name, data.getvalue())

    def noise(self, size: tuple[int, int]) -> Attachment:
        """A picture that does not compress."""
        data = io.BytesIO()
        Image.effect_noise(size, 100).convert("RGB").save(data, "PNG")
        return self.server.upload("noise.png", data.getvalue())

    async def slash(self, name: str, user: User | None = None, /, **options: object) -> Asked:
        """The person types a command here, and gets an answer."""
        asked = await self.server.slash(name, user or self.person, channel=self.channel, **options)
        return await asked.answered(20)

    async def clips(self, count: int = 1, seconds: float = 45.0) -> list[Message]:
        """The clips that came back, once there are so many."""
        await self.stack.until(lambda: len(self.server.clips(self.channel)) >= count, seconds)
        await self.settled()
        return self.server.clips(self.channel)

    async def final(self, text: str, seconds: float = 45.0) -> Message:
        """The bot's message here that contains `text`."""
        await self.stack.until(lambda: self.said(text), seconds)
        return self.said(text)[0]

    def said(self, text: str) -> list[Message]:
        """The bot's messages here that contain `text`."""
        return [message for message in self.server.bot_messages(self.channel) if text in message.text]

    def status(self) -> Message:
        """The first status message of this channel."""
        return self.server.bot_messages(self.channel)[0]

    async def settled(self) -> None:
        """Wait until no job of this channel is open."""
        while True:
            jobs = [await self.stack.queue.job(job_id) for job_id in await self.stack.queue.open_jobs()]
            if not any(job.submission.channel.id == str(self.channel.id) for job in jobs):
                return

    def facts(self, message: Message, index: int = 0) -> VideoFacts:
        """What a player sees in a message's file."""
        attachment = message.attachments[index]
        path = self.folder / f"{attachment.id}-{attachment.filename}"
        path.write_bytes(attachment.data)
        return probe(path)


@pytest_asyncio.fixture(loop_scope="module")
async def room(shared: Stack, tmp_path: Path) -> AsyncIterator[Room]:
    """A corner of one's own; at the end, every call must have fitted Discord's own API description."""
    number = next(_numbers)
    server = shared.server
    before = len(server.violations)
    yield Room(shared, server, server.add_channel(f"room-{number}"), server.user(f"person{number}"), tmp_path)
    server.faults.clear()
    assert server.violations[before:] == []
