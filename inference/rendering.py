"""What the renderer child does: the one module besides the systems' rooms that imports torch."""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from inference.child import Orders, Wire
from inference.inputs import Inputs
from inference.learned import whole
from inference.memory import ran_out
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
    Stopped,
)
from inference.preview import Previews
from inference.residency import Residency
from inference.systems import ROOMS
from inference.systems.base import PLENTY, Cancelled, Clip, Place, System, Thrift
from jobs.errors import Fact, Failure, Note, UserError
from jobs.requests import Request
from media.frames import FrameSpool

log = logging.getLogger(__name__)


class OutOfMemory(Failure):
    """The device's memory does not suffice."""

    code = "out_of_memory"


class Renderer:
    """Holds the systems that were used so far, and renders one order after the other."""

    def __init__(self, setup: Setup, wire: Wire, orders: Orders) -> None:
        if setup.threads:
            torch.set_num_threads(setup.threads)
        self.setup = setup
        self.wire = wire
        self.orders = orders
        self.device = _device(setup.device)
        self.dtype = _dtype(setup.dtype, self.device)
        self.residency = Residency(self.device, vram_bytes=setup.vram_bytes, ram_bytes=setup.ram_bytes)
        self.previews = Previews(setup.preview_seconds, lambda picture: wire.send(Preview(), picture))
        self._systems: dict[str, System[Any]] = {}

    def ready(self) -> Ready:
        """Proof that the device computes, and what it is."""
        torch.ones(8, device=self.device).sum().item()
        if self.device.type != "cuda":
            return Ready(device=str(self.device), device_name="", vram_bytes=0)
        properties = torch.cuda.get_device_properties(self.device)
        return Ready(
            device=str(self.device),
            device_name=properties.name,
            vram_bytes=properties.total_memory,
            vram_free_bytes=self.vram_free_bytes,
        )

    @property
    def vram_free_bytes(self) -> int:
        """As the driver sees it; 0 where there is no GPU."""
        return torch.cuda.mem_get_info(self.device)[0] if self.device.type == "cuda" else 0

    def system(self, name: str) -> System[Any]:
        """The room of this name, opened when it is first asked for."""
        if name not in self._systems:
            place = Place(
                models=self.setup.models,
                device=self.device,
                dtype=self.dtype,
                residency=self.residency,
                options=self.setup.options.get(name, {}),
                show=self.previews.show,
            )
            with self.residency.loading():  # importing diffusers and transformers takes seconds
                self._systems[name] = ROOMS[name].open(place)
        return self._systems[name]

    def answer(self, order: Order) -> End:
        """Render one order; its frames go out as they are made. What to say last."""
        watch = Stopwatch(self.residency)
        end = self._end(Render(self, order, watch))
        known = {
            "gpu_ms": watch.gpu_ms,
            "step_ms": watch.step_ms,
            "loading_ms": watch.loading_ms,
            "holding": frozenset(kind for system in self._systems.values() for kind in system.holding()),
            "vram_free_bytes": 0 if isinstance(end, Broke) else self.vram_free_bytes,  # a lost device cannot be asked
        }
        return end.model_copy(update=known)

    def _end(self, render: Render) -> End:
        try:
            render.run()
        except Cancelled:
            return Stopped()
        except UserError as error:
            return CannotRender(reason=error.note)
        except Exception as error:  # noqa: BLE001 - the child's one net: the parent must always get an answer
            if not ran_out(error):
                return Broke(traceback=traceback.format_exc(), poisoned=_poisons(error))
        else:
            return Done()
        self.residency.clear()  # where the error and what it held on to are gone
        return CannotRender(reason=Note(code=OutOfMemory.code))


class Stopwatch:
    """What one order takes, without the networks it had to wait for."""

    def __init__(self, residency: Residency) -> None:
        self.residency = residency
        self._begun = time.perf_counter()
        self._loaded = residency.loading_seconds
        self._laps_ms: list[int] = []

    @property
    def loading_ms(self) -> int:
        """Importing, reading and moving."""
        return round((self.residency.loading_seconds - self._loaded) * 1000)

    @property
    def gpu_ms(self) -> int:
        """All the rest."""
        return max(0, round((time.perf_counter() - self._begun) * 1000) - self.loading_ms)

    def lap(self) -> None:
        """A step of the recipe is done."""
        self._laps_ms.append(max(0, self.gpu_ms - sum(self._laps_ms)))

    @property
    def step_ms(self) -> tuple[int, ...]:
        """Of all the rest, what each step took."""
        return tuple(self._laps_ms)


