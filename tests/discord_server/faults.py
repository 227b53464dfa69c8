"""What goes wrong on purpose, and what a test does between the act and the answer."""

from __future__ import annotations

import asyncio
import inspect
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]
Callback = Callable[[], Any]


def pattern(path_glob: str) -> re.Pattern[str]:
    """`*` is one segment of a path, `**` any number: `/channels/*/messages` is not `/channels/1/messages/2`."""
    escaped = re.escape(path_glob).replace(r"\*\*", ".*").replace(r"\*", "[^/]*")
    return re.compile(escaped)


@dataclass
class Match:
    """A method and a path glob; method `*` is any."""

    method: str
    path_glob: str

    def __post_init__(self) -> None:
        self._pattern = pattern(self.path_glob)

    def fits(self, method: str, path: str) -> bool:
        """Whether a request is meant."""
        return self.method in ("*", method) and self._pattern.fullmatch(path) is not None


@dataclass
class Fault(Match):
    """One planned failure. `status=None` closes the connection instead of answering."""

    status: int | None = 500
    times: int = 1
    after_effect: bool = False
    retry_after: float | None = None
    json: Json | None = None
    delay: float = 0.0
    hits: int = 0

    def body(self) -> Json:
        """What Discord would say."""
        if self.json is not None:
            return self.json
        if self.status == 429:
            retry_after = 0.1 if self.retry_after is None else self.retry_after
            return {"message": "You are being rate limited.", "retry_after": retry_after, "global": False}
        if self.status == 413:
            return {"message": "Request entity too large", "code": 40005}
        return {"message": f"{self.status}: planned by the test", "code": 0}

    def headers(self) -> dict[str, str]:
        """429 is only believed with `Via` (without it discord.py takes it for a ban by Cloudflare)."""
        if self.status != 429:
            return {}
        retry_after = str(self.body().get("retry_after", 0.1))
        return {"Via": "1.1 local", "Retry-After": retry_after, "X-RateLimit-Scope": "user"}


@dataclass
class Limit(Match):
    """At most `count` requests in `per` seconds for each path; more are answered with 429."""

    count: int = 5
    per: float = 5.0
    scope: Callable[[str], str] = str
    _seen: dict[str, list[float]] = field(default_factory=dict)

    def wait(self, path: str) -> float:
        """Seconds until this request may come; 0 lets it in and counts it."""
        now = time.monotonic()
        recent = [at for at in self._seen.get(self.scope(path), ()) if now - at < self.per]
        self._seen[self.scope(path)] = recent
        if len(recent) >= self.count:
            return self.per - (now - recent[0])
        recent.append(now)
        return 0.0


class Faults:
    """The plan; asked by the REST server for every request."""

    def __init__(self) -> None:
        self.planned: list[Fault] = []
        self.limits: list[Limit] = []
        self._callbacks: list[tuple[Match, Callback, int]] = []

    def add(self, method: str, path_glob: str, **rest: Any) -> Fault:
        """`status=500|429|413|…|None, times=1, after_effect=False, retry_after=, json=, delay=`.

        `after_effect=True`: Discord acts and then fails to say so. `status=None`: the connection closes unanswered.
        `status=200` with only a `delay` makes a slow success.
        """
        fault = Fault(method, path_glob, **rest)
        self.planned.append(fault)
        return fault

    def limit(self, method: str, path_glob: str, count: int, per: float) -> Limit:
        """A rate limit per channel (or other major parameter): off until a test asks for it."""
        limit = Limit(method, path_glob, count, per, scope=lambda path: "/".join(path.split("/")[:3]))
        self.limits.append(limit)
        return limit

    def clear(self) -> None:
        """Nothing goes wrong any more."""
        self.planned, self.limits, self._callbacks = [], [], []

    def take(self, method: str, path: str) -> Fault | None:
        """The fault for this request, used up by one; a rate limit counts as one, too."""
        for fault in self.planned:
            if fault.hits < fault.times and fault.fits(method, path):
                fault.hits += 1
                return fault
        for limit in self.limits:
            if limit.fits(method, path) and (wait := limit.wait(path)):
                return Fault(method, path, status=429, retry_after=round(wait, 3))
        return None

    def before_reply(self, method: str, path_glob: str, callback: Callback, times: int = 1) -> None:
        """Call back when the act is done and before its answer leaves."""
        self._callbacks.append((Match(method, path_glob), callback, times))

    async def replying(self, method: str, path: str) -> None:
        """Run the callbacks that wait for this request."""
        for place, (match, callback, times) in enumerate(self._callbacks):
            if times > 0 and match.fits(method, path):
                self._callbacks[place] = (match, callback, times - 1)
                result = callback()
                if inspect.isawaitable(result):
                    await result
        await asyncio.sleep(0)
