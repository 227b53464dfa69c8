"""Every way of asking AnimateDiff, from Discord to the clip, on small checkpoints under their published names.

Bot, worker and renderer are real processes. Lightning's modules need few steps, so most of it runs on them.
"""

import io
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from PIL import Image

from jobs.record import Rendered
from tests.discord_server import LocalDiscord
from tests.discord_server.model import Attachment, Message
from tests.e2e.conftest import Room
from tests.odd_clips import quarters, video
from tests.stack import Stack, running
from tests.tiny_models import FAMILY
from tests.tiny_models.depth import write_depth
from tests.tiny_models.loras import lora_tensors, write_lora
from tests.tiny_models.stable_diffusion import random_model, write_hub

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(600)]

QUICK = {"module": "lightning-2", "num_frames": 4, "seed": 7, "shape": "square"}
SMALL = "width: 128\nheight: 128\n"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """All of Zoetrope with all checkpoints of the family, and a style of the owner's own."""
    folder = tmp_path_factory.mktemp("stack")
    for write in (*FAMILY, write_depth):
        write(folder / "models")
    write_hub(folder / "models" / "checkpoints" / "dreams", random_model("sd15", seed=6))
    write_lora(folder / "models" / "loras" / "ghibli_style.safetensors", lora_tensors(random_model("sd15")))
    settings = {
        "ZOETROPE_LIMITS__CONFIRM_GPU_SECONDS": "0",  # a tiny render is told to take minutes
        "ZOETROPE_SYSTEMS__ANIMATEDIFF__STYLES": '{"dreams": "checkpoints/dreams"}',
        "ZOETROPE_SYSTEMS__ANIMATEDIFF__LORAS": '{"ghibli": "loras/ghibli_style.safetensors"}',
    }
    async with LocalDiscord(message_content=True) as server, running(server, folder, settings=settings) as stack:
        yield stack


async def small(room: Room, system: str = "animatediff", advanced: str = "", /, **options: object) -> None:
    """Ask for a small clip: its size is among the advanced options."""
    form = await room.slash(system, advanced=True, **options)
    assert form.modal is not None, form.text
    fields = {label["component"]["custom_id"] for label in form.modal["components"]}
    assert "others" in fields
    sent = await room.server.submit_modal(form, room.person, {"everything else": advanced})
    asked = await sent.answered(30)
    assert "Queued" in asked.text, asked.text


async def clip_of(room: Room, count: int = 1, seconds: float = 240) -> Message:
    """The newest clip, once there are so many."""
    return (await room.clips(count, seconds))[-1]


async def outcome(room: Room, message: Message) -> Rendered:
    job = await room.stack.queue.job(message.nonce or "")
    assert isinstance(job.outcome, Rendered), job.outcome
    return job.outcome


async def used(room: Room, message: Message) -> set[str]:
    """Names of the checkpoints that a clip was made with."""
    return {each.split()[0] for each in (await outcome(room, message)).checkpoints}


def coloured(room: Room, hue: int) -> Attachment:
    data = io.BytesIO()
    Image.new("RGB", (96, 96), (hue, 255 - hue, 90)).save(data, "PNG")
    return room.server.upload(f"{hue}.png", data.getvalue())


def moving(room: Room) -> Attachment:
    """Two seconds in which something moves."""
    return room.server.upload("moves.mp4", video(pictures=[quarters(shift=2 * number) for number in range(20)]))


async def test_words_become_a_clip_and_the_message_says_how(room: Room) -> None:
    await small(room, "animatediff", SMALL, prompt="a red cat", **QUICK)
    message = await clip_of(room)

    facts = room.facts(message)
    assert (facts.width, facts.height) == (128, 128)
    made = await outcome(room, message)
    assert made.files[0].num_frames == 4
    assert await used(room, message) == {"dreams", "animatediff-lightning-2"}, "the owner's own style comes first"