class Render:
    """One order on its way: a chain of steps, each with as many tries as memory asks for.

    Between two steps a clip is raw frames in an anonymous file: nothing is encoded before the last step is done.
    """

    def __init__(self, renderer: Renderer, order: Order, watch: Stopwatch) -> None:
        self.renderer = renderer
        self.order = order
        self.watch = watch
        self.stage = "loading"
        self.sources = Inputs(order, renderer.setup)
        self.said: tuple[Note, ...] = ()
        self.facts: dict[str, Fact] = {}
        self.weights: tuple[str, ...] = ()
        self.learned: bytes | None = None

    def run(self) -> None:
        """Every step in its turn, the frames of the last one on their way as they are made."""
        self.renderer.previews.begin()
        *before, last = self.order.recipe.steps
        with self.sources:
            for number, request in enumerate(before, 1):
                later = self.order.recipe.steps[number:]
                self._try_hard(request, lambda clip, later=later: self._keep(clip, later))
                self.watch.lap()
            self._try_hard(last, self._send)
            self.watch.lap()

    def _try_hard(self, request: Request, take: Callable[[Clip], None]) -> None:
        """Try, each time with more thrift, until it is done. A try that ran out of memory is part of what a job takes:
        it is short, for denoising runs out at its first step, and latents that are finished are kept.
        """
        thrift: Thrift | None = PLENTY
        while thrift is not None:
            thrift = self._try(request, take, thrift)

    def _try(self, request: Request, take: Callable[[Clip], None], thrift: Thrift) -> Thrift | None:
        """None where it is done, else what to try next."""
        system = self.renderer.system(request.name())
        try:
            with torch.inference_mode():
                take(system.render(request, self.sources.of(request), self._tick, thrift))
        except Exception as error:
            thriftier = system.thriftier(thrift, self.stage) if ran_out(error) else None
            if thriftier is None:
                raise
            first_line = str(error).partition("\n")[0]
            log.warning("memory ran out in %s: %s; next try: %s", self.stage, first_line, thriftier)
        else:
            return None
        self.renderer.residency.make_way()  # here, where the error and what it held on to are gone
        return thriftier

    def _tick(self, stage: str, step: int, total: int) -> None:
        self.stage = stage
        if self.renderer.orders.stopped(self.order.job_id):
            raise Cancelled
        self.renderer.wire.send(
            Step(
                stage=stage,
                step=step,
                total=total,
                gpu_ms=self.watch.gpu_ms,
                vram_free_bytes=self.renderer.vram_free_bytes,
            )
        )

    def _keep(self, clip: Clip, later: Sequence[Request]) -> None:
        """Every frame, for the next step."""
        spool = FrameSpool(clip.width, clip.height, clip.fps, self.renderer.setup.scratch, clip.channels)
        try:
            for frame in clip.frames:
                spool.append(frame)
                self.renderer.previews.show(lambda frame=frame: frame)
        except BaseException:
            spool.close()
            raise
        spool.sound = clip.sound
        self.sources.passes(spool, later)
        self.said, self.facts = (*self.said, *clip.notes), {**self.facts, **clip.facts}
        self.weights = (*self.weights, *clip.weights)
        self.learned = clip.learned or self.learned

    def _send(self, clip: Clip) -> None:
        """Every frame, as it is made. Another clip that begins takes back the frames of one that was not finished."""
        wire = self.renderer.wire
        wire.send(
            ClipBegins(
                width=clip.width,
                height=clip.height,
                num_frames=clip.num_frames,
                fps=clip.fps.as_integer_ratio(),
                channels=clip.channels,
                weights=(*self.weights, *clip.weights),
                said=(*self.said, *clip.notes),
                facts={**self.facts, **clip.facts},
            )
        )
        if clip.sound is not None:
            wire.send(ClipSound(), np.ascontiguousarray(clip.sound, dtype=np.int16).tobytes())
        if learned := clip.learned or self.learned:
            wire.send(Learned(), whole(learned))
        for frame in clip.frames:
            wire.send(OneFrame(), np.ascontiguousarray(frame, dtype=np.uint8).tobytes())
            self.renderer.previews.show(lambda frame=frame: frame)


def _device(wanted: str) -> torch.device:
    if wanted != "auto":
        return torch.device(wanted)
    if torch.cuda.is_available():
        return torch.device("cuda", 0)
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def _dtype(wanted: str, device: torch.device) -> torch.dtype:
    if wanted == "auto":
        return torch.float32 if device.type == "cpu" else torch.float16
    return {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}[wanted]


def _poisons(error: Exception) -> bool:
    """Whether the CUDA context is lost with this error, so that only a new process can go on."""
    return isinstance(error, RuntimeError) and "CUDA error" in str(error)
