"""One run from nothing to the verdict."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.crowd import Crowd
from tests.chaos.incidents import HEAD, Incident, row
from tests.chaos.plan import Plan
from tests.chaos.saboteur import KINDS, Saboteur
from tests.chaos.sight import Sight
from tests.chaos.town import Town, town
from tests.chaos.verdict import Verdict, judge

DRAIN_SHARE = 0.35
"""Of the time, so much is kept for what is still open when the last one has asked."""
SETTLED_SECONDS = 30.0
"""Status messages whose last edit Discord did not take are made good within this time."""
QUIET_SECONDS = 2.0
"""A message too many would come within this time."""


@dataclass
class Result:
    """What happened, and whether it was well."""

    plan: Plan
    verdict: Verdict
    incidents: list[Incident]
    seconds: float
    ways: dict[str, int]

    def table(self) -> str:
        """Every kind of fault with its outcome, as Markdown."""
        rows = [row(kind.name, kind.back_when, self.incidents, self.verdict.told_once) for kind in KINDS]
        return "\n".join([HEAD, *(each.markdown() for each in rows if each.injected)])

    def summary(self) -> str:
        """One line for people."""
        verdict = self.verdict
        ends = ", ".join(f"{count} × {end}" for end, count in verdict.ends.most_common())
        ways = ", ".join(f"{count} by {way}" for way, count in self.ways.items())
        return (
            f"seed {self.plan.seed}: {verdict.accepted} jobs accepted of {verdict.asked} asked ({ways}), "
            f"{len(verdict.told_once)} ended in exactly one message ({ends}), "
            f"{len(self.incidents)} faults, {self.seconds:.0f} s"
        )


async def run(plan: Plan, folder: Path, say: Callable[[str], None] = print) -> Result:
    """Chaos in a fresh town."""
    begun = time.monotonic()
    async with town(folder, plan.lease_seconds) as here:
        sight = Sight(here.server)
        watcher = asyncio.create_task(sight.watch())
        crowd, saboteur = Crowd(here, sight, plan), Saboteur(here, plan)
        say(f"seed {plan.seed}: ready after {time.monotonic() - begun:.0f} s")
        try:
            await _rage(crowd, saboteur, plan.seconds * (1 - DRAIN_SHARE) - (time.monotonic() - begun))
            say(f"{len(crowd.accepted)} accepted, {len(here.open)} still open; peace from now on")
            await saboteur.make_peace()
            await _drain(here, crowd, sight, plan.seconds - (time.monotonic() - begun))
            saboteur.trace_bad_answers()
            verdict = await judge(here, crowd, sight)
        finally:
            watcher.cancel()
            await asyncio.gather(watcher, return_exceptions=True)
        accepted = len(crowd.accepted)
        verdict.complain(accepted < plan.jobs, f"only {accepted} of {plan.jobs} jobs were accepted in the time")
        return Result(plan, verdict, saboteur.incidents, time.monotonic() - begun, dict(crowd.ways()))


async def _rage(crowd: Crowd, saboteur: Saboteur, seconds: float) -> None:
    """People ask and things break, side by side."""
    sabotage = asyncio.create_task(saboteur.work())
    try:
        await crowd.live(seconds)
    finally:
        sabotage.cancel()
        [end] = await asyncio.gather(sabotage, return_exceptions=True)
    if isinstance(end, Exception):
        raise end


async def _drain(here: Town, crowd: Crowd, sight: Sight, seconds: float) -> None:
    """Wait until every accepted job was answered and closed, then a little for answers too many."""
    await here.until(lambda: not here.open and all(ask.job_id in sight.finals for ask in crowd.accepted), seconds)
    await here.until(sight.nothing_stale, SETTLED_SECONDS)
    await asyncio.sleep(QUIET_SECONDS)
    await here.look()
