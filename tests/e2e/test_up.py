"""`make run`: one command starts Redis, bot and worker, and takes them all away again."""

import signal
from pathlib import Path

import psutil

from tests.discord_server import LocalDiscord
from tests.promises.test_kills import picture
from tests.stack import Process, Stack


async def test_up_starts_everything_survives_a_dead_worker_and_ends_cleanly(tmp_path: Path) -> None:
    async with LocalDiscord() as server:
        stack = Stack(server, tmp_path, "", {})
        environment = {**stack.bot.environment, "ZOETROPE_REDIS__DATA": str(tmp_path / "redis")}
        up = await Process("up", ("console", "up"), environment, tmp_path / "up.log").start()
        await up.says("renderer .* is ready")
        await up.says("ready as")
        ann = server.user("ann")
        await (await server.slash("parallax", ann, image=picture(server), seconds=1.0)).answered()
        await server.wait_for(server.clips, 30)

        worker = up.child("console worker")
        assert worker is not None
        assert "DISCORD_TOKEN" not in worker.environ()
        worker.kill()
        await up.says("renderer .* is ready", times=2)
        await (await server.slash("parallax", ann, image=picture(server), seconds=1.0)).answered()
        await server.wait_for(lambda: len(server.clips()) == 2, 30)

        assert up.process is not None
        family = psutil.Process(up.process.pid).children(recursive=True)
        up.signal(signal.SIGINT)
        assert await up.ended() == 0
        _, alive = psutil.wait_procs(family, timeout=10)
        assert alive == []
        assert "Traceback" not in up.text(), up.text()
        assert server.violations == []


async def test_up_without_a_token_says_how_to_get_one_and_ends(tmp_path: Path) -> None:
    async with LocalDiscord() as server:
        stack = Stack(server, tmp_path, "", {})
        environment = {key: value for key, value in stack.bot.environment.items() if key != "DISCORD_TOKEN"}
        up = await Process("up", ("console", "up"), environment, tmp_path / "up.log").start()

        assert await up.ended() == 78
        assert "Set DISCORD_TOKEN" in up.text()


async def test_up_with_a_wrong_token_says_so_and_ends_instead_of_trying_for_ever(tmp_path: Path) -> None:
    async with LocalDiscord() as server:
        stack = Stack(server, tmp_path, "", {})
        environment = {
            **stack.bot.environment,
            "DISCORD_TOKEN": "wrong",
            "ZOETROPE_REDIS__DATA": str(tmp_path / "redis"),
        }
        up = await Process("up", ("console", "up"), environment, tmp_path / "up.log").start()

        assert await up.ended(40) == 78
        assert "does not take the token" in up.text()
