"""Asking AnimateDiff: the options for which a command has no room, schedules to be looked at, choices while typing."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from jobs.errors import Note
from jobs.record import Failed, Job
from jobs.requests.animatediff import AnimateDiffRequest
from jobs.requests.restyle import RestyleRequest
from tests.discord_server.interactions import Asked
from tests.discord_server.model import Json, Message
from tests.e2e.advertised import believing, queued
from tests.e2e.conftest import Room
from tests.stack import Stack

pytestmark = pytest.mark.asyncio(loop_scope="module")

SCHEDULE = "0s: spring | 2s: summer"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    async with believing(tmp_path_factory.mktemp("stack")) as stack:
        yield stack


def fields(asked: Asked) -> dict[str, Json]:
    """The open form's fields by their labels; every text fits what Discord takes."""
    assert asked.modal is not None
    assert len(asked.modal["title"]) <= 45
    assert len(asked.modal["components"]) <= 5
    found: dict[str, Json] = {}
    for label in asked.modal["components"]:
        field = label["component"]
        assert len(label["label"]) <= 45
        assert len(label.get("description") or "") <= 100
        assert len(field.get("placeholder") or "") <= 100
        assert len(field.get("value") or "") <= field.get("max_length", 4000) <= 4000
        found[label["label"]] = field
    return found


def lead(job: Job) -> AnimateDiffRequest:
    step = job.submission.recipe.lead
    assert isinstance(step, AnimateDiffRequest)
    return step


async def send(room: Room, asked: Asked, values: dict[str, str]) -> Asked:
    return await (await room.server.submit_modal(asked, room.person, values)).answered(20)


def question(asked: Asked) -> Message:
    """What is asked in private, with its buttons."""
    message = asked.shown[-1]
    assert message.ephemeral
    assert [each["label"] for row in message.components for each in row["components"]] == [
        "Queue it", "Change…", "Never mind",
    ]  # fmt: skip
    return message


# --- advanced: yes ---


async def test_the_advanced_options_are_a_form_and_the_recipe_has_what_was_typed(room: Room) -> None:
    form = await room.slash(
        "animatediff", prompt="a fox in the snow", num_frames=24, seed=5, format="gif", advanced=True
    )
    shown = fields(form)
    assert list(shown) == ["num_inference_steps", "guidance_scale", "sampler", "look_scale", "everything else"]
    assert "width: \n" in shown["everything else"]["value"] + "\n"
    assert "freenoise: yes" in shown["everything else"]["value"]

    others = (
        shown["everything else"]["value"].replace("freenoise: yes", "freenoise: no").replace("width:", "width: 640")
    )
    asked = await send(room, form, {"num_inference_steps": "30", "sampler": "", "everything else": others})
    assert "Queued with **animatediff**" in asked.text
    [job] = await queued(room)
    step = lead(job)
    assert (step.prompt, step.num_frames, step.seed) == ("a fox in the snow", 24, 5)
    assert (step.num_inference_steps, step.freenoise, step.width, step.sampler) == (30, False, 640, None)
    assert (step.context, step.context_overlap, step.clip_skip) == ("auto", 4, 0)
    assert job.submission.recipe.output.format == "gif"


async def test_what_was_attached_goes_through_the_form(room: Room) -> None:
    form = await room.slash("animatediff", image=room.picture(), prompt="a fox", advanced=True)
    asked = await send(room, form, {})
    assert "Queued" in asked.text
    [job] = await queued(room)
    assert (lead(job).image, list(job.submission.recipe.sources)) == ("image", ["image"])


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"everything else": "clip skip, please"}, "I cannot read the line “clip skip, please”"),
        ({"everything else": "wiggle: 3"}, "I cannot read the line “wiggle: 3”"),
        ({"everything else": "width: 641"}, "`width` does not fit"),
        ({"num_inference_steps": "many"}, "`num_inference_steps` does not fit"),
        ({"guidance_scale": "50"}, "It may be 1 to 20"),
        ({"sampler": "magic"}, "`sampler` does not fit"),
        ({"everything else": "context_length: 4"}, "context_overlap"),
    ],
)
async def test_what_does_not_fit_is_told_in_private(room: Room, values: dict[str, str], sentence: str) -> None:
    form = await room.slash("animatediff", prompt="a fox", advanced=True)
    asked = await send(room, form, values)

    assert sentence in asked.text
    assert asked.shown[-1].ephemeral
    assert room.server.bot_messages(room.channel) == []
    assert await queued(room) == []


