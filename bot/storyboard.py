"""Storyboards: pictures that somebody collects under one message of the bot, and the one clip that passes through them.

What was chosen lies in Redis for a day; the pictures stay in the messages that brought them, and are fetched again when
the clip is made, for their addresses do not live long. A picture whose message was deleted is out of the story.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

import discord
from arq.connections import ArqRedis
from pydantic import BaseModel, Field, ValidationError, create_model
from redis.exceptions import WatchError

from bot.options import BadOption, parse
from jobs.errors import Refusal
from jobs.recipe import Output, Recipe, Source, Value
from jobs.requests import Request
from jobs.requests.animatediff import MOST_FRAMES, MOST_PICTURES, AnimateDiffRequest
from jobs.requests.finish import Smoothing, prepared_for
from jobs.texts import say, word

KEPT_SECONDS = 86_400
OFFERED = (
    "prompt", "negative", "schedule", "model", "motion", "motion_scale", "fps", "shape", "loop", "follow", "seed",
    "pin_scale", "num_inference_steps", "guidance_scale", "sampler", "motion_strength", "adapter",
)  # fmt: skip
"""What of AnimateDiff's own options goes with a storyboard; cameras and PIA do not, and the files come by replies."""
SHOWN_PROMPT, SHOWN_NAME = 300, 60
"""Characters of what people wrote."""


class StoryGone(Refusal):
    """A day is over, or it was given up."""

    code = "story_gone"


class NotYourStory(Refusal):
    """Somebody else began it."""

    code = "story_not_yours"


class StoryEmpty(Refusal):
    """No picture yet."""

    code = "story_empty"


class StoryFull(Refusal):
    """More pictures than a storyboard may have."""

    code = "story_full"


class Length(BaseModel):
    """Seconds are easier thought of than frames."""

    seconds: float = Field(default=4.0, ge=0.5, le=MOST_FRAMES / 8, description="how long the clip lasts")


StoryOptions: type[BaseModel] = cast(Any, create_model)(
    "StoryOptions",
    **{name: (field.annotation, field) for name, field in AnimateDiffRequest.model_fields.items() if name in OFFERED},
)
"""AnimateDiff's own fields, with their bounds, texts and marks."""
MODELS: tuple[type[BaseModel], ...] = (Smoothing, StoryOptions, Length, Output)
"""Smoothing first: AnimateDiff's own `loop` takes the place of its."""


class Picture(Value):
    """One of a story's, by where it is found again."""

    message: int
    attachment: int
    name: str
    added: int
    """The message that put it into the story; the same as `message` unless that one only points at it."""
    ours: bool = False
    """Whether the message is the bot's own, which shows what came by a form."""


class Story(Value):
    """Everything that is known of one."""

    id: str
    starter: int
    channel: int
    until: int
    """Seconds since the epoch."""
    options: dict[str, str | bool | int | float]
    pins: str = ""
    pictures: tuple[Picture, ...] = ()

    def with_pictures(self, new: Iterable[Picture]) -> Story:
        """These as well, in the order in which they were sent; each once, and no more than there may be."""
        known = {(picture.added, picture.message, picture.attachment) for picture in self.pictures}
        fresh = [one for one in new if (one.added, one.message, one.attachment) not in known]
        return self.model_copy(
            update={"pictures": tuple(sorted((*self.pictures, *fresh), key=lambda one: one.added)[:MOST_PICTURES])}
        )

    def without(self, gone: Iterable[Picture]) -> Story:
        """All but these."""
        gone = list(gone)
        return self.model_copy(update={"pictures": tuple(one for one in self.pictures if one not in gone)})

    def timed(self, pins: str) -> Story:
        """With the pictures at these times.

        Raises:
            Refusal: they cannot be read, or are not one for each picture.
        """
        changed = self.model_copy(update={"pins": pins.strip()})
        changed.request()
        return changed

    @property
    def full(self) -> bool:
        """Whether there are as many as there may be."""
        return len(self.pictures) >= MOST_PICTURES

    @property
    def names(self) -> tuple[str, ...]:
        """What the recipe calls the pictures."""
        return tuple(f"picture_{number}" for number in range(1, len(self.pictures) + 1))

    def request(self, *, yet_to_come: int = 0) -> AnimateDiffRequest:
        """What AnimateDiff is asked for. `yet_to_come`: as if there were so many pictures at least.

        Raises:
            Refusal: what was chosen does not go together.
        """
        seconds, fps = parse(Length, self.options).seconds, self._fps
        if round(seconds * fps) > MOST_FRAMES:
            raise BadOption(
                option="seconds",
                reason=f"at {fps} frames a second that is more than {MOST_FRAMES} frames",
                hint=f"It may be up to {MOST_FRAMES / fps:.3g} here.",
            )
        names = self.names or tuple(f"picture_{number}" for number in range(1, yet_to_come + 1))
        frames = {"num_frames": max(1, round(seconds * fps)), "pictures": names, "pins": self.pins}
        return parse(AnimateDiffRequest, {**self.options, **frames})

    @property
    def _fps(self) -> int:
        return int(self.options.get("fps") or AnimateDiffRequest.model_fields["fps"].default)

    def steps(self, *, yet_to_come: int = 0) -> list[Request]:
        """The whole chain.

        Raises:
            Refusal: what was chosen does not go together.
        """
        others = {name: value for name, value in self.options.items() if name not in AnimateDiffRequest.model_fields}
        finishing = parse(Smoothing, others).steps()
        return prepared_for(self.output.format, [self.request(yet_to_come=yet_to_come), *finishing])

    @property
    def output(self) -> Output:
        """The file that comes back."""
        return parse(Output, self.options)

    def sketch(self, steps: Iterable[Request]) -> Recipe:
        """A recipe over pictures that nobody sent yet, to be held against what is allowed."""
        blank = Source(digest="0" * 64, width=512, height=512)
        return Recipe(
            sources=dict.fromkeys(self.names or ("picture_1",), blank),
            steps=tuple(steps),  # type: ignore[arg-type]
            output=self.output,
        )

    @property
    def text(self) -> str:
        """What its message says."""
        prompt = plain(str(self.options.get("prompt", "")), SHOWN_PROMPT)
        facts = {"person": f"<@{self.starter}>", "prompt": prompt}
        seconds = parse(Length, self.options).seconds
        lines = [say("story_of", facts) if prompt else say("story_of_pictures", facts)]
        lines.append(say("story_how", {"most": MOST_PICTURES, "seconds": seconds}))
        lines += self._pictures()
        return "\n".join([*lines, say("story_until", {"time": f"<t:{self.until}:t>"})])

    def _pictures(self) -> list[str]:
        """Which there are and when, or what is wrong with that."""
        if not self.pictures:
            return []
        try:
            places = self.request().places
        except Refusal as refusal:
            names = ", ".join(plain(picture.name, SHOWN_NAME) for picture in self.pictures)
            return [say("story_pictures", {"names": names}), f"⚠️ {word(refusal)}"]
        return [
            say("story_picture", {"number": number, "name": plain(picture.name, SHOWN_NAME), "seconds": at / self._fps})
            for number, (picture, at) in enumerate(zip(self.pictures, places, strict=True), 1)
        ]


