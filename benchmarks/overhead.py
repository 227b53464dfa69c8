"""What the whole of Zoetrope adds to a render, and how soon it answers when many ask at once.

    python -m benchmarks.overhead                     # some minutes; two tables and a third
    python -m benchmarks.overhead --rounds 1 --only bursts

Redis, bot, worker and renderer are the real processes; Discord is the local one of the tests, in the same process as
this benchmark, so whatever it needs of the CPU counts against us. The networks are the tests' tiny ones.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import math
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from fractions import Fraction
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from PIL import Image

from inference.residency import Residency
from inference.systems import ROOMS
from inference.systems.base import Place, Sources, System
from jobs.record import Job
from jobs.requests import BY_SYSTEM, Request
from jobs.settings import LimitSettings
from media.frames import FrameSpool
from media.limits import PictureLimits
from media.pictures import read_picture
from media.video import encode_mp4
from tests.discord_server import LocalDiscord
from tests.discord_server.interactions import Asked
from tests.discord_server.model import MIB, Attachment, Channel
from tests.discord_server.rest import Call
from tests.stack import Stack, running
from tests.tiny_models import write_usual

WIDTH, HEIGHT = 1184, 848
"""One megapixel."""
RENDERS: dict[str, dict[str, Any]] = {
    "svd": {"model": "svd-xt", "num_inference_steps": 4, "seed": 11},
    "parallax": {"seed": 11},
}
"""What is rendered: each system with the options a person gives; all others at their defaults.

SVD with few steps, so that its own swings do not hide what is added to it."""
QUICK: dict[str, Any] = {"seconds": 0.5, "fps": 5, "size": 360, "depth": "off"}
"""A parallax of a few frames: in the bursts people wait for the answer, not for a clip."""
THREADS = 1
"""Of torch, in both runs; `tests.stack` gives the renderer as many."""
CROWDS = (1, 10, 100)
QUEUED = "Queued with"
INCIDENT = "incident"


def photo(seed: int) -> bytes:
    """A JPEG of one megapixel, about as hard to compress as a photo, and another one for each seed."""
    chance = np.random.default_rng(seed)
    coarse = Image.fromarray(chance.integers(0, 256, (12, 16, 3), dtype=np.uint8))
    soft = np.asarray(coarse.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC), np.int16)
    grain = chance.integers(-9, 10, (HEIGHT, WIDTH, 1), dtype=np.int16)
    data = io.BytesIO()
    Image.fromarray(np.clip(soft + grain, 0, 255).astype(np.uint8)).save(data, "JPEG", quality=88)
    return data.getvalue()


def say(line: str) -> None:
    """How far we are, beside the tables."""
    print(line, file=sys.stderr, flush=True)


# --- a render, called directly ---


class Direct:
    """The system classes in this process, as a script would call them: no queue, no child, no Discord."""

    def __init__(self, models: Path, data: bytes) -> None:
        cpu = torch.device("cpu")
        self._place = Place(models, cpu, torch.float32, Residency(cpu))
        self._systems: dict[str, System[Any]] = {}
        self._picture = Image.open(io.BytesIO(read_picture(data, _limits()).png)).convert("RGB")

    def make(self, name: str, options: dict[str, Any], folder: Path) -> tuple[float, float]:
        """Seconds to render the frames, and seconds to encode them."""
        torch.set_num_threads(THREADS)  # OpenMP keeps this for each calling thread
        request: Request = BY_SYSTEM[name](**options)
        system = self._systems.setdefault(name, ROOMS[name].open(self._place))
        start = time.perf_counter()
        with torch.inference_mode():
            clip = system.render(request, Sources({"image": self._picture}), _untold)
            frames = list(clip.frames)
        rendered = time.perf_counter()
        with FrameSpool.filled(frames, clip.width, clip.height, Fraction(clip.fps)) as spool:
            filled = time.perf_counter()
            encode_mp4(spool, folder / "direct.mp4", 20 * MIB)
        return rendered - start, time.perf_counter() - filled


def _limits() -> PictureLimits:
    limits = LimitSettings()
    return PictureLimits(
        max_bytes=limits.picture_bytes,
        max_pixels=limits.picture_pixels,
        max_side=limits.picture_side,
        working_side=limits.working_side,
    )


def _untold(stage: str, step: int, total: int) -> None:
    """A tick that nobody watches."""


# --- the same through everything ---


@dataclass(frozen=True)
class Take:
    """One clip: seconds of the direct call, and of every part of the way through the stack."""

    render: float
    encode: float
    accepting: float
    """From the slash command to acceptance: answered, downloaded, decoded, stored."""
    waiting: float
    """From acceptance to the worker's claim."""
    working: float
    """From the claim to the finished file in the store."""
    posting: float
    """From there to the clip's message in the channel."""

    @property
    def whole(self) -> float:
        """From the slash command to the clip."""
        return self.accepting + self.waiting + self.working + self.posting


