"""Log lines that carry the job's id, in every process the same way: for people, or one JSON object each."""

import json
import logging
import os
import re
import sys
import time
from contextvars import ContextVar

job_id: ContextVar[str] = ContextVar("job_id", default="-")
"""Set at the edge of each piece of work on a job; every line logged inside carries it."""

FORMAT_VARIABLE = "ZOETROPE_LOG_FORMAT"
"""`json` for machines; anything else for people."""
SECRETS = re.compile(r"(?<=://)[^/@\s]*:[^/@\s]+(?=@)|\b[\w-]{23,28}\.[\w-]{6,7}\.[\w-]{27,}\b")
"""Passwords in URLs, and the shape of a Discord token."""
INCIDENT = re.compile(r"\bincident ([2-9a-z]{6})\b")
"""How a line names an incident (`jobs.errors.new_incident`)."""


def without_secrets(text: str) -> str:
    """What may be logged, or shown to the owner."""
    return SECRETS.sub("***", text)


class _Line(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        record.job = job_id.get()
        return without_secrets(super().format(record))


class _Json(logging.Formatter):
    """One object a line: time (UTC), level, process, job, logger, message, incident; a traceback where there is one."""

    converter = time.gmtime
    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"

    def __init__(self, process: str) -> None:
        super().__init__()
        self.process = process

    def format(self, record: logging.LogRecord) -> str:
        message = record.getMessage()
        incident = INCIDENT.search(message)
        line = {
            "time": self.formatTime(record),
            "level": record.levelname,
            "process": self.process,
            "job": None if (job := job_id.get()) == "-" else job,
            "logger": record.name,
            "message": without_secrets(message),
            "incident": incident[1] if incident else None,
        }
        if record.exc_info:
            line["traceback"] = without_secrets(self.formatException(record.exc_info))
        return json.dumps(line, ensure_ascii=False)


def log_to_stderr(process: str, *, level: int = logging.INFO) -> None:
    """One handler on standard error for the whole process; libraries only from WARNING up."""
    handler = logging.StreamHandler(sys.stderr)
    if os.environ.get(FORMAT_VARIABLE, "").lower() == "json":
        handler.setFormatter(_Json(process))
    else:
        handler.setFormatter(_Line(f"%(asctime)s %(levelname)-7s {process} [%(job)s] %(name)s: %(message)s"))
    logging.getLogger("discord.client").addFilter(lambda record: "voice will NOT" not in record.getMessage())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.captureWarnings(True)  # they would go to standard error in a form of their own
    for room in ("bot", "commands", "console", "inference", "jobs", "media"):
        logging.getLogger(room).setLevel(level)
