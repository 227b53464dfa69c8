"""The renderer as a real process: it renders, stops, dies and is replaced, and never outlives its parent."""

import asyncio
import contextlib
import io
import os
import secrets
import signal
import struct
import sys
import time
from collections.abc import AsyncIterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import pytest_asyncio
from PIL import Image

from inference.messages import (
    HEADER,
    MAX_MESSAGE,
    MAX_PAYLOAD,
    Broke,
    CannotRender,
    ClipBegins,
    Done,
    Learned,
    OneFrame,
    Order,
    Preview,
    Ready,
    Setup,
    Step,
    Stop,
    Stopped,
    from_child,
    from_parent,
    packed,
)
from inference.renderer import CannotBeRendered, RenderBroke, RenderedClip, Renderer, RendererDied, RenderStopped
from jobs.errors import Note
from jobs.recipe import Recipe, Source, Value
from jobs.requests.parallax import ParallaxRequest
from jobs.requests.svd import SvdRequest

ROOT = Path(__file__).resolve().parents[1]
QUICK = ParallaxRequest(move="zoom in", seconds=0.5, size=360, fps=5, seed=7)
LONG = ParallaxRequest(move="zoom in", seconds=10, size=1080, fps=30, seed=7)
pytestmark = pytest.mark.asyncio(loop_scope="module")

PRINTING = '''
"""Put before everything else in the child: a library that prints while it is loaded."""
import os, sys

class Loud:
    def find_spec(self, name, path=None, target=None):
        if name == "LOUD_MODULE":
            print("loading", name, "…" * 2000, flush=True)
            os.write(1, b"and past Python's own buffer\\n")
            os.system("echo and from a process of its own")

sys.meta_path.insert(0, Loud())
'''
"""As `sitecustomize`, which Python imports by itself."""

PARENT = """
import asyncio, sys
from pathlib import Path
from inference.renderer import Renderer
from tests.test_renderer import setup_in

async def main():
    folder = Path(sys.argv[1])
    renderer = Renderer(setup_in(folder), folder)
    await renderer.start()
    print(renderer.pid, flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""
"""A worker that starts its renderer, says its process id and waits to be killed."""


def setup_in(folder: Path) -> Setup:
    """A renderer on the CPU without any checkpoint."""
    return Setup(
        models=folder / "models", device="cpu", dtype="auto", vram_bytes=None, ram_bytes=None, threads=1, options={}
    )


def recipe(request: ParallaxRequest | SvdRequest) -> Recipe:
    """One step over one picture."""
    return Recipe(sources={"image": Source(digest="0" * 64, width=96, height=64)}, steps=(request,))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def renderer(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Renderer]:
    """One for all tests: each must leave it able to render, as a worker's would be."""
    folder = tmp_path_factory.mktemp("renderer")
    renderer = Renderer(setup_in(folder), folder)
    yield renderer
    await renderer.kill()


@pytest.fixture
def sources(tmp_path: Path) -> dict[str, Path]:
    """A picture large enough for a long render to be long."""
    path = tmp_path / "picture.png"
    Image.radial_gradient("L").resize((1600, 1200)).convert("RGB").save(path)
    return {"image": path}


async def render(
    renderer: Renderer,
    sources: dict[str, Path],
    request: ParallaxRequest | SvdRequest = QUICK,
    *,
    on_step: Any = None,
    stop: asyncio.Event | None = None,
    job_id: str | None = None,
) -> RenderedClip:
    """Render, with steps that nobody looks at unless `on_step` does."""

    async def ignore(_: Step) -> None:
        return

    order = Order(job_id=job_id or secrets.token_hex(4), recipe=recipe(request), sources=sources)
    return await renderer.render(order, on_step or ignore, stop or asyncio.Event())


async def gone(pid: int, seconds: float = 10.0) -> bool:
    """Whether the process ends within so many seconds."""
    end = time.monotonic() + seconds
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        if time.monotonic() > end:
            return False
        await asyncio.sleep(0.02)
    return True


