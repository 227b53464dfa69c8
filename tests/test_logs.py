"""The log as machines read it: whatever is said in a process, each line is one JSON object and holds no secret."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TOKEN = "MTA0NTY3ODkwMTIzNDU2Nzg5MA.GabcDe.abcdefghijklmnopqrstuvwxyz0123456789AB"
PROGRAM = f"""
import asyncio, logging, warnings
from jobs import logs
logs.log_to_stderr("worker")
log = logging.getLogger("jobs.here")

async def work(job_id):
    logs.job_id.set(job_id)
    await asyncio.sleep(0.01)
    log.info("in the task")
    await asyncio.to_thread(log.info, "in a thread")
    await asyncio.create_task(beside())

async def beside():
    log.info("in a task of it")

async def main():
    await asyncio.gather(work("1001"), work("1002"))
    log.warning("two\\nlines, incident abc234")
    warnings.warn("a library warns")
    try:
        raise ValueError("redis://:hush@localhost/0 {TOKEN}")
    except ValueError:
        log.exception("a bug")
    loop = asyncio.get_running_loop()
    loop.call_exception_handler({{"message": "nobody fetched it"}})
    logging.getLogger("some.library").info("not shown")

asyncio.run(main())
"""


def test_each_line_is_an_object_with_its_job_and_no_secret() -> None:
    environment = {**os.environ, "ZOETROPE_LOG_FORMAT": "json"}
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=ROOT, check=False)
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    said = {line["message"]: line for line in lines}

    assert done.returncode == 0, done.stderr
    for place in ("in the task", "in a thread", "in a task of it"):
        assert sorted(line["job"] for line in lines if line["message"] == place) == ["1001", "1002"]
    assert said["two\nlines, incident abc234"]["job"] is None, "the job's id stays with its own work"
    assert said["two\nlines, incident abc234"]["incident"] == "abc234"
    assert any("a library warns" in message for message in said)
    assert "ValueError" in said["a bug"]["traceback"]
    assert "nobody fetched it" in said
    assert "not shown" not in said
    assert "hush" not in done.stderr
    assert TOKEN not in done.stderr
