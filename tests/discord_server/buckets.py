"""Discord's rate limits (docs, topics/rate-limits): counted per route and channel, told in headers, answered with 429.

A bucket counts the requests of one window; the window begins with its first request and is forgotten whole, as
`X-RateLimit-Remaining` and `X-RateLimit-Reset-After` describe it. Off until a test asks for it.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import NamedTuple

Headers = dict[str, str]


class Allowed(NamedTuple):
    """So many requests in so many seconds."""

    requests: int
    seconds: float


AMPLE = Allowed(50, 1.0)
"""What a route says of itself whose limit no test has asked for."""
REAL = {
    ("PATCH", "/channels/{channel_id}/messages/{message_id}"): Allowed(5, 5.0),
    ("POST", "/channels/{channel_id}/messages"): Allowed(5, 5.0),
}
"""What bots are told by Discord's headers for messages; nowhere documented, and the same for years."""
REAL_GLOBAL = Allowed(50, 1.0)
"""Documented; answers to interactions are not counted."""
REAL_OLD = Allowed(3, 20.0)
"""Edits in one channel of messages older than an hour. Discord names no number; this is what others met."""
OLD_EDITS = 30046
_GLOBAL = "global"


@dataclass
class Window:
    """One bucket since it was last empty."""

    allowed: Allowed
    ends: float = 0.0
    used: int = 0

    def take(self, now: float) -> float:
        """Count a request; the seconds until one may come where this one may not."""
        if now >= self.ends:
            self.ends, self.used = now + self.allowed.seconds, 0
        if self.used >= self.allowed.requests:
            return self.ends - now
        self.used += 1
        return 0.0


class Refused(NamedTuple):
    """Why a request is answered with 429."""

    retry_after: float
    everywhere: bool = False
    code: int | None = None

    def body(self) -> dict[str, str | float | bool]:
        """Discord's JSON."""
        said = {"retry_after": self.retry_after, "global": self.everywhere}
        if self.code == OLD_EDITS:
            message = "Maximum number of edits to messages older than 1 hour reached. Try again later"
            return {"message": message, "code": self.code, **said}
        return {"message": "You are being rate limited.", **said}


@dataclass
class Buckets:
    """All windows. `real()` switches the limits on, `clear()` off."""

    limits: dict[tuple[str, str], Allowed] = field(default_factory=dict[tuple[str, str], Allowed])
    """By method and path template."""
    everywhere: Allowed | None = None
    old_edits: Allowed | None = None
    _windows: dict[str, Window] = field(default_factory=dict[str, Window])

    def real(self) -> None:
        """As Discord does it."""
        self.limits, self.everywhere, self.old_edits = dict(REAL), REAL_GLOBAL, REAL_OLD

    def limit(self, method: str, template: str, requests: int, seconds: float) -> None:
        """One route's, in every channel."""
        self.limits[method, template] = Allowed(requests, seconds)

    def clear(self) -> None:
        """No limits, and nothing counted."""
        self.limits, self.everywhere, self.old_edits, self._windows = {}, None, None, {}

    def take(
        self, method: str, template: str, bucket: str, major: str, *, counts: bool, old: bool = False
    ) -> tuple[Headers, Refused | None]:
        """Count one request: the headers of its answer, and whether it is refused.

        `bucket` is the route's public name, `major` the channel or webhook; `counts`: towards the global limit, too;
        `old`: it edits a message older than an hour, whose own limit no header tells before it is reached.
        """
        now = time.monotonic()
        if counts and self.everywhere and (wait := self._window(_GLOBAL, self.everywhere).take(now)):
            return {**_refusal_headers(wait, "global"), "X-RateLimit-Global": "true"}, Refused(_up(wait), True)
        allowed = self.limits.get((method, template))
        if allowed is None:
            return _headers(bucket, AMPLE, AMPLE.requests - 1, AMPLE.seconds), None
        window = self._window(f"{bucket}:{major}", allowed)
        wait = window.take(now)
        headers = _headers(bucket, allowed, allowed.requests - window.used, window.ends - now)
        if wait:
            return {**headers, **_refusal_headers(wait, "user")}, Refused(_up(wait))
        if old and self.old_edits and (wait := self._window(f"old:{major}", self.old_edits).take(now)):
            return {**headers, **_refusal_headers(wait, "user")}, Refused(_up(wait), code=OLD_EDITS)
        return headers, None

    def _window(self, name: str, allowed: Allowed) -> Window:
        return self._windows.setdefault(name, Window(allowed))


def _up(seconds: float) -> float:
    """Rounded so that nobody comes a moment too early."""
    return math.ceil(seconds * 1000) / 1000


def _headers(bucket: str, allowed: Allowed, remaining: int, reset_after: float) -> Headers:
    return {
        "X-RateLimit-Limit": str(allowed.requests),
        "X-RateLimit-Remaining": str(remaining),
        "X-RateLimit-Reset": f"{time.time() + reset_after:.3f}",
        "X-RateLimit-Reset-After": f"{_up(reset_after):.3f}",
        "X-RateLimit-Bucket": bucket,
    }


def _refusal_headers(wait: float, scope: str) -> Headers:
    """Beside `Via`, which all our answers have: without it discord.py takes a 429 for a ban by Cloudflare."""
    return {"Retry-After": str(math.ceil(wait)), "X-RateLimit-Scope": scope}
