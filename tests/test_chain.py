"""A chain in the renderer child gives, bit for bit, what its steps give by hand: nothing is encoded between them."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
import torch
from PIL import Image
from pydantic import ValidationError

from inference.messages import Order, Step
from inference.renderer import RenderedClip, Renderer
from inference.residency import Residency
from inference.systems import ROOMS
from inference.systems.base import Place, Sources
from jobs.recipe import Recipe, Source
from jobs.requests.base import PREVIOUS
from jobs.requests.crop import CropRequest
from jobs.requests.loop import LoopRequest
from jobs.requests.parallax import ParallaxRequest
from jobs.requests.smooth import SmoothRequest
from jobs.requests.trim import TrimPastEnd, TrimRequest
from media.frames import FrameSpool
from tests.test_renderer import setup_in

PICTURE = {"image": Source(digest="0" * 64, width=96, height=64)}
STEPS: tuple[Any, ...] = (
    ParallaxRequest(seconds=1.0, fps=8, loop=False, depth="off", seed=1),
    LoopRequest(clip=PREVIOUS, style="boomerang"),
    SmoothRequest(clip=PREVIOUS, factor="x2"),
    CropRequest(clip=PREVIOUS, shape="1:1"),
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def renderer(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Renderer]:
    folder = tmp_path_factory.mktemp("renderer")
    renderer = Renderer(setup_in(folder), folder)
    yield renderer
    await renderer.kill()


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "picture.png"
    Image.radial_gradient("L").resize((96, 64)).convert("RGB").save(path)
    return path


async def rendered(renderer: Renderer, recipe: Recipe, picture: Path) -> tuple[RenderedClip, list[Step]]:
    said: list[Step] = []

    async def on_step(step: Step) -> None:
        said.append(step)

    order = Order(job_id=secrets.token_hex(4), recipe=recipe, sources={"image": picture})
    return await renderer.render(order, on_step, asyncio.Event()), said


def by_hand(folder: Path, picture: Path) -> FrameSpool:
    """The clip after all steps, made in this process."""
    place = Place(folder, torch.device("cpu"), torch.float32, Residency(torch.device("cpu"), None, None))
    spool: FrameSpool | None = None
    for step in STEPS:
        sources = Sources({"image": Image.open(picture).convert("RGB")}, {PREVIOUS: spool} if spool else {})
        clip = ROOMS[step.name()].open(place).render(step, sources, lambda *_: None)
        before, spool = (
            spool,
            FrameSpool.filled(clip.frames, clip.width, clip.height, clip.fps, channels=clip.channels),
        )
        if before:
            before.close()
    assert spool is not None
    return spool


@pytest.mark.asyncio(loop_scope="module")
async def test_a_chain_gives_what_its_steps_give(renderer: Renderer, picture: Path, tmp_path: Path) -> None:
    recipe = Recipe(sources=PICTURE, steps=STEPS)
    clip, said = await rendered(renderer, recipe, picture)
    with by_hand(tmp_path, picture) as last, clip.spool as made:
        assert [frame.tobytes() for frame in made] == [frame.tobytes() for frame in last]
        assert np.stack(list(made)).std() > 1, "it shows the picture"
    shape = recipe.shapes()[-1]
    found = (clip.spool.width, clip.spool.height, clip.spool.count, clip.spool.fps)
    assert found == (shape.width, shape.height, shape.num_frames, shape.fps) == (64, 64, found[2], Fraction(16))
    assert len(clip.step_ms) == len(STEPS)
    assert sum(clip.step_ms) <= clip.gpu_ms
    assert {"moving", "looping", "interpolating", "cropping"} <= {step.stage for step in said}


def test_a_step_must_name_what_is_there() -> None:
    with pytest.raises(ValidationError, match="takes a clip as clip, and 'previous' is nothing"):
        Recipe(sources=PICTURE, steps=(LoopRequest(clip=PREVIOUS),))
    with pytest.raises(ValidationError, match="takes a clip as clip, and 'image' is image"):
        Recipe(sources=PICTURE, steps=(LoopRequest(clip="image"),))


def test_a_chain_is_checked_before_it_waits() -> None:
    recipe = Recipe(sources=PICTURE, steps=(STEPS[0], TrimRequest(clip=PREVIOUS, start=5.0)))

    with pytest.raises(TrimPastEnd):
        recipe.shapes()
    with pytest.raises(TrimPastEnd):
        recipe.model_copy(update={"steps": (*recipe.steps, LoopRequest(clip=PREVIOUS))}).works()


def test_a_chain_is_called_and_served_after_its_leading_step() -> None:
    recipe = Recipe(sources=PICTURE, steps=STEPS)

    assert recipe.title == "parallax → loop → smooth → crop"
    assert (recipe.lead, recipe.seed) == (STEPS[0], 1)
    assert recipe.again().steps[1:] == STEPS[1:]
    assert recipe.again().seed != 1
