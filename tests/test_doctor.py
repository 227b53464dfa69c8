"""`console doctor` against real servers: what it finds, what it advises, and what it never prints."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
from aiohttp import web
from redis.asyncio import Redis
from rich.console import Console

from bot.settings import DiscordSettings
from console.checks import Check
from console.checks.checkpoints import checkpoints
from console.checks.codecs import codecs
from console.checks.device import Card, Torch, card_check, device, memory_check, parse_cards, torch_check
from console.checks.disks import folder_of, free_space, store
from console.checks.portal import portal
from console.checks.queue_server import address, queue_server, version_check
from console.doctor import Side, checks, show_advice
from console.redis_server import embedded_redis
from inference.settings import ModelSettings, SystemSettings
from inference.systems import ROOMS
from jobs.settings import BadSettings, RedisSettings, StoreSettings
from tests.discord_server import LocalDiscord

ROOT = Path(__file__).resolve().parents[1]
COMMAND = (sys.executable, "-m", "console", "doctor")


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An empty working directory, and no variable of ours."""
    for variable in [name for name in os.environ if name.startswith("ZOETROPE_") or name == "DISCORD_TOKEN"]:
        monkeypatch.delenv(variable)
    monkeypatch.chdir(tmp_path)


@asynccontextmanager
async def answering(status: int = 200, **headers: str) -> AsyncIterator[str]:
    """A server that gives every request this answer; its URL."""

    async def answer(request: web.Request) -> web.Response:
        return web.json_response({"username": "Zoe", "id": "1", "flags": 0}, status=status, headers=headers)

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield site.name
    finally:
        await runner.cleanup()


def line(found: list[Check], name: str) -> Check:
    """The one line of that name."""
    [check] = [check for check in found if check.name == name]
    return check


def discord(api: str, token: str = "a.local.token", message_content: str = "auto") -> DiscordSettings:
    return DiscordSettings.read({"discord": {"api": api, "token": token, "message_content": message_content}})


async def test_a_token_that_discord_takes_is_named_by_its_bot() -> None:
    async with LocalDiscord(message_content=True) as server:
        found = await portal(discord(server.api, server.token))

        assert [check.state for check in found] == ["ok", "ok", "ok"]
        assert server.world.bot.name in line(found, "token").found
        assert server.violations == []


async def test_a_token_that_discord_refuses_says_where_to_get_another() -> None:
    async with LocalDiscord() as server:
        found = line(await portal(discord(server.api, "wrong")), "token")

    assert found.state == "fail"
    assert "developer portal" in found.advice


@pytest.mark.parametrize(
    ("allowed", "wanted", "state"),
    [
        (True, "auto", "ok"),
        (True, "on", "ok"),
        (True, "off", "ok"),
        (False, "auto", "warn"),
        (False, "on", "fail"),
        (False, "off", "ok"),
    ],
)
async def test_the_intent_is_held_against_the_settings(allowed: bool, wanted: str, state: str) -> None:
    async with LocalDiscord(message_content=allowed) as server:
        found = line(await portal(discord(server.api, server.token, wanted)), "intents")

    assert found.state == state


@pytest.mark.parametrize(("token", "says"), [("", "there is none"), ('"abc"', "characters"), ("a\nb", "characters")])
async def test_a_token_that_cannot_be_one_is_not_even_tried(token: str, says: str) -> None:
    found = line(await portal(discord("http://127.0.0.1:9", token)), "token")

    assert found.state == "fail"
    assert says in found.found


async def test_a_discord_that_is_away_is_named() -> None:
    found = line(await portal(discord("http://127.0.0.1:9")), "Discord")

    assert found.state == "fail"
    assert "http://127.0.0.1:9 cannot be reached" in found.found


@pytest.mark.parametrize("status", [302, 404, 429, 503])
async def test_another_answer_is_named_by_its_status(status: int) -> None:
    async with answering(status) as api:
        assert str(status) in line(await portal(discord(api)), "token").found


async def test_what_is_no_json_is_no_crash() -> None:
    async with answering(200, **{"Content-Encoding": "gzip"}) as api:
        assert (await portal(discord(api)))[0].state == "fail"


@pytest.mark.parametrize(
    ("minutes", "state", "direction"),
    [(0, "ok", ""), (0.5, "warn", "behind"), (-0.5, "warn", "ahead of"), (9, "fail", "")],
)
async def test_the_clock_is_held_against_discords(minutes: float, state: str, direction: str) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(minutes=minutes), usegmt=True)
    async with answering(Date=date) as api:
        found = line(await portal(discord(api)), "clock")

    assert found.state == state
    assert direction in found.found


def redis_at(url: str) -> RedisSettings:
    return RedisSettings.read({"redis": {"url": url}})


@pytest.fixture
async def redis_url(tmp_path: Path) -> AsyncIterator[str]:
    async with embedded_redis(tmp_path / "redis") as url:
        yield url


