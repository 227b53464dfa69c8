"""Log lines that carry the job's id, in every process the same way."""

import logging
import re
import sys
from contextvars import ContextVar

job_id: ContextVar[str] = ContextVar("job_id", default="-")
"""Set at the edge of each piece of work on a job; every line logged inside carries it."""

SECRETS = re.compile(r"(?<=://)[^/@\s]*:[^/@\s]+(?=@)|\b[\w-]{23,28}\.[\w-]{6,7}\.[\w-]{27,}\b")
"""Passwords in URLs, and the shape of a Discord token."""


class _Line(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        record.job = job_id.get()
        return SECRETS.sub("***", super().format(record))


def log_to_stderr(process: str, *, level: int = logging.INFO) -> None:
    """One handler on standard error for the whole process; libraries only from WARNING up."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Line(f"%(asctime)s %(levelname)-7s {process} [%(job)s] %(name)s: %(message)s"))
    logging.getLogger("discord.client").addFilter(lambda record: "voice will NOT" not in record.getMessage())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    for room in ("bot", "commands", "console", "inference", "jobs", "media"):
        logging.getLogger(room).setLevel(level)
