"""Presets: kept under names that can be typed again, for a person or a server, and no more than can be shown."""

import pytest
from pydantic import ValidationError

from jobs.owned import MOST, MOST_SHARED
from jobs.presets import (
    BadPresetName,
    NoSuchPreset,
    NotYourPreset,
    Preset,
    Presets,
    TooManyPresets,
    TooManyShared,
)
from jobs.queue import JobQueue
from jobs.recipe import Recipe, Source
from jobs.requests.finish import Continuation
from jobs.requests.parallax import ParallaxRequest
from jobs.requests.stitch import StitchRequest
from tests.queued import submission

RECIPE = submission("1").recipe


async def test_ones_own_goes_before_the_servers_of_the_same_name(queue: JobQueue) -> None:
    presets = Presets(queue.redis)
    mine = Preset.of("Slow pan", RECIPE)
    await presets.save("guild:5", Preset.of("slow PAN", RECIPE.again()))
    await presets.save("person:7", mine)

    assert await presets.get("slow pan", "person:7", "guild:5") == mine
    assert (await presets.get(" slow pan ", "person:8", "guild:5")).name == "slow PAN"
    assert mine.wanted == {"image": "image"}


async def test_names_that_differ_by_case_alone_are_one(queue: JobQueue) -> None:
    presets = Presets(queue.redis)
    await presets.save("guild:5", Preset.of("foo", RECIPE))
    newer = Preset.of("Foo", RECIPE.again())
    await presets.save("guild:5", newer)

    assert await presets.all("guild:5") == [newer]


def test_a_clip_that_is_a_picture_to_one_step_is_asked_for_as_a_clip() -> None:
    steps = Continuation().steps(ParallaxRequest(image="clip"))
    clip = Source(digest="0" * 64, kind="clip", width=64, height=48, num_frames=8)

    assert Preset.of("on", Recipe(sources={"clip": clip}, steps=tuple(steps))).wanted == {"clip": "clip"}
    with pytest.raises(ValidationError, match="takes a clip as second, and 'image' is image"):
        Recipe(sources={**RECIPE.sources, "clip": clip}, steps=(StitchRequest(second="image"),))


async def test_there_are_no_more_than_discord_can_show(queue: JobQueue) -> None:
    presets = Presets(queue.redis)
    for number in range(MOST):
        await presets.save("person:7", Preset.of(f"number {number}", RECIPE))
    with pytest.raises(TooManyPresets):
        await presets.save("person:7", Preset.of("one more", RECIPE))
    await presets.save("person:7", Preset.of("number 3", RECIPE.again()))

    assert len(await presets.all("person:7")) == MOST
    assert await queue.redis.ttl("zoetrope:presets:person:7") > 0


@pytest.mark.parametrize("name", ["", " ", "a" * 33, "two\nlines", "`code`", "@everyone", "<@1>"])
def test_a_name_that_could_not_be_typed_or_would_ping_is_refused(name: str) -> None:
    with pytest.raises(BadPresetName):
        Preset.of(name, RECIPE)


async def test_what_is_deleted_or_forgotten_is_gone_and_what_cannot_be_read_is_passed_over(queue: JobQueue) -> None:
    presets = Presets(queue.redis)
    for name in ("one", "two"):
        await presets.save("person:7", Preset.of(name, RECIPE))
    await queue.redis.hset("zoetrope:presets:person:7", "three", '{"name": "three", "steps": [{"system": "sora"}]}')
    await presets.delete("person:7", "ONE")
    assert [each.name for each in await presets.all("person:7")] == ["two"]
    with pytest.raises(NoSuchPreset):
        await presets.delete("person:7", "one")

    await presets.forget("7")
    assert await presets.all("person:7") == []


async def test_whoever_shared_a_preset_may_replace_and_take_it_away_and_others_may_not(queue: JobQueue) -> None:
    presets, preset = Presets(queue.redis), Preset.of("pan", RECIPE)
    await presets.share(preset, "7", "5", moderates=False)
    await presets.share(preset, "7", "5", moderates=False)
    with pytest.raises(NotYourPreset):
        await presets.share(preset, "8", "5", moderates=False)
    with pytest.raises(NotYourPreset):
        await presets.unshare("PAN", "8", "5", moderates=False)
    await presets.unshare("PAN", "7", "5", moderates=False)

    assert await presets.all("guild:5") == []


async def test_nobody_but_a_moderator_fills_a_servers_book(queue: JobQueue) -> None:
    presets = Presets(queue.redis)
    for number in range(MOST_SHARED):
        await presets.share(Preset.of(f"number {number}", RECIPE), "7", "5", moderates=False)
    with pytest.raises(TooManyShared):
        await presets.share(Preset.of("one more", RECIPE), "7", "5", moderates=False)
    await presets.share(Preset.of("number 3", RECIPE.again()), "7", "5", moderates=False)
    await presets.share(Preset.of("one more", RECIPE), "7", "5", moderates=True)

    assert len(await presets.all("guild:5")) == MOST_SHARED + 1


async def test_who_is_forgotten_does_not_stand_beside_what_they_shared(queue: JobQueue) -> None:
    presets = Presets(queue.redis)
    await presets.share(Preset.of("pan", RECIPE), "7", "5", moderates=False)
    await presets.forget("7")

    assert [each.by for each in await presets.all("guild:5")] == [""]
    assert [key async for key in queue.redis.scan_iter("zoetrope:presets:shared:*")] == []


def test_letters_that_nobody_sees_do_not_make_another_name() -> None:
    assert Preset.of("x\u200dy", RECIPE).name == "xy"