async def test_frames_arrive_in_a_spool_with_steps_before_them(renderer: Renderer, sources: dict[str, Path]) -> None:
    steps: list[Step] = []

    async def on_step(step: Step) -> None:
        steps.append(step)

    clip = await render(renderer, sources, on_step=on_step)
    with clip.spool as spool:
        assert (spool.height, spool.fps, len(spool)) == (360, Fraction(5), spool.count)
        assert spool.count >= 2
        assert len({frame.tobytes() for frame in spool}) > 1, "it moves"
        assert all(frame.std() > 1 for frame in spool), "it shows the picture"
    assert steps
    assert (steps[-1].step, steps[-1].stage) == (steps[-1].total, "moving")


async def test_one_child_renders_job_after_job_and_the_same_request_gives_the_same_frames(
    renderer: Renderer, sources: dict[str, Path]
) -> None:
    first = await render(renderer, sources)
    pid = renderer.pid
    second = await render(renderer, sources)
    with first.spool as one, second.spool as other:
        assert np.array_equal(np.stack(list(one)), np.stack(list(other)))
    assert renderer.pid == pid


async def test_a_stopped_render_stops_soon_and_its_child_goes_on_to_the_next(
    renderer: Renderer, sources: dict[str, Path]
) -> None:
    await renderer.start()
    pid, stop = renderer.pid, asyncio.Event()

    async def on_step(_: Step) -> None:
        stop.set()

    begun = time.monotonic()
    with pytest.raises(RenderStopped):
        await render(renderer, sources, LONG, on_step=on_step, stop=stop)

    assert time.monotonic() - begun < 5
    (await render(renderer, sources)).spool.close()
    assert renderer.pid == pid


async def test_a_job_that_was_stopped_may_be_rendered_later(renderer: Renderer, sources: dict[str, Path]) -> None:
    """A worker that lost its lease may be the one that gets the job again; nobody cancelled it."""
    stop = asyncio.Event()

    async def on_step(_: Step) -> None:
        stop.set()

    with pytest.raises(RenderStopped):
        await render(renderer, sources, LONG, on_step=on_step, stop=stop, job_id="1001")

    (await render(renderer, sources, job_id="1001")).spool.close()


async def test_a_child_killed_while_rendering_is_told_apart_and_the_next_render_has_a_new_one(
    renderer: Renderer, sources: dict[str, Path]
) -> None:
    await renderer.start()
    pid = renderer.pid
    assert pid

    async def on_step(_: Step) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)

    with pytest.raises(RendererDied):
        await render(renderer, sources, LONG, on_step=on_step)
    assert renderer.pid is None
    assert await gone(pid)
    (await render(renderer, sources)).spool.close()

    assert renderer.pid not in (None, pid)


async def test_a_render_that_is_given_up_takes_its_child_with_it(renderer: Renderer, sources: dict[str, Path]) -> None:
    """Whatever that child would still send belongs to nobody."""
    await renderer.start()
    pid = renderer.pid
    assert pid
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await render(renderer, sources, LONG)

    assert renderer.pid is None
    assert await gone(pid)