async def tell(url: str, *words: str) -> None:
    """One command to the server."""
    client = Redis.from_url(url)
    await client.execute_command(*words)
    await client.aclose()


async def test_our_own_server_is_tried_where_none_is_configured(tmp_path: Path) -> None:
    found = await queue_server(redis_at(""))

    assert {check.state for check in found} == {"ok"}
    assert "starts its own in data/redis" in line(found, "Redis").found
    assert not (tmp_path / "data").exists(), "a running server may hold that folder"


@pytest.mark.parametrize(
    ("setting", "value", "name", "state"),
    [
        ("appendfsync", "everysec", "persistence", "warn"),
        ("appendfsync", "no", "persistence", "warn"),
        ("appendonly", "no", "persistence", "fail"),
        ("maxmemory-policy", "allkeys-lru", "eviction", "fail"),
    ],
)
async def test_a_server_that_would_lose_jobs_is_told(
    redis_url: str, setting: str, value: str, name: str, state: str
) -> None:
    assert {check.state for check in await queue_server(redis_at(redis_url))} == {"ok"}
    await tell(redis_url, "CONFIG", "SET", setting, value)

    found = line(await queue_server(redis_at(redis_url)), name)

    assert found.state == state
    assert "redis.conf" in found.advice


async def test_a_hosted_server_need_not_show_its_settings(redis_url: str) -> None:
    await tell(redis_url, "ACL", "SETUSER", "hosted", "on", ">pw", "~*", "&*", "+@all", "-config")

    found = await queue_server(redis_at(redis_url.replace("unix://", "unix://hosted:pw@")))

    assert line(found, "persistence").state == "warn"
    assert line(found, "eviction").state == "ok"


async def test_a_wrong_password_is_told_without_showing_it(redis_url: str) -> None:
    await tell(redis_url, "CONFIG", "SET", "requirepass", "right-word")

    [found] = await queue_server(redis_at(redis_url.replace("unix://", "unix://:wrong-word@")))

    assert found.state == "fail"
    assert "password" in found.advice
    assert "word@" not in found.found
    assert "wrong-word" not in str(found)


@pytest.mark.parametrize("url", ["redis://127.0.0.1:9", "unix:///nowhere/redis.sock"])
async def test_a_server_that_is_away_is_named(url: str) -> None:
    [found] = await queue_server(redis_at(url))

    assert found.state == "fail"
    assert address(url) in found.found


@pytest.mark.parametrize("url", ["http://localhost", "redis://localhost:sixty", "redis://localhost/x"])
def test_what_is_no_redis_url_is_told_before_anything_is_tried(url: str) -> None:
    with pytest.raises(BadSettings, match=r"`redis\.url` .* does not fit"):
        redis_at(url)


@pytest.mark.parametrize(("version", "state"), [("5.0.14", "fail"), ("6.2.14", "ok"), ("7.4.1", "ok"), ("10.0", "ok")])
def test_an_old_server_is_refused(version: str, state: str) -> None:
    assert version_check({"redis_version": version}, "here").state == state


def store_at(url: Path | str) -> StoreSettings:
    return StoreSettings.read({"store": {"url": str(url)}})


async def test_the_store_is_tried_and_left_clean(tmp_path: Path) -> None:
    [found] = await store(store_at(tmp_path / "store"))

    assert found.state == "ok"
    assert [path for path in (tmp_path / "store").rglob("*") if path.is_file()] == []


async def test_a_store_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way", "utf-8")

    [found] = await store(store_at(tmp_path / "file" / "store"))

    assert found.state == "fail"
    assert "writable" in found.advice


async def test_a_store_whose_library_is_missing_says_which(tmp_path: Path) -> None:
    [found] = await store(store_at("gdrive://bucket/zoetrope"))

    assert found.state == "fail"
    assert found.advice


def test_folders_on_one_disk_share_a_line(tmp_path: Path) -> None:
    [found] = free_space({"models": tmp_path / "not" / "there" / "yet", "store": tmp_path})

    assert "models, store" in found.found
    assert folder_of("s3://bucket/x") is None


async def test_this_machine_has_what_the_tests_need() -> None:
    found = await device(ModelSettings.read({"models": {"device": "cpu"}}))

    assert line(found, "torch").state == "ok"
    assert line(found, "GPU").state == "ok"
    assert codecs()[0].state == "ok"


H200 = Card("NVIDIA H200", 150 * 10**9, 149 * 10**9, "580.95")
CUDA = Torch("2.13.0+cu130", 1, False)
CPU = Torch("2.13.0+cpu", 0, False)


