"""Times, shares and counts in words, the same wherever the bot writes them."""

import math

MINUTE_MS, HOUR_MS = 60_000, 3_600_000


def counted(number: int, noun: str) -> str:
    """`1 job`, `3 jobs`, `1,200 jobs`."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def lasting(ms: float) -> str:
    """How long, as precisely as anybody asks: `8 seconds`, `4 minutes`, `1.5 hours`."""
    if ms < 90_000:
        return counted(max(1, round(ms / 1000)), "second")
    if ms < 90 * MINUTE_MS:
        return counted(round(ms / MINUTE_MS), "minute")
    hours = round(ms / HOUR_MS * 2) / 2
    return counted(int(hours), "hour") if hours.is_integer() else f"{hours:,} hours"


def gpu(ms: float) -> str:
    """`no GPU time`, `40 GPU-seconds`, `1,250 GPU-seconds`."""
    return counted(max(1, round(ms / 1000)), "GPU-second") if ms > 0 else "no GPU time"


def clock(ms: float) -> str:
    """An instant (milliseconds since the epoch) that every client shows as "in 4 minutes" and counts down by itself."""
    return f"<t:{math.ceil(ms / 1000)}:R>"