async def clip_through(stack: Stack, channel: Channel, name: str, options: dict[str, Any], data: bytes) -> Take:
    """Ask by slash command, wait for the clip, and read the job's record for what happened when."""
    server, before = stack.server, len(stack.server.clips(channel))
    picture = server.upload("photo.jpg", data)
    asked = await server.slash(name, server.user("ann"), channel=channel, image=picture, **options)
    clips = await server.wait_for(lambda: server.clips(channel)[before:], 300, f"a clip after {asked.text!r}")
    job = await stack.queue.job(asked.id)
    await _all_closed(stack)
    return _take(asked, job, clips[0].created_at)


def _take(asked: Asked, job: Job, posted_at: float) -> Take:
    assert job.started_ms is not None
    assert job.ended_ms is not None
    accepted, started, ended = (ms / 1000 for ms in (job.submission.accepted_ms, job.started_ms, job.ended_ms))
    return Take(0.0, 0.0, accepted - asked.asked_at, started - accepted, ended - started, posted_at - ended)


async def _all_closed(stack: Stack) -> None:
    """Wait until no job is open."""
    while await stack.queue.open_jobs():  # noqa: ASYNC110 - they end in other processes
        await asyncio.sleep(0.05)


async def measure_renders(stack: Stack, direct: Direct, data: bytes, rounds: int) -> dict[str, list[Take]]:
    """Each system `rounds` times, directly and through the stack in turns, after one of each to warm up."""
    channel = stack.server.add_channel("renders")
    takes: dict[str, list[Take]] = {name: [] for name in RENDERS}
    for number in range(rounds + 1):
        for name, options in RENDERS.items():
            render, encode = await asyncio.to_thread(direct.make, name, options, stack.folder)
            through = await clip_through(stack, channel, name, options, data)
            take = Take(render, encode, through.accepting, through.waiting, through.working, through.posting)
            say(f"{name} {number}: direct {render:.2f} s + {encode:.2f} s, through the stack {take.whole:.2f} s")
            if number:
                takes[name].append(take)
    return takes


# --- many at once ---


@dataclass(frozen=True)
class Burst:
    """So many people at once: when each was acknowledged and answered, and what the answers were."""

    acknowledged: Sequence[float]
    """Seconds from each person's command."""
    all_acknowledged: float
    """Seconds from the first person's command until the last was acknowledged."""
    answered: Sequence[float]
    """Seconds from each person's command until there was a sentence to read."""
    accepted: int
    refused: int


async def burst(stack: Stack, channel: Channel, pictures: Sequence[Attachment], first: int) -> Burst:
    """One slash command from each of as many people as there are pictures, at once; ends when every job has."""
    server = stack.server
    people = [server.user(f"person{first + number}") for number in range(len(pictures))]
    clips = len(server.clips(channel))
    asked = [
        await server.slash("parallax", person, channel=channel, image=picture, **QUICK)
        for person, picture in zip(people, pictures, strict=True)
    ]
    await server.wait_for(lambda: all(each.shown for each in asked), 180, "an answer for everybody")
    texts = [each.text.strip() for each in asked]
    assert all(texts), "an empty answer"
    assert not any(INCIDENT in text for text in texts), texts
    accepted = sum(QUEUED in text for text in texts)
    await _all_closed(stack)
    await server.wait_for(lambda: len(server.clips(channel)) >= clips + accepted, 10, f"{accepted} clips")
    return _burst(asked, accepted)


def _burst(asked: Sequence[Asked], accepted: int) -> Burst:
    acknowledged = [each.acknowledged_after for each in asked if each.acknowledged_after is not None]
    assert len(acknowledged) == len(asked), "somebody was never acknowledged"
    last = max(each.asked_at + after for each, after in zip(asked, acknowledged, strict=True))
    answered = [each.shown[0].versions[0].at - each.asked_at for each in asked]
    return Burst(acknowledged, last - asked[0].asked_at, answered, accepted, len(asked) - accepted)


async def measure_bursts(stack: Stack, rounds: int) -> dict[int, list[Burst]]:
    """Every crowd `rounds` times, each time new people with new pictures; the very first one warms up."""
    channel = stack.server.add_channel("crowds")
    photos = [photo(seed) for seed in range(max(CROWDS))]
    say(f"pictures of {median(map(len, photos)) / 1000:.0f} kB")
    bursts: dict[int, list[Burst]] = {crowd: [] for crowd in CROWDS}
    people = 0
    for crowd in (1, *(crowd for _ in range(rounds) for crowd in CROWDS)):
        pictures = [stack.server.upload("photo.jpg", data) for data in photos[:crowd]]
        seen = await burst(stack, channel, pictures, people)
        worst = 1000 * max(seen.acknowledged)
        say(f"{crowd} at once: acknowledged within {worst:.0f} ms, answered within {max(seen.answered):.1f} s")
        if people:
            bursts[crowd].append(seen)
        people += crowd
    return bursts