@pytest.mark.parametrize(
    ("cards", "torch", "wanted", "state"),
    [
        ([H200], CUDA, "auto", "ok"),
        ([H200], CPU, "auto", "warn"),
        ([H200], None, "auto", "ok"),
        ([], CPU, "auto", "warn"),
        ([], CPU, "cuda", "fail"),
        ([H200], CPU, "cuda:1", "fail"),
        ([H200], CUDA, "cpu", "ok"),
        ([], Torch("2.13.0", 0, True), "auto", "ok"),
        ([Card("GTX 1050", 4 * 10**9, 4 * 10**9, "1")], CUDA, "auto", "warn"),
        ([Card("RTX 4090", 24 * 10**9, 2 * 10**9, "1")], CUDA, "auto", "warn"),
        ([Card("GB10", 0, 0, "1")], CUDA, "auto", "ok"),
    ],
)
def test_the_card_is_held_against_torch_and_settings(
    cards: list[Card], torch: Torch | None, wanted: str, state: str
) -> None:
    assert card_check(cards, torch, wanted).state == state


def test_the_drivers_table_is_read() -> None:
    printed = "NVIDIA H200, 143771, 143160, 580.95.05\nNVIDIA GB10, [N/A], [N/A], 580.95.05\n"

    assert parse_cards(printed) == [
        Card("NVIDIA H200", 143771 * 2**20, 143160 * 2**20, "580.95.05"),
        Card("NVIDIA GB10", 0, 0, "580.95.05"),
    ]


def test_a_machine_without_torch_may_still_be_the_bots() -> None:
    assert torch_check(None).state == "warn"
    assert torch_check("does not start").state == "fail"
    assert memory_check(4 * 10**9).state == "warn"
    assert memory_check(32 * 10**9).state == "ok"


def test_what_is_installed_is_named_by_system(tmp_path: Path) -> None:
    xt = ROOMS["svd"].weights[0]
    for name in xt.layouts[1].files:
        (tmp_path / xt.name / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / xt.name / name).touch()

    found = checkpoints(tmp_path, SystemSettings.read({}))

    assert line(found, "svd") == Check("svd", "ok", "svd-xt")
    assert line(found, "systems").found == "/animate takes svd"


def test_a_system_without_its_checkpoint_says_what_to_pull(tmp_path: Path) -> None:
    found = checkpoints(tmp_path, SystemSettings.read({}))

    assert line(found, "svd").state == "warn"
    assert "models pull svd-xt" in line(found, "svd").advice
    assert line(found, "systems").found == "/animate takes parallax"


def test_nothing_that_can_render_is_a_failure(tmp_path: Path) -> None:
    found = checkpoints(tmp_path, SystemSettings.read({"systems": {"parallax": {"enabled": False}}}))

    assert line(found, "systems").state == "fail"


async def test_settings_that_do_not_fit_are_the_only_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZOETROPE_MODELS__VRMA", "8")

    [found] = await checks()

    assert found.state == "fail"
    assert "ZOETROPE_MODELS__VRMA" in found.found


async def test_each_side_looks_at_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZOETROPE_MODELS__DEVICE", "cpu")

    bot = {check.name for check in await checks(Side.BOT)}
    worker = {check.name for check in await checks(Side.WORKER)}

    assert "token" in bot - worker
    assert {"GPU", "codec", "svd"} <= worker - bot
    assert {"settings", "Redis", "store"} <= bot & worker


def test_every_line_that_is_not_right_says_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    show_advice(
        Console(), [Check("a", "fail", "x", "do [this]"), Check("b", "warn", "y", "do that"), Check("c", "ok", "z")]
    )

    said = capsys.readouterr().out
    assert "a: do [this]" in said
    assert said.index("a: do") < said.index("b: do") < said.index("Next:")


def type_doctor(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **variables}
    command = [*COMMAND, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=55)


async def test_the_whole_page_shows_no_secret_and_fails_where_something_does(redis_url: str) -> None:
    await tell(redis_url, "CONFIG", "SET", "requirepass", "hush-password")
    url = redis_url.replace("unix://", "unix://:hush-password@")

    typed = type_doctor(
        "bot", DISCORD_TOKEN="hush.token", ZOETROPE_DISCORD__API="http://127.0.0.1:9", ZOETROPE_REDIS__URL=url
    )

    assert typed.returncode == 1, typed.stderr
    assert "hush" not in typed.stdout + typed.stderr
    assert "\x1b[" not in typed.stdout, "plain where nobody looks"
    assert "ok    Redis" in typed.stdout
    assert "Next: put these right" in typed.stdout


async def test_it_needs_neither_torch_nor_discord_py(tmp_path: Path) -> None:
    """The bot's image has no torch, and what asks Discord here should not depend on what it diagnoses."""
    code = (
        "import sys\n"
        "for name in ('torch', 'discord', 'diffusers', 'transformers', 'huggingface_hub'): sys.modules[name] = None\n"
        "import typer; from console.doctor import doctor; typer.run(doctor)"
    )
    async with LocalDiscord(message_content=True) as server:
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "DISCORD_TOKEN": server.token,
            "ZOETROPE_DISCORD__API": server.api,
        }
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", code, "bot", env=environment, stdout=asyncio.subprocess.PIPE
        )
        printed, _ = await process.communicate()

    assert process.returncode == 0, printed.decode()
    assert "Next: make run" in printed.decode()