async def test_advanced_switched_off_is_no_form(room: Room) -> None:
    asked = await room.slash("animatediff", prompt="a fox", advanced=False)
    assert asked.modal is None
    assert len(await queued(room)) == 1


async def test_the_longest_texts_fit_the_form_of_a_remix(room: Room) -> None:
    """2000 characters of prompt, 2000 of what is not wanted, 4000 of schedule, 400 of numbers."""
    schedule = " | ".join(f"{frame}: {'snow falls and ' * 13}".ljust(197) for frame in range(20))[:3999]
    motion = ", ".join(f"{frame}:(1.{frame:02})" for frame in range(40))[:400].rpartition(",")[0]
    asked = await room.slash(
        "animatediff", prompt="p" * 2000, negative="n" * 2000, schedule=schedule, motion_scale=motion, num_frames=48
    )
    form = await (await room.server.press(question(asked), room.person, "Change…")).answered()
    shown = fields(form)
    assert (shown["prompt"]["value"], shown["schedule"]["value"]) == ("p" * 2000, schedule)
    assert f"motion_scale: {motion}" in shown["everything else"]["value"].splitlines()
    again = question(await send(room, form, {"model": "dreamshaper-8"}))
    await (await room.server.press(again, room.person, "Queue it")).answered()
    [job] = await queued(room)
    assert (lead(job).prompt, lead(job).schedule, lead(job).motion_scale) == ("p" * 2000, schedule, motion)


# --- a schedule is looked at before it is queued ---


async def test_a_schedule_is_shown_before_it_is_queued(room: Room) -> None:
    asked = await room.slash("animatediff", schedule=SCHEDULE, num_frames=32, seed=9)
    message = question(asked)
    assert "spring" in message.content
    assert "summer" in message.content
    assert "Queue it?" in message.content
    assert await queued(room) == []

    pressed = await (await room.server.press(message, room.person, "Queue it")).answered()
    await room.stack.until(lambda: "Queued with **animatediff**" in message.content)
    assert pressed.updates
    [job] = await queued(room)
    assert (lead(job).schedule, lead(job).seed, lead(job).num_frames) == (SCHEDULE, 9, 32)


async def test_change_opens_the_form_with_everything_as_it_was(room: Room) -> None:
    asked = await room.slash(
        "animatediff", prompt="a fox,", schedule=SCHEDULE, num_frames=32, seed=9, camera="zoom in\npan left 0.5"
    )
    form = await (await room.server.press(question(asked), room.person, "Change…")).answered()
    shown = fields(form)
    assert shown["prompt"]["value"] == "a fox,"
    assert shown["schedule"]["value"] == SCHEDULE
    others = shown["everything else"]["value"].splitlines()
    assert {"num_frames: 32", "seed: 9", "camera: zoom in, pan left 0.5", "module: v15-v2"} <= set(others)

    changed = await send(room, form, {"schedule": "0s: autumn | 3s: winter"})
    message = question(changed)
    assert "autumn" in message.content
    await (await room.server.press(message, room.person, "Queue it")).answered()
    [job] = await queued(room)
    step = lead(job)
    assert (step.prompt, step.schedule, step.seed) == ("a fox,", "0s: autumn | 3s: winter", 9)
    assert step.camera == "zoom in, pan left 0.5"


async def test_never_mind_queues_nothing(room: Room) -> None:
    message = question(await room.slash("animatediff", schedule=SCHEDULE, num_frames=32))
    await (await room.server.press(message, room.person, "Never mind")).answered()
    await room.stack.until(lambda: message.content == "Nothing was queued.")
    assert message.components == []
    assert await queued(room) == []


@pytest.mark.parametrize(
    ("schedule", "place"),
    [("0s: spring | soon: summer", "soon"), ("0s: spring | 2q: summer", "2q"), ("spring", "spring")],
)
async def test_a_mistake_in_a_schedule_is_named_with_its_place(room: Room, schedule: str, place: str) -> None:
    asked = await room.slash("animatediff", schedule=schedule, num_frames=32)
    assert place in asked.text
    assert "schedule" in asked.text
    assert asked.shown[-1].components == []
    assert await queued(room) == []