@pytest.mark.parametrize(
    ("options", "advanced", "checkpoints"),
    [
        ({"camera": "zoom in, pan left 0.5"}, "", ("motion-lora-zoom-in", "motion-lora-pan-left")),
        ({"prompt": "a red cat <lora:ghibli:0.8>"}, "", ("lora-ghibli",)),
        ({"schedule": "0: a red cat | 3: a blue dog", "prompt": ""}, "", ()),
        ({"motion_scale": "0:(1), 3:(1.4)"}, "", ()),
        pytest.param({"loop": True}, "", (), marks=pytest.mark.slow),
        pytest.param({"model": "stable-diffusion-v1-5"}, "", ("stable-diffusion-v1-5",), marks=pytest.mark.slow),
        pytest.param({"module": "animatelcm"}, "", ("animatelcm",), marks=pytest.mark.slow),
        ({"module": "hotshot-xl"}, "num_inference_steps: 5", ("sdxl-base", "hotshot-xl")),
        pytest.param({"num_frames": 12}, "context_length: 8\ncontext: uniform", (), marks=pytest.mark.slow),
    ],
    ids=str,
)
async def test_an_option_reaches_the_renderer(
    room: Room, options: dict[str, Any], advanced: str, checkpoints: tuple[str, ...]
) -> None:
    asked = {"prompt": "a red cat", **QUICK, **options}
    if asked.get("schedule"):
        await _confirmed(room, asked)
    else:
        await small(room, "animatediff", SMALL + advanced, **asked)
    message = await clip_of(room)

    assert set(checkpoints) <= await used(room, message)


async def _confirmed(room: Room, asked: dict[str, Any]) -> None:
    """A schedule is shown before it is queued."""
    form = await room.slash("animatediff", advanced=True, **asked)
    sent = await (await room.server.submit_modal(form, room.person, {"everything else": SMALL})).answered(30)
    assert "turning into the next" in sent.text
    pressed = await room.server.press(sent.shown[-1], room.person, "Queue it")
    await pressed.answered(30)


@pytest.mark.parametrize(
    ("options", "advanced", "checkpoints"),
    [
        ({"module": "v3"}, "num_inference_steps: 5", ("sparsectrl-rgb", "animatediff-v3-adapter")),
        pytest.param(
            {"module": "v3", "follow": "drawing"},
            "num_inference_steps: 5",
            ("sparsectrl-scribble",),
            marks=pytest.mark.slow,
        ),
        ({"module": "pia"}, "num_inference_steps: 5", ("pia",)),
    ],
    ids=str,
)
async def test_a_picture_is_animated(
    room: Room, options: dict[str, Any], advanced: str, checkpoints: tuple[str, ...]
) -> None:
    await small(
        room, "animatediff", SMALL + advanced, image=coloured(room, 30), prompt="a red cat", **{**QUICK, **options}
    )
    message = await clip_of(room)

    assert set(checkpoints) <= await used(room, message)


async def test_a_picture_gives_its_look(room: Room) -> None:
    await small(room, "animatediff", SMALL, look=coloured(room, 200), prompt="a red cat", **QUICK)
    message = await clip_of(room)

    assert {"ip-adapter-plus-sd15", "clip-vit-h"} <= await used(room, message)


async def test_the_front_door_takes_a_picture_with_words(room: Room) -> None:
    """Nothing else that reads words is installed, so /animate chooses it."""
    asked = await room.slash("animate", image=coloured(room, 60), prompt="it rains", seconds=0.5)

    assert "animatediff" in asked.text, asked.text
    job = await room.stack.queue.job(asked.id)
    assert job.submission.recipe.lead.name() == "animatediff"
    await room.stack.queue.cancel(job.id, str(room.person.id), moderator=True)


async def test_a_clip_is_restyled(room: Room) -> None:
    await small(
        room, "restyle", "size: 256", clip=moving(room), prompt="an oil painting", module="lightning-2",
        hold="depth, tile 0.5", seconds=0.5, fps=8,
    )  # fmt: skip
    message = await clip_of(room)

    made = await outcome(room, message)
    assert {"controlnet-depth", "depth-anything-v2-small", "controlnet-tile"} <= await used(room, message)
    assert made.files[0].num_frames == 4


@pytest.mark.slow
async def test_a_motion_is_taught_and_used_by_its_name(room: Room) -> None:
    asked = await room.slash(
        "learnmotion", clip=moving(room), save_as="sway", prompt="squares", learning_steps=20, size=192, rank=4
    )
    assert "Queued" in asked.text, asked.text
    first = await clip_of(room, seconds=500)  # of which twenty steps of learning take two minutes on a core of its own
    assert "motion:sway" in first.text

    await small(
        room, "animatediff", SMALL + "num_inference_steps: 5", prompt="a red cat", motion="sway", num_frames=4, seed=7
    )
    message = await clip_of(room, 2)
    assert "animatediff-v3" in await used(room, message), "the module that it was learned on"


async def test_what_is_not_installed_is_refused_before_it_is_queued(room: Room) -> None:
    asked = await room.slash("animatediff", prompt="a cat", model="nobody")
    assert "no image model called `nobody`" in asked.text

    asked = await room.slash("animatediff", prompt="a cat", camera="zoom in", module="v3")
    assert "version 2" in asked.text
    assert room.server.clips(room.channel) == []
