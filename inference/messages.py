"""What the worker and its renderer child say to each other: framed JSON with an optional block of bytes, never pickle.

A frame is two big-endian 32-bit lengths, the JSON of one message, and the payload (raw RGB rows of one frame).
"""

import asyncio
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from jobs.errors import Fact, Note
from jobs.recipe import Recipe, Value
from media.clip_limits import ClipLimits

HEADER = struct.Struct(">II")
MAX_MESSAGE = 1 << 20
MAX_PAYLOAD = 1 << 28
"""One 9000×9000 frame; more is a broken stream."""


class Setup(Value):
    """Parent, first of all: where to work."""

    kind: Literal["setup"] = "setup"
    models: Path
    device: str
    dtype: str
    vram_bytes: int | None
    ram_bytes: int | None
    threads: int | None
    options: Mapping[str, Mapping[str, Any]]
    scratch: Path | None = None
    """Where frames may be kept between steps; None: where temporary files usually are."""
    clips: ClipLimits = ClipLimits()
    preview_seconds: float | None = None
    """A preview so often while a job renders; None: none at all."""


class Order(Value):
    """Parent: render this."""

    kind: Literal["order"] = "order"
    job_id: str
    recipe: Recipe
    sources: Mapping[str, Path]


class Stop(Value):
    """Parent: stop this job at its next step."""

    kind: Literal["stop"] = "stop"
    job_id: str


class Ready(Value):
    """Child: torch is imported, the device works."""

    kind: Literal["ready"] = "ready"
    device: str
    device_name: str
    vram_bytes: int
    vram_free_bytes: int = 0


class Step(Value):
    """Child: so far."""

    kind: Literal["step"] = "step"
    stage: str
    step: int
    total: int
    gpu_ms: int = 0
    """What the render took so far, without loading networks."""
    vram_free_bytes: int = 0


class Preview(Value):
    """Child: a small picture of what comes, as a WebP file in the payload."""

    kind: Literal["preview"] = "preview"


class ClipBegins(Value):
    """Child: frames of this shape follow."""

    kind: Literal["clip"] = "clip"
    width: int
    height: int
    num_frames: int
    fps: tuple[int, int]
    channels: int = 3
    weights: tuple[str, ...] = ()
    said: tuple[Note, ...] = ()
    facts: Mapping[str, Fact] = Field(default_factory=dict[str, Fact])


class ClipSound(Value):
    """Child: what the clip that began sounds like, as 48 kHz stereo samples of 16 bits in the payload."""

    kind: Literal["sound"] = "sound"


class Learned(Value):
    """Child: what the clip that began taught, a whole safetensors file in the payload."""

    kind: Literal["learned"] = "learned"


class OneFrame(Value):
    """Child: one frame, its RGB or RGBA rows in the payload."""

    kind: Literal["frame"] = "frame"


class End(Value):
    """Child: an order is dealt with. What it took, and what lies in memory for the next one."""

    gpu_ms: int = 0
    """Rendering, all tries together, without loading networks."""
    step_ms: tuple[int, ...] = ()
    """The same for each step of the recipe."""
    loading_ms: int = 0
    """Importing the system, reading its networks, and moving them."""
    holding: frozenset[str] = frozenset()
    """Kinds of jobs that can start now without reading networks: "svd", "svd/svd-xt"."""
    vram_free_bytes: int = 0


class Done(End):
    """Child: all frames were sent."""

    kind: Literal["done"] = "done"


class Stopped(End):
    """Child: stopped as told."""

    kind: Literal["stopped"] = "stopped"


class CannotRender(End):
    """Child: a reason that a person can read."""

    kind: Literal["cannot"] = "cannot"
    reason: Note


class Broke(End):
    """Child: a bug, with its traceback for the log. `poisoned`: the device is not to be trusted any more."""

    kind: Literal["broke"] = "broke"
    traceback: str
    poisoned: bool = False


ToChild = Setup | Order | Stop
FromChild = Ready | Step | Preview | ClipBegins | ClipSound | Learned | OneFrame | Done | Stopped | CannotRender | Broke
_TO_CHILD: TypeAdapter[ToChild] = TypeAdapter(Annotated[ToChild, Field(discriminator="kind")])
_FROM_CHILD: TypeAdapter[FromChild] = TypeAdapter(Annotated[FromChild, Field(discriminator="kind")])


def packed(message: Value, payload: bytes = b"") -> bytes:
    """The frame of a message without its payload, whose length it announces."""
    body = message.model_dump_json().encode()
    return HEADER.pack(len(body), len(payload)) + body


def _lengths(header: bytes) -> tuple[int, int]:
    body, payload = HEADER.unpack(header)
    if body > MAX_MESSAGE or payload > MAX_PAYLOAD:
        raise ValueError(f"a frame of {body} + {payload} bytes is no frame of ours")
    return body, payload


async def from_child(reader: asyncio.StreamReader) -> tuple[FromChild, bytes]:
    """The child's next message and its payload.

    Raises:
        asyncio.IncompleteReadError: the child is gone.
    """
    body, payload = _lengths(await reader.readexactly(HEADER.size))
    message = _FROM_CHILD.validate_json(await reader.readexactly(body))
    return message, await reader.readexactly(payload)


def from_parent(stream: IO[bytes]) -> ToChild | None:
    """The parent's next message; None when the parent is gone."""
    header = stream.read(HEADER.size)
    if len(header) < HEADER.size:
        return None
    return _TO_CHILD.validate_json(stream.read(_lengths(header)[0]))
