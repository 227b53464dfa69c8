"""A storyboard as a value, and in a real Redis."""

import asyncio

import pytest

from bot.options import offered
from bot.storyboard import (
    KEPT_SECONDS,
    MODELS,
    OFFERED,
    Picture,
    Stories,
    Story,
    StoryGone,
    StoryOptions,
    plain,
    starting,
)
from jobs.errors import Refusal
from jobs.queue import JobQueue
from jobs.requests.animatediff import MOST_PICTURES, AnimateDiffRequest
from jobs.requests.loop import LoopRequest
from jobs.requests.smooth import SmoothRequest
from jobs.texts import word

LONGEST = 2000
"""Discord's limit for a message, in characters."""


def pictures(count: int, name: str = "a.png") -> list[Picture]:
    return [Picture(message=number, attachment=100 + number, name=name, added=number) for number in range(count)]


def story(count: int = 0, /, **options: str | bool | int | float) -> Story:
    return starting("1", 7, 55, options).with_pictures(pictures(count))


def test_its_options_are_animatediffs_own() -> None:
    for name in OFFERED:
        mine, theirs = StoryOptions.model_fields[name], AnimateDiffRequest.model_fields[name]
        assert (mine.annotation, mine.default, mine.description) == (
            theirs.annotation,
            theirs.default,
            theirs.description,
        )
        assert mine.metadata == theirs.metadata
    assert len(offered(*MODELS)) <= 25


@pytest.mark.parametrize(
    ("count", "places"), [(1, (0,)), (2, (0, 31)), (3, (0, 16, 31)), (8, (0, 4, 9, 13, 18, 22, 27, 31))]
)
def test_pictures_spread_evenly(count: int, places: tuple[int, ...]) -> None:
    assert story(count).request().places == places


def test_pictures_stand_in_the_order_in_which_they_were_sent_and_once() -> None:
    late, early = (
        Picture(message=9, attachment=1, name="b", added=9),
        Picture(message=8, attachment=2, name="a", added=8),
    )
    linked = Picture(message=3, attachment=3, name="old", added=10)
    made = story().with_pictures([late]).with_pictures([early, linked]).with_pictures([early])

    assert [picture.name for picture in made.pictures] == ["a", "b", "old"]


def test_there_are_no_more_than_there_may_be() -> None:
    assert len(story(20).pictures) == MOST_PICTURES
    assert story(20).full


def test_what_was_chosen_is_in_the_request_and_behind_it() -> None:
    steps = story(2, prompt="a fox", fps=12, seconds=2.0, smooth="x2", seed=3, pin_scale=0.5).steps()

    assert isinstance(steps[0], AnimateDiffRequest)
    assert (steps[0].num_frames, steps[0].fps, steps[0].seed, steps[0].pin_scale) == (24, 12, 3, 0.5)
    assert [type(step) for step in steps[1:]] == [SmoothRequest]
    looped = story(2, loop=True).steps()
    assert isinstance(looped[0], AnimateDiffRequest)
    assert looped[0].loop
    assert not any(isinstance(step, LoopRequest) for step in looped)


def test_a_new_seed_each_time_unless_one_was_chosen() -> None:
    assert len({story(1).request().seed for _ in range(5)}) > 1
    assert {story(1, seed=4).request().seed for _ in range(5)} == {4}


def test_more_frames_than_there_may_be_are_answered_in_seconds() -> None:
    with pytest.raises(Refusal) as refused:
        story(1, seconds=20.0, fps=30).request()

    assert "`seconds` does not fit" in word(refused.value)
    assert "up to 8.53" in word(refused.value)


def test_its_message_always_fits_whatever_was_written() -> None:
    wild = starting("1", 7, 55, {"prompt": "*_`~|@everyone\n" * 140}).with_pictures(pictures(8, "_*`" * 80 + ".png"))

    assert len(wild.text) <= LONGEST
    assert len(wild.model_copy(update={"pins": "x" * 200}).text) <= LONGEST
    assert "@everyone" not in wild.text


def test_what_somebody_wrote_neither_formats_nor_breaks_the_line() -> None:
    assert plain("a **fox**\n# runs", 40) == r"a \*\*fox\*\* # runs"
    assert len(plain("x" * 100, 40)) == 40


async def test_many_changes_at_once_are_all_kept(queue: JobQueue) -> None:
    stories = Stories(queue.redis)
    await stories.keep(story())
    await asyncio.gather(
        *(stories.change("1", lambda now, each=each: now.with_pictures([each])) for each in pictures(8))
    )

    assert (await stories.get("1")).pictures == tuple(pictures(8))
    assert 0 < await queue.redis.ttl("zoetrope:storyboard:1") <= KEPT_SECONDS


async def test_what_is_gone_stays_gone(queue: JobQueue) -> None:
    stories = Stories(queue.redis)
    await stories.keep(story())
    await stories.drop(story())
    for call in (stories.get("1"), stories.change("1", lambda now: now)):
        with pytest.raises(StoryGone):
            await call

    assert await queue.redis.keys("zoetrope:storyboard*") == []


async def test_another_versions_is_gone(queue: JobQueue) -> None:
    await queue.redis.set("zoetrope:storyboard:1", '{"id": "1", "chapters": 3}')
    with pytest.raises(StoryGone):
        await Stories(queue.redis).get("1")


async def test_a_person_is_forgotten_and_no_other(queue: JobQueue) -> None:
    stories = Stories(queue.redis)
    for story_id, person in (("1", 7), ("2", 7), ("3", 8)):
        await stories.keep(starting(story_id, person, 55, {}))
    await stories.forget("7")

    assert {key.decode() for key in await queue.redis.keys("zoetrope:storyboard*")} == {
        "zoetrope:storyboard:3", "zoetrope:storyboards:8",
    }  # fmt: skip
