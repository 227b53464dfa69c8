"""What the renderer child does: the one module besides the systems' rooms that imports torch."""

from __future__ import annotations

import os
import traceback
from typing import Any

import numpy as np
import torch
from PIL import Image

from inference.child import Orders, Wire
from inference.messages import Broke, CannotRender, ClipBegins, Done, OneFrame, Order, Ready, Setup, Step, Stopped
from inference.residency import Residency
from inference.systems import ROOMS
from inference.systems.base import Cancelled, Clip, Place, Sources, System
from jobs.errors import Failure, Note
from jobs.recipe import Value


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
        self._systems: dict[str, System[Any]] = {}

    def ready(self) -> Ready:
        """Proof that the device computes, and what it is."""
        torch.ones(8, device=self.device).sum().item()
        if self.device.type != "cuda":
            return Ready(device=str(self.device), device_name="", vram_bytes=0)
        properties = torch.cuda.get_device_properties(self.device)
        return Ready(device=str(self.device), device_name=properties.name, vram_bytes=properties.total_memory)

    def _system(self, name: str) -> System[Any]:
        if name not in self._systems:
            place = Place(
                models=self.setup.models,
                device=self.device,
                dtype=self.dtype,
                residency=self.residency,
                options=self.setup.options.get(name, {}),
            )
            self._systems[name] = ROOMS[name].open(place)
        return self._systems[name]

    def answer(self, order: Order) -> Value:
        """Render one order; its frames go out as they are made. What to say last."""
        try:
            self._render(order)
        except Cancelled:
            return Stopped()
        except Failure as failure:
            return CannotRender(reason=failure.note)
        except torch.cuda.OutOfMemoryError:
            self.residency.clear()
            return CannotRender(reason=Note(code=OutOfMemory.code))
        except Exception as error:  # noqa: BLE001 - the child's one net: the parent must always get an answer
            return Broke(traceback=traceback.format_exc(), poisoned=_poisons(error))
        return Done()

    def _render(self, order: Order) -> None:
        def tick(stage: str, step: int, total: int) -> None:
            if self.orders.stopped(order.job_id):
                raise Cancelled
            self.wire.send(Step(stage=stage, step=step, total=total))

        [request] = order.recipe.steps
        images = {name: _picture(order.sources[getattr(request, name)]) for name in request.attached()}
        sources = Sources(images={getattr(request, name): image for name, image in images.items()})
        with torch.inference_mode():
            clip = self._system(request.system).render(request, sources, tick)
            self._send(clip)

    def _send(self, clip: Clip) -> None:
        self.wire.send(
            ClipBegins(
                width=clip.width,
                height=clip.height,
                num_frames=clip.num_frames,
                fps=clip.fps.as_integer_ratio(),
                said=clip.notes,
                facts=clip.facts,
            )
        )
        for frame in clip.frames:
            self.wire.send(OneFrame(), np.ascontiguousarray(frame, dtype=np.uint8).tobytes())


def _picture(path: os.PathLike[str]) -> Image.Image:
    """A source from the store: a PNG that intake wrote, so upright RGB of bounded size."""
    with Image.open(path, formats=("PNG",)) as picture:
        return picture.convert("RGB")


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
