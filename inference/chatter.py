"""What the renderer child writes on standard error: part of our own log, the last of it kept for whoever asks why."""

import asyncio
import logging
import re
from collections import deque

from jobs import logs

log = logging.getLogger("inference.child")

KEPT_LINES = 200
LONGEST_LINE = 2000
BREAKS = re.compile(rb"[\r\n]+")


class Chatter:
    """Lines of one child after the other. They may name paths and requests, but no secret."""

    def __init__(self) -> None:
        self.job_id = "-"
        """Whose job the child works on."""
        self._kept: deque[str] = deque(maxlen=KEPT_LINES)

    @property
    def tail(self) -> str:
        """The last lines, oldest first."""
        return "\n".join(self._kept)

    async def listen(self, stream: asyncio.StreamReader) -> None:
        """Pass on whatever comes, until the child is gone."""
        rest = b""
        while data := await stream.read(1 << 16):
            *lines, rest = BREAKS.split(rest + data)
            for line in lines:
                self.say(line.decode("utf-8", "replace"))
            if len(rest) > LONGEST_LINE:
                self.say(rest.decode("utf-8", "replace"))
                rest = b""
        self.say(rest.decode("utf-8", "replace"))

    def say(self, line: str) -> None:
        """Log one line with the job's id, and keep it."""
        line = logs.without_secrets(line.rstrip()[:LONGEST_LINE])
        if line:
            self._kept.append(line)
            logs.job_id.set(self.job_id)  # in `listen`'s own task, so for nobody else
            log.warning("%s", line)