async def test_again_does_not_ask_again(room: Room) -> None:
    asked = await room.slash("animatediff", schedule=SCHEDULE, num_frames=32, seed=9)
    await (await room.server.press(question(asked), room.person, "Queue it")).answered()
    lease = await room.stack.queue.claim(asked.id, "w1")
    assert lease is not None
    await room.stack.queue.settle(lease, Failed(reason=Note("renderer_died", {"attempts": 3}), incident="i"))
    await room.stack.until(lambda: room.said("renderer") or room.said("died"))
    ended = next(message for message in room.server.bot_messages(room.channel) if "Again" in str(message.components))
    again = await (await room.server.press(ended, room.person, "Again")).answered()

    assert "Queued with **animatediff**" in again.text
    [job] = await queued(room)
    assert lead(job).schedule == SCHEDULE
    assert lead(job).seed != 9


async def test_what_has_no_schedule_is_queued_at_once(room: Room) -> None:
    asked = await room.slash("animatediff", prompt="a fox")
    assert "Queued with **animatediff**" in asked.text
    assert len(await queued(room)) == 1


async def test_a_message_with_words_alone_makes_a_clip_of_them(room: Room) -> None:
    text = (
        f"{room.server.bot.mention} animatediff a fox, in the snow num_frames 24, camera zoom in, pan left 0.5 seed 3"
    )
    await room.server.say(room.person, text, mention_bot=True, channel=room.channel)
    await room.stack.until(lambda: room.server.bot_messages(room.channel))
    [job] = await queued(room)
    step = lead(job)
    assert (step.prompt, step.num_frames, step.camera) == ("a fox, in the snow", 24, "zoom in, pan left 0.5")
    assert (step.image, step.seed, job.submission.recipe.sources) == (None, 3, {})


async def test_a_message_with_words_and_a_picture_begins_with_the_picture(room: Room) -> None:
    text = f"{room.server.bot.mention} animatediff a fox in the snow seconds 3"
    await room.server.say(room.person, text, attachments=[room.picture()], mention_bot=True, channel=room.channel)
    await room.stack.until(lambda: room.server.bot_messages(room.channel))
    [job] = await queued(room)
    assert (lead(job).image, lead(job).prompt, lead(job).num_frames) == ("image", "a fox in the snow", 24)


async def test_words_for_a_system_that_needs_a_picture_are_refused(room: Room) -> None:
    await room.server.say(
        room.person, f"{room.server.bot.mention} parallax move orbit", mention_bot=True, channel=room.channel
    )
    await room.final("no picture in that message")


# --- choices while somebody types ---


async def offered(room: Room, command: str, option: str, typed: str, **more: object) -> list[str]:
    asked = await room.server.autocomplete(command, room.person, option, typed, channel=room.channel, **more)
    await asked.answered()
    assert asked.choices is not None
    assert all(choice["name"] == choice["value"] and len(choice["name"]) <= 100 for choice in asked.choices)
    return [choice["value"] for choice in asked.choices]


async def test_image_models_that_are_installed_are_offered_the_owners_first(room: Room) -> None:
    assert await offered(room, "animatediff", "model", "") == ["dreamshaper-8", "stable-diffusion-v1-5"]
    assert await offered(room, "animatediff", "model", "STABLE") == ["stable-diffusion-v1-5"]
    assert await offered(room, "animatediff", "model", "flux") == []
    assert await offered(room, "restyle", "model", "") == ["stable-diffusion-v1-5"]
    assert await offered(room, "storyboard", "model", "dream", prompt="a fox") == ["dreamshaper-8"]


async def test_camera_moves_that_are_installed_are_offered_one_after_another(room: Room) -> None:
    assert set(await offered(room, "animatediff", "camera", "")) == {"zoom in", "pan left"}
    assert await offered(room, "animatediff", "camera", "zo") == ["zoom in"]
    assert await offered(room, "animatediff", "camera", "zoom in, ") == ["zoom in, pan left"]


async def test_what_a_video_can_be_held_by_is_offered(room: Room) -> None:
    holds = await offered(room, "restyle", "hold", "")
    assert {"depth", "tile"} <= set(holds)
    assert "openpose" not in holds
    assert all(RestyleRequest(prompt="x", hold=hold) for hold in holds)
    assert "depth, tile" in await offered(room, "restyle", "hold", "depth, ")
