"""The renderer child: orders come on standard input, answers go to standard output, torch is imported in between.

It ends when its parent does. Everything that libraries print, from the first import on, goes to standard error, so that
nothing but frames of `inference.messages` is ever on the wire.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import queue
import signal
import sys
import threading
from typing import IO

from inference.messages import Order, Setup, Stop, from_parent, packed
from jobs.recipe import Value


class Wire:
    """Standard output, kept for messages alone."""

    def __init__(self) -> None:
        self._out: IO[bytes] = os.fdopen(os.dup(1), "wb", buffering=0)
        os.dup2(2, 1)
        self._lock = threading.Lock()

    def send(self, message: Value, payload: bytes = b"") -> None:
        """Write one message whole."""
        with self._lock:
            for block in (packed(message, payload), payload):
                view = memoryview(block)
                while view:
                    view = view[self._out.write(view) :]


class Orders:
    """What the parent says, read by a thread of its own so that a stop is heard in the middle of a render."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._orders: queue.SimpleQueue[Setup | Order] = queue.SimpleQueue()
        self._stopped: set[str] = set()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        try:
            self._listen()
        finally:
            os._exit(0)  # the parent is gone, or makes no sense; a render must not outlive it

    def _listen(self) -> None:
        while (message := from_parent(self._stream)) is not None:
            match message:
                case Stop():
                    self._stopped.add(message.job_id)
                case Order():
                    self._stopped.clear()  # what was said of earlier orders does not bind this one
                    self._orders.put(message)
                case Setup():
                    self._orders.put(message)

    def next(self) -> Setup | Order:
        """The next order, once there is one."""
        return self._orders.get()

    def stopped(self, job_id: str) -> bool:
        """Whether this job was told to stop."""
        return job_id in self._stopped


def main() -> None:
    """Take the wire, set up, say ready, then answer orders until the parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer; a job is given back, not lost
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # what is not installed is not fetched in the middle of a job
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    faulthandler.enable()  # a crash in a library says where, and the owner finds it beside the job that was set aside
    wire = Wire()
    orders = Orders(sys.stdin.buffer)
    setup = orders.next()
    assert isinstance(setup, Setup), "the parent speaks first, and sets up"
    from inference.rendering import Renderer  # torch comes in here, when the wire is already safe

    renderer = Renderer(setup, wire, orders)
    wire.send(renderer.ready())
    while True:
        order = orders.next()
        if isinstance(order, Order):
            wire.send(renderer.answer(order))


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt, BrokenPipeError):
        main()