class Stories:
    """All that are open, in Redis: `zoetrope:storyboard:<id>`, and each person's ids, so that they can be forgotten."""

    def __init__(self, redis: ArqRedis) -> None:
        self._redis = cast(Any, redis)

    async def keep(self, story: Story) -> None:
        """A new one."""
        await self._redis.set(_key(story.id), story.model_dump_json(), ex=KEPT_SECONDS)
        await self._redis.sadd(_of(story.starter), story.id)
        await self._redis.expire(_of(story.starter), KEPT_SECONDS)

    async def get(self, story_id: str) -> Story:
        """As it is now.

        Raises:
            StoryGone: it is no more.
        """
        return _read(await self._redis.get(_key(story_id)))

    async def change(self, story_id: str, how: Callable[[Story], Story]) -> Story:
        """Change it, whoever else does so at this moment: `how` is asked again where it was given an old one.

        Raises:
            StoryGone: it is no more.
            Refusal: `how` refuses.
        """
        async with self._redis.pipeline(transaction=True) as pipeline:
            while True:
                await pipeline.watch(_key(story_id))
                changed = how(_read(await pipeline.get(_key(story_id))))
                pipeline.multi()
                pipeline.set(_key(story_id), changed.model_dump_json(), xx=True, keepttl=True)
                try:
                    await pipeline.execute()
                except WatchError:
                    continue
                return changed

    async def drop(self, story: Story) -> None:
        """It is given up."""
        await self._redis.delete(_key(story.id))
        await self._redis.srem(_of(story.starter), story.id)

    async def forget(self, person: str) -> None:
        """All of somebody's."""
        ids = [one.decode() for one in await self._redis.smembers(_of(person))]
        await self._redis.delete(_of(person), *map(_key, ids))


def starting(story_id: str, starter: int, channel: int, options: Mapping[str, Any]) -> Story:
    """A story without pictures."""
    return Story(
        id=story_id, starter=starter, channel=channel, until=round(time.time()) + KEPT_SECONDS, options=dict(options)
    )


def plain(text: str, limit: int) -> str:
    """What somebody wrote, on one line, so that it can neither format nor ping."""
    line = " ".join(text.split())
    line = line if len(line) <= limit else line[: limit - 1].rstrip() + "…"
    return discord.utils.escape_markdown(discord.utils.escape_mentions(line))


def _read(document: bytes | None) -> Story:
    try:
        return Story.model_validate_json(document or b"")
    except ValidationError:  # or another version's
        raise StoryGone() from None


def _key(story_id: str) -> str:
    return f"zoetrope:storyboard:{story_id}"


def _of(person: int | str) -> str:
    return f"zoetrope:storyboards:{person}"
