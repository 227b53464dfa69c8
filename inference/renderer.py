"""The worker's side of the renderer child: start it, order renders, stop them hard, and outlive its death."""

import asyncio
import contextlib
import logging
import os
import re
import sys
from collections.abc import Awaitable, Callable
from fractions import Fraction
from pathlib import Path

import numpy as np

from inference.chatter import Chatter
from inference.learned import whole
from inference.messages import (
    Broke,
    CannotRender,
    ClipBegins,
    ClipSound,
    Done,
    End,
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
    packed,
)
from jobs.errors import Failure, Note
from jobs.recipe import Value
from media.growing import GrowingSpool

log = logging.getLogger(__name__)

STOP_SECONDS = 5.0
"""So long a stopped job may take to reach its next step; then its process is killed."""
START_SECONDS = 180.0
"""Importing torch from a cold disk and waking a GPU takes this long at most."""
LAST_WORDS_SECONDS = 1.0
"""So long a dead child's last lines are waited for."""
PASSED_ON = re.compile(
    r"(PATH|HOME|USER|LANG|LC_\w+|TZ|TMPDIR|TEMP|LD_\w+|PYTHON\w*|VIRTUAL_ENV|XDG_\w+|HF_HOME"
    r"|(CUDA|NVIDIA|NCCL|TORCH|PYTORCH|TRITON|OMP|MKL|KMP|OPENBLAS|GOMP|MALLOC)_\w+)\Z",
    re.IGNORECASE,
)
"""What the child's environment may hold. It opens foreign files, so no token, password or key is ever passed on."""


class RendererDied(Exception):
    """The child is gone in the middle of its work; a new one may do better."""


class RendererDidNotStart(RendererDied):
    """No new child comes to life: this machine cannot render now, whatever the job."""


class RenderStopped(Exception):
    """The render was stopped as asked."""


class RenderBroke(Exception):
    """A bug in the child; the message is its traceback."""


class CannotBeRendered(Failure):
    """What the child said in words for people."""

    def __init__(self, reason: Note) -> None:
        super().__init__(**reason.facts)
        self.reason = reason


class RenderedClip:
    """What comes out of a render: the frames, spooled once, what to say about them, and in the end what they took."""

    def __init__(self, begins: ClipBegins, scratch: Path, on_begin: "OnClip") -> None:
        """`on_begin` hears of it when its first frame is there."""
        self._on_begin = on_begin
        fps = Fraction(*begins.fps)
        self.spool = GrowingSpool(begins.width, begins.height, fps, begins.num_frames, scratch, begins.channels)
        self.said = begins.said
        self.facts = begins.facts
        self.weights = begins.weights
        self.learned: bytes | None = None
        """A motion, as a whole safetensors file."""
        self.gpu_ms = 0
        self.step_ms: tuple[int, ...] = ()
        self.loading_ms = 0

    def took(self, done: Done) -> None:
        """What it took is known."""
        self.gpu_ms, self.step_ms, self.loading_ms = done.gpu_ms, done.step_ms, done.loading_ms

    @property
    def whole(self) -> bool:
        """Whether all its frames are there."""
        return self.spool.whole_since is not None

    def takes(self, message: OneFrame | ClipSound | Learned, payload: bytes) -> None:
        """One more frame, as raw rows, or before the first all of its sound, as raw samples, and what was learned.

        Raises:
            MotionBroken: that is no whole file.
        """
        spool = self.spool
        if isinstance(message, ClipSound):
            spool.sound = np.frombuffer(payload, np.int16).reshape(-1, 2)
        elif isinstance(message, Learned):
            self.learned = whole(payload)
        else:
            spool.append(np.frombuffer(payload, np.uint8).reshape(spool.height, spool.width, spool.channels))
            if spool.there == 1:
                self._on_begin(self)


OnClip = Callable[[RenderedClip], None]
"""Hears of a clip with its first frame; another one means that the last was given up, as when memory ran out."""
OnStep = Callable[[Step], Awaitable[None]]
OnPreview = Callable[[bytes], Awaitable[None]]
"""Takes a small WebP file."""


async def _unseen(_: bytes) -> None:
    """Nobody looks."""


def _unawaited(_: RenderedClip) -> None:
    """Nobody begins before it is whole."""