def judged(server: LocalDiscord, calls: Iterable[Call]) -> str:
    """Hold calls against Discord's document after the clock has stopped."""
    number, wrong = 0, list(server.violations)
    if server.openapi is None:
        return "Not held against Discord's OpenAPI document, which is not here (`ZOETROPE_OPENAPI`)."
    for number, call in enumerate(calls, 1):  # noqa: B007
        wrong += server.openapi.address(call.method, call.path, call.query)
        wrong += server.openapi.body(call.method, call.path, call.body)
    assert not wrong, wrong
    return f"{number} calls to Discord, held against its OpenAPI document afterwards: no violation."


# --- tables ---


Pick = Callable[[Iterable[float]], float]
PICKS: tuple[tuple[str, Pick], ...] = (("best", min), ("median", median))


def render_tables(takes: dict[str, list[Take]]) -> Iterable[str]:
    """What the stack adds, and where. Differences are those of the row's own numbers."""
    yield "| seconds | | direct call | its encode | command → clip | added | ratio | added beyond the encode |"
    yield "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |"
    rows = [(name, word, every, pick) for name, every in takes.items() for word, pick in PICKS]
    for name, word, every, pick in rows:
        render, encode, whole = (_picked(every, part, pick) for part in ("render", "encode", "whole"))
        yield (
            f"| {name} | {word} of {len(every)} | {render:.2f} | {encode:.2f} | {whole:.2f} | {whole - render:.2f}"
            f" | {whole / render:.2f} | {whole - render - encode:.2f} |"
        )
    yield ""
    yield "| seconds | | command → accepted | → started | → ended | of it beyond call + encode | → posted |"
    yield "| --- | --- | ---: | ---: | ---: | ---: | ---: |"
    for name, word, every, pick in rows:
        parts = [_picked(every, part, pick) for part in ("accepting", "waiting", "working")]
        beyond = parts[-1] - _picked(every, "render", pick) - _picked(every, "encode", pick)
        shown = " | ".join(f"{part:.2f}" for part in (*parts, beyond, _picked(every, "posting", pick)))
        yield f"| {name} | {word} of {len(every)} | {shown} |"


def _picked(every: Iterable[Take], part: str, pick: Pick) -> float:
    return pick(getattr(take, part) for take in every)


def burst_table(bursts: dict[int, list[Burst]]) -> Iterable[str]:
    """Milliseconds to the acknowledgement: of the best round, the middle one and the worst, by their p99."""
    yield (
        "| at once | round | p50 ms | p99 ms | max ms | first command → last acknowledged ms"
        " | sentence, p50 s | last s | accepted | refused |"
    )
    yield "| ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
    for crowd, every in bursts.items():
        ranked = sorted(every, key=lambda one: percentile(one.acknowledged, 99))
        for word, one in (("best", ranked[0]), ("median", ranked[len(ranked) // 2]), ("worst", ranked[-1])):
            latencies = [percentile(one.acknowledged, share) for share in (50, 99, 100)]
            shown = " | ".join(f"{1000 * latency:.0f}" for latency in (*latencies, one.all_acknowledged))
            yield (
                f"| {crowd} | {word} of {len(every)} | {shown} | {percentile(one.answered, 50):.1f}"
                f" | {max(one.answered):.1f} | {one.accepted} | {one.refused} |"
            )


def percentile(values: Sequence[float], share: float) -> float:
    """The nearest rank: the smallest value that `share` percent do not exceed."""
    return sorted(values)[max(0, math.ceil(len(values) * share / 100) - 1)]


def machine() -> str:
    """One line: what this ran on."""
    packages = ", ".join(
        f"{name} {version(name)}" for name in ("torch", "discord.py", "arq", "aiohttp", "av", "pillow")
    )
    gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "no GPU"
    return f"{os.cpu_count()} cores, {gpu}; Python {sys.version.split()[0]}, {packages}; {datetime.now(UTC):%Y-%m-%d}."


async def measure(folder: Path, rounds: int, only: str | None) -> None:
    """Start everything, measure, print, end everything."""
    write_usual(folder / "models")
    async with LocalDiscord() as server:
        server.rest.openapi = None  # judging a call takes milliseconds of our two cores; `judged` does it afterwards
        async with running(server, folder) as stack:
            print(f"{machine()}\n")
            if only != "bursts":
                await _print_renders(stack, rounds)
            if only != "renders":
                print("\n".join(burst_table(await measure_bursts(stack, rounds))), "\n", sep="")
            print(judged(server, server.rest.calls))


async def _print_renders(stack: Stack, rounds: int) -> None:
    data = photo(0)
    direct = Direct(stack.folder / "models", data)
    print("\n".join(render_tables(await measure_renders(stack, direct, data, rounds))), "\n", sep="")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description="what Zoetrope adds to a render, and how soon it answers")
    parser.add_argument("--rounds", type=int, default=5, help="how often everything is measured (5)")
    parser.add_argument("--only", choices=("renders", "bursts"), help="one half of it")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="zoetrope-overhead-") as name:
        asyncio.run(measure(Path(name), asked.rounds, asked.only))


if __name__ == "__main__":
    main()
