"""People: they ask by command, by button and by mention, have second thoughts, and ask again when nobody answers."""

from __future__ import annotations

import asyncio
import contextlib
import io
import random
import time
from collections import Counter
from dataclasses import dataclass

from PIL import Image

from tests.chaos.plan import Plan
from tests.chaos.sight import Sight
from tests.chaos.town import Town
from tests.discord_server.interactions import Asked
from tests.discord_server.model import Attachment, Channel, Message, User

MOST_OPEN = 3
"""A person who waits for so many clips asks for no more."""
ANSWER_SECONDS = 8.0
"""Who hears nothing for so long asks again."""
THINK_SECONDS = (0.1, 1.5)
SECOND_THOUGHTS = 0.12
"""How often somebody presses Cancel."""
WAYS = ("slash", "slash", "slash", "svd", "again", "mention")
QUICK = {"seconds": 0.5, "fps": 5, "size": 360, "depth": "off"}
"""A camera move of three frames."""


@dataclass(frozen=True)
class Ask:
    """One thing somebody asked. `interaction` is None for a mention."""

    job_id: str
    way: str
    person: User
    channel: Channel
    at: float
    interaction: Asked | None = None

    @property
    def told(self) -> bool:
        """Whether the person was told in private that it is queued."""
        return self.interaction is not None and "Queued" in self.interaction.text


class Crowd:
    """Everybody who asks."""

    def __init__(self, town: Town, sight: Sight, plan: Plan) -> None:
        self.town = town
        self.sight = sight
        self.plan = plan
        server = town.server
        self.channels = [server.add_channel(f"corner-{number}") for number in range(plan.channels)]
        self.people = [server.user(f"person{number}") for number in range(plan.people)]
        self.asks: list[Ask] = []
        self.cancels = 0
        self._second_thoughts: set[asyncio.Task[None]] = set()

    @property
    def accepted(self) -> list[Ask]:
        """What was accepted, as far as Discord shows it."""
        return [ask for ask in self.asks if self._accepted(ask)]

    def _accepted(self, ask: Ask) -> bool:
        return ask.told or ask.job_id in self.sight.statuses or ask.job_id in self.sight.finals

    async def live(self, seconds: float) -> None:
        """Until enough was accepted, or so long."""
        end = time.monotonic() + seconds
        async with asyncio.TaskGroup() as together:
            for person in self.people:
                together.create_task(self._live(person, end))
        await asyncio.gather(*self._second_thoughts)

    async def _live(self, person: User, end: float) -> None:
        dice = self.plan.dice(person.name)
        while len(self.accepted) < self.plan.jobs and time.monotonic() < end:
            await asyncio.sleep(dice.uniform(*THINK_SECONDS))
            if self._waits_for(person) < MOST_OPEN:
                await self._ask(person, dice)

    def _waits_for(self, person: User) -> int:
        return sum(ask.person is person and ask.job_id not in self.sight.finals for ask in self.accepted)

    async def _ask(self, person: User, dice: random.Random) -> None:
        ask = await self._say(person, dice.choice(self.channels), dice.choice(WAYS), dice)
        self.asks.append(ask)
        answered = self.town.until(lambda: self._heard(ask), ANSWER_SECONDS)
        if await answered and dice.random() < SECOND_THOUGHTS:
            task = asyncio.create_task(self._cancel(ask, dice.uniform(0.0, 3.0)))
            self._second_thoughts.add(task)

    def _heard(self, ask: Ask) -> bool:
        return self._accepted(ask) or bool(ask.interaction and ask.interaction.shown)

    async def _say(self, person: User, channel: Channel, way: str, dice: random.Random) -> Ask:
        server, now = self.town.server, time.time()
        clips = [each for messages in self.sight.finals.values() for each in messages if each.attachments]
        if way == "mention":
            text = " ".join(["parallax", *(f"{name}={value}" for name, value in QUICK.items())])
            said = await server.say(person, text, mention_bot=True, attachments=[self.picture(dice)], channel=channel)
            return Ask(f"{said.id}-0", way, person, channel, now)
        if way == "again" and clips:
            asked = await self._again(person, dice.choice(clips))
        elif way == "svd":
            size = {"num_inference_steps": dice.randint(2, 12), "num_frames": dice.randint(2, 4)}
            asked = await server.slash("svd", person, channel=channel, image=self.picture(dice), **size)
        else:
            asked = await server.slash("parallax", person, channel=channel, image=self.picture(dice), **QUICK)
        return Ask(asked.id, way, person, asked.channel, now, asked)

    async def _again(self, person: User, clip: Message) -> Asked:
        [button] = [each for each in clip.buttons if str(each.get("custom_id", "")).startswith("zt:again:")]
        return await self.town.server.press(clip, person, button["custom_id"])

    def picture(self, dice: random.Random | None = None) -> Attachment:
        """One of a few small pictures."""
        data = io.BytesIO()
        side = (dice or self.plan.dice("pictures")).choice((64, 72, 80, 96))
        Image.radial_gradient("L").resize((side, 64)).convert("RGB").save(data, "PNG")
        return self.town.server.upload(f"picture{side}.png", data.getvalue())

    async def _cancel(self, ask: Ask, after: float) -> None:
        await asyncio.sleep(after)
        for status in self.sight.statuses.get(ask.job_id, ()):
            with contextlib.suppress(AssertionError):  # no such button: it has ended meanwhile
                await self.town.server.press(status, ask.person, f"zt:cancel:{ask.job_id}")
                self.cancels += 1

    def ways(self) -> Counter[str]:
        """How the accepted ones were asked."""
        return Counter(ask.way for ask in self.accepted)