class Renderer:
    """One child process at a time."""

    def __init__(self, setup: Setup, scratch: Path) -> None:
        self.setup = setup
        self.scratch = scratch
        self.facts: Ready | None = None
        self.holding: frozenset[str] = frozenset()
        """Kinds of jobs that the child could start now without reading networks."""
        self.spent_ms = 0
        """GPU milliseconds of the render under way, or of the last one."""
        self.vram_free_bytes = 0
        self.chatter = Chatter()
        self._listener: asyncio.Task[None] | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._one_at_a_time = asyncio.Lock()

    @property
    def pid(self) -> int | None:
        """The child's process id while it lives."""
        return self._process.pid if self._process and self._process.returncode is None else None

    async def start(self) -> Ready:
        """Make sure that a child lives and is ready.

        Raises:
            RendererDidNotStart: it ended, or said nothing for long, before it was ready.
        """
        if self.pid is not None and self.facts is not None:
            return self.facts
        environment = {key: value for key, value in os.environ.items() if PASSED_ON.match(key)}
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "inference.child",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=environment,
            limit=1 << 22,
        )
        assert self._process.stderr is not None, "it was asked for"
        self._listener = asyncio.create_task(self.chatter.listen(self._process.stderr))
        self._send(self.setup)
        try:
            async with asyncio.timeout(START_SECONDS):
                message, _ = await from_child(self._stdout)
            if not isinstance(message, Ready):
                raise RendererDidNotStart(f"the renderer began with {type(message).__name__}")
        except (asyncio.IncompleteReadError, ConnectionError, TimeoutError, ValueError) as error:
            await self.kill()
            raise RendererDidNotStart("the renderer did not start; its own words are above") from error
        except BaseException:
            await self.kill()
            raise
        self.facts, self.vram_free_bytes = message, message.vram_free_bytes
        log.info("renderer %d is ready on %s %s", self._process.pid, message.device, message.device_name)
        return message

    async def render(
        self,
        order: Order,
        on_step: OnStep,
        stop: asyncio.Event,
        on_preview: OnPreview = _unseen,
        on_clip: OnClip = _unawaited,
    ) -> RenderedClip:
        """Render one recipe; frames are spooled as they come, and may be read meanwhile.

        Raises:
            RenderStopped: `stop` was set.
            CannotBeRendered: for a reason that a person can read.
            RenderBroke: by a bug.
            RendererDied: the child died; call again for a new one.
            Failure: what it gave cannot be used.
        """
        async with self._one_at_a_time:
            self.spent_ms, self.chatter.job_id = 0, order.job_id
            try:
                await self._start_unless(stop)
                return await self._render(order, stop, lambda: self._collect(on_step, on_preview, on_clip))
            finally:
                self.chatter.job_id = "-"

    async def _start_unless(self, stop: asyncio.Event) -> None:
        """A new child takes its time; a cancel need not wait for it.

        Raises:
            RenderStopped: `stop` was set before the child was ready.
        """
        if self.pid is not None and self.facts is not None:
            return
        starting, stopping = asyncio.ensure_future(self.start()), asyncio.ensure_future(stop.wait())
        try:
            await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not starting.done():
                raise RenderStopped
            starting.result()
        finally:
            for task in (starting, stopping):
                task.cancel()
            await asyncio.gather(starting, stopping, return_exceptions=True)

    async def _render(
        self, order: Order, stop: asyncio.Event, collect: Callable[[], Awaitable[RenderedClip]]
    ) -> RenderedClip:
        self._send(order)
        stopper = asyncio.create_task(self._stop_when(stop, order.job_id))
        try:
            return await collect()
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            await self.kill()
            if stop.is_set():
                raise RenderStopped from error
            raise RendererDied("the renderer died while rendering") from error
        except BaseException as error:
            if not isinstance(error, RenderStopped | CannotBeRendered | RenderBroke):
                await self.kill()  # whatever it still sends belongs to nobody
            raise
        finally:
            stopper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await stopper

    async def _collect(self, on_step: OnStep, on_preview: OnPreview, on_clip: OnClip) -> RenderedClip:
        """Read until the child is done; a clip that is not finished gives its space back."""
        clip: RenderedClip | None = None
        try:
            while True:
                message, payload = await from_child(self._stdout)
                match message:
                    case Step():
                        self.spent_ms, self.vram_free_bytes = message.gpu_ms, message.vram_free_bytes
                        await on_step(message)
                    case Preview():
                        await on_preview(payload)
                    case ClipBegins():
                        if clip:
                            clip.spool.close()  # of a try that ran out of memory
                        clip = RenderedClip(message, self.scratch, on_clip)
                    case OneFrame() | ClipSound() | Learned() if clip:
                        clip.takes(message, payload)
                    case Done() if clip and clip.whole:
                        self._note(message)
                        clip.took(message)
                        return clip
                    case _:
                        await self._raise(message)
        except BaseException:
            if clip:
                clip.spool.close()
            raise

    def _note(self, end: End) -> None:
        """Every end says what the child holds now."""
        self.holding, self.spent_ms, self.vram_free_bytes = end.holding, end.gpu_ms, end.vram_free_bytes

    async def _raise(self, message: Value) -> None:
        """Every other end of a render is an exception."""
        if isinstance(message, End):
            self._note(message)
        match message:
            case Stopped():
                raise RenderStopped
            case CannotRender():
                raise CannotBeRendered(message.reason)
            case Broke():
                if message.poisoned:
                    log.error("the device is lost to this process:\n%s", message.traceback)
                    await self.kill()
                    raise RendererDied("the renderer lost its device")
                raise RenderBroke(message.traceback)
            case _:
                raise RenderBroke(f"the renderer said {type(message).__name__} out of turn")

    async def _stop_when(self, stop: asyncio.Event, job_id: str) -> None:
        await stop.wait()
        self._send(Stop(job_id=job_id))
        await asyncio.sleep(STOP_SECONDS)
        log.warning("the renderer did not stop within %.0f s and is killed", STOP_SECONDS)
        await self.kill()

    def _send(self, message: Value) -> None:
        if self._process and self._process.stdin and not self._process.stdin.is_closing():
            self._process.stdin.write(packed(message))

    @property
    def _stdout(self) -> asyncio.StreamReader:
        if self._process is None or self._process.stdout is None:
            raise ConnectionError("the renderer was killed")
        return self._process.stdout

    async def kill(self) -> None:
        """End the child at once; its memory goes back to the system with it."""
        process, self._process, self.facts = self._process, None, None
        self.holding, self.vram_free_bytes = frozenset(), 0
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        code = await process.wait()
        if self._listener:
            await asyncio.wait({self._listener}, timeout=LAST_WORDS_SECONDS)  # a process of its own may hold the pipe
            self._listener.cancel()
        log.info("renderer %d ended with %d", process.pid, code)