async def test_what_is_in_the_way_comes_back_as_a_code_and_a_bug_as_its_traceback(
    renderer: Renderer, sources: dict[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(CannotBeRendered) as refused:
        await render(renderer, sources, SvdRequest())
    with pytest.raises(RenderBroke, match="FileNotFoundError"):
        await render(renderer, {"image": tmp_path / "nowhere.png"})

    assert refused.value.reason.code == "svd_not_installed"
    (await render(renderer, sources)).spool.close()


@pytest_asyncio.fixture(loop_scope="module")
async def loud(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Renderer]:
    """A renderer, not yet started, in whose child the module that is named prints when it is imported."""
    (tmp_path / "sitecustomize.py").write_text(PRINTING.replace("LOUD_MODULE", request.param), "utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    renderer = Renderer(setup_in(tmp_path), tmp_path)
    yield renderer
    await renderer.kill()


@pytest.mark.parametrize("loud", ["inference.systems.parallax.system"], indirect=True)
async def test_a_system_that_prints_does_not_garble_the_frames_and_the_child_knows_no_secret(
    loud: Renderer, sources: dict[str, Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name in (
        "DISCORD_TOKEN",
        "ZOETROPE_DISCORD__TOKEN",
        "ZOETROPE_REDIS__URL",
        "AWS_SECRET_ACCESS_KEY",
        "HF_TOKEN",
    ):
        monkeypatch.setenv(name, "a secret")
    clip = await render(loud, sources)
    clip.spool.close()
    environment = psutil.Process(loud.pid).environ()

    assert "past Python's own buffer" in caplog.text, "it did print"
    assert "from a process of its own" in caplog.text
    assert environment["PYTHONPATH"], "what it needs it has"
    assert "a secret" not in environment.values()


@pytest.mark.parametrize("loud", ["torch"], indirect=True)
async def test_a_library_that_prints_when_the_child_starts_does_not_either(loud: Renderer) -> None:
    assert (await loud.start()).device == "cpu"


async def test_a_child_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PARENT, str(tmp_path), stdout=asyncio.subprocess.PIPE, cwd=ROOT
    )
    assert parent.stdout
    child = int(await parent.stdout.readline())
    assert psutil.pid_exists(child)
    parent.kill()
    await parent.wait()

    assert await gone(child)


# What goes over the wire

NOTE = Note("svd_not_installed", {"model": "svd-xt", "files": 3, "gb": 1.5})
FROM_CHILD: list[Value] = [
    Ready(device="cuda:0", device_name="Ж 🎞️", vram_bytes=2**37),
    Step(stage="denoising", step=1, total=25, gpu_ms=1234, vram_free_bytes=2**36),
    Preview(),
    ClipBegins(width=3, height=2, num_frames=1, fps=(30000, 1001), said=(NOTE,), facts={"model": "svd"}),
    Learned(),
    OneFrame(),
    Done(gpu_ms=41_000, loading_ms=9_000, holding=frozenset({"svd", "svd/svd-xt"}), vram_free_bytes=2**35),
    Stopped(gpu_ms=7),
    CannotRender(reason=NOTE),
    Broke(traceback='File "x"\n\0', poisoned=True),
]
TO_CHILD: list[Value] = [
    setup_in(Path("/somewhere")),
    Order(job_id="1001-2", recipe=recipe(SvdRequest()), sources={"image": Path("/a b/ü.png")}),
    Stop(job_id="1001"),
]


async def reader_of(data: bytes) -> asyncio.StreamReader:
    """A stream in which this has arrived, and no more will."""
    reader = asyncio.StreamReader()
    reader.feed_data(data)
    reader.feed_eof()
    return reader


@pytest.mark.parametrize("message", FROM_CHILD, ids=lambda message: message.kind)
@pytest.mark.parametrize("payload", [b"", b"\x00\xff" * 9])
async def test_what_the_child_says_arrives_as_it_was_said(message: Value, payload: bytes) -> None:
    reader = await reader_of((packed(message, payload) + payload) * 2)

    for _ in range(2):
        assert await from_child(reader) == (message, payload)
    with pytest.raises(asyncio.IncompleteReadError):
        await from_child(reader)


@pytest.mark.parametrize("message", TO_CHILD, ids=lambda message: message.kind)
async def test_what_the_parent_says_arrives_as_it_was_said(message: Value) -> None:
    stream = io.BytesIO(packed(message) * 2)

    assert [from_parent(stream) for _ in range(3)] == [message, message, None]


@pytest.mark.parametrize(
    "header", [(MAX_MESSAGE + 1, 0), (10, MAX_PAYLOAD + 1), struct.unpack(">II", b"Loading ")], ids=str
)
async def test_lengths_that_cannot_be_ours_are_refused_before_anything_is_read(header: tuple[int, int]) -> None:
    data = HEADER.pack(*header)

    with pytest.raises(ValueError, match="no frame of ours"):
        await from_child(await reader_of(data))
    with pytest.raises(ValueError, match="no frame of ours"):
        from_parent(io.BytesIO(data))


async def test_words_of_the_wrong_side_are_not_understood() -> None:
    with pytest.raises(ValueError, match="kind"):
        await from_child(await reader_of(packed(Stop(job_id="1"))))
    with pytest.raises(ValueError, match="kind"):
        from_parent(io.BytesIO(packed(Done())))
