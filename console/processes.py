"""Child processes of the console: started, watched, started again, ended with their parent."""

import asyncio
import contextlib
import ctypes
import logging
import os
import signal
import sys
import time
from collections.abc import Collection, Mapping, Sequence

log = logging.getLogger(__name__)

TOKEN = ("DISCORD_TOKEN", "ZOETROPE_DISCORD__TOKEN")
SIGNING_KEY = ("ZOETROPE_PROVENANCE__KEY_PEM",)
STEADY_SECONDS = 30.0
"""Who lived so long is started again at once; who did not, after a pause that doubles up to this long."""
END_SECONDS = 15.0
"""So long a process may take to end, where nothing else is said."""
PR_SET_PDEATHSIG = 1


def without(names: Collection[str], environment: Mapping[str, str]) -> dict[str, str]:
    """The environment for a process that has no use for these secrets: a worker for the token, the bot for the key."""
    return {key: value for key, value in environment.items() if key.upper() not in names}


def die_with_parent() -> None:
    """In the child, before its program: Linux ends it when its parent is gone, however the parent went."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


async def start(module: str, *arguments: str, environment: Mapping[str, str]) -> asyncio.subprocess.Process:
    """`python -m module arguments` with this environment."""
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, *arguments, env=dict(environment), preexec_fn=die_with_parent
    )


async def end(process: asyncio.subprocess.Process, *, seconds: float = END_SECONDS) -> None:
    """SIGTERM, and SIGKILL for what does not heed it in time. Who is cancelled meanwhile says SIGTERM again: hurry."""
    try:
        await _told_to_end(process, seconds)
    except asyncio.CancelledError:
        await _told_to_end(process, END_SECONDS)
        raise


async def _told_to_end(process: asyncio.subprocess.Process, seconds: float) -> None:
    if process.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        await asyncio.wait_for(process.wait(), seconds)
    except TimeoutError:
        process.kill()
        await process.wait()


async def keep_running(
    module: str,
    arguments: Sequence[str],
    environment: Mapping[str, str],
    *,
    give_up: Sequence[int] = (),
    end_seconds: float = END_SECONDS,
) -> int:
    """Start the process again whenever it ends, until cancelled; an exit code in `give_up` is returned instead.

    `end_seconds` is how long it may take to end when it is told to.
    """
    pause = 1.0
    while True:
        process, begun = await start(module, *arguments, environment=environment), time.monotonic()
        try:
            code = await process.wait()
        except asyncio.CancelledError:
            await end(process, seconds=end_seconds)
            raise
        if code in give_up:
            return code
        if time.monotonic() - begun > STEADY_SECONDS:
            pause = 1.0
        log.warning("%s %s ended with %d; again in %.0f s", module, " ".join(arguments), code, pause)
        await asyncio.sleep(pause)
        pause = min(pause * 2, STEADY_SECONDS)


def gpu_count() -> int:
    """CUDA devices that the driver shows, without importing torch: as many workers are started."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([name for name in visible.split(",") if name.strip() and name.strip() != "-1"])
    folder = "/proc/driver/nvidia/gpus"
    return len(os.listdir(folder)) if os.path.isdir(folder) else 0  # noqa: PTH208, PTH112
