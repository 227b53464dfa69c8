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


class Step(Value):
    """Child: so far."""

    kind: Literal["step"] = "step"
    stage: str
    step: int
    total: int


class ClipBegins(Value):
    """Child: frames of this shape follow."""

    kind: Literal["clip"] = "clip"
    width: int
    height: int
    num_frames: int
    fps: tuple[int, int]
    said: tuple[Note, ...] = ()
    facts: Mapping[str, Fact] = Field(default_factory=dict[str, Fact])


class OneFrame(Value):
    """Child: one frame, its RGB rows in the payload."""

    kind: Literal["frame"] = "frame"


class Done(Value):
    """Child: all frames were sent."""

    kind: Literal["done"] = "done"


class Stopped(Value):
    """Child: stopped as told."""

    kind: Literal["stopped"] = "stopped"


class CannotRender(Value):
    """Child: a reason that a person can read."""

    kind: Literal["cannot"] = "cannot"
    reason: Note


class Broke(Value):
    """Child: a bug, with its traceback for the log. `poisoned`: the device is not to be trusted any more."""

    kind: Literal["broke"] = "broke"
    traceback: str
    poisoned: bool = False


ToChild = Annotated[Setup | Order | Stop, Field(discriminator="kind")]
FromChild = Annotated[
    Ready | Step | ClipBegins | OneFrame | Done | Stopped | CannotRender | Broke, Field(discriminator="kind")
]
_TO_CHILD: TypeAdapter[Setup | Order | Stop] = TypeAdapter(ToChild)
_FROM_CHILD: TypeAdapter[Ready | Step | ClipBegins | OneFrame | Done | Stopped | CannotRender | Broke] = TypeAdapter(
    FromChild
)


def packed(message: Value, payload: bytes = b"") -> bytes:
    """The frame of a message without its payload, whose length it announces."""
    body = message.model_dump_json().encode()
    return HEADER.pack(len(body), len(payload)) + body


def _lengths(header: bytes) -> tuple[int, int]:
    body, payload = HEADER.unpack(header)
    if body > MAX_MESSAGE or payload > MAX_PAYLOAD:
        raise ValueError(f"a frame of {body} + {payload} bytes is no frame of ours")
    return body, payload


async def from_child(
    reader: asyncio.StreamReader,
) -> tuple[Ready | Step | ClipBegins | OneFrame | Done | Stopped | CannotRender | Broke, bytes]:
    """The child's next message and its payload.

    Raises:
        asyncio.IncompleteReadError: the child is gone.
    """
    body, payload = _lengths(await reader.readexactly(HEADER.size))
    message = _FROM_CHILD.validate_json(await reader.readexactly(body))
    return message, await reader.readexactly(payload)


def from_parent(stream: IO[bytes]) -> Setup | Order | Stop | None:
    """The parent's next message; None when the parent is gone."""
    header = stream.read(HEADER.size)
    if len(header) < HEADER.size:
        return None
    return _TO_CHILD.validate_json(stream.read(_lengths(header)[0]))
