"""Was it kept? Each accepted job in exactly one final message, read from the channels; and nothing left lying about."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from jobs.queue import NoSuchJob
from jobs.record import Failed, Job, Rendered
from tests.chaos.crowd import Crowd
from tests.chaos.sight import Sight
from tests.chaos.town import Town
from tests.test_redis_keys import ALWAYS_KEPT

BUG = "unexpected"


@dataclass
class Verdict:
    """What came out; a good one has no complaints."""

    asked: int = 0
    accepted: int = 0
    told_once: set[str] = field(default_factory=set[str])
    ends: Counter[str] = field(default_factory=Counter[str])
    complaints: list[str] = field(default_factory=list[str])
    remarks: list[str] = field(default_factory=list[str])

    def complain(self, condition: object, complaint: str) -> None:
        """Write it down if so."""
        if condition:
            self.complaints.append(complaint)


async def judge(town: Town, crowd: Crowd, sight: Sight) -> Verdict:
    """Look at everything once nothing moves any more."""
    sight.look()
    verdict = Verdict(asked=len(crowd.asks))
    records = await _records(town, crowd)
    _judge_messages(verdict, crowd, sight, records)
    _judge_ends(verdict, records)
    await _judge_redis(verdict, town)
    _judge_store(verdict, town, records)
    _judge_logs(verdict, town)
    verdict.complaints += [f"Discord's document does not know: {each}" for each in town.server.violations]
    return verdict


async def _records(town: Town, crowd: Crowd) -> dict[str, Job]:
    """The records of everything that was ever asked, where there is one."""
    found: dict[str, Job] = {}
    for ask in crowd.asks:
        try:
            found[ask.job_id] = await town.queue.job(ask.job_id)
        except NoSuchJob:
            continue
    return found


def _judge_messages(verdict: Verdict, crowd: Crowd, sight: Sight, records: dict[str, Job]) -> None:
    accepted = {ask.job_id for ask in crowd.accepted} | set(records)
    verdict.accepted = len(accepted)
    for job_id in sorted(accepted):
        finals = sight.finals.get(job_id, [])
        state = records[job_id].state if job_id in records else "no record"
        verdict.complain(not finals, f"job {job_id} ({state}) was accepted and never answered")
        verdict.complain(len(finals) > 1, f"job {job_id} was answered {len(finals)} times: {finals}")
        if len(finals) == 1:
            verdict.told_once.add(job_id)
            verdict.ends[_end(finals[0].text, bool(finals[0].attachments))] += 1
    for job_id, statuses in sight.statuses.items():
        verdict.complain(len(statuses) > 1, f"job {job_id} has {len(statuses)} status messages: {statuses}")
        stale = [each for each in statuses if each.buttons]
        verdict.complain(stale, f"job {job_id} is over, and its status message still says: {stale}")
    strange = set(sight.finals) - accepted
    verdict.complain(strange, f"answered, though nobody asked: {sorted(strange)}")


def _end(text: str, has_files: bool) -> str:
    if has_files:
        return "clip"
    return "cancelled" if "was cancelled" in text else "reason"


def _judge_ends(verdict: Verdict, records: dict[str, Job]) -> None:
    """A reason that is a bug's incident number is no plain reason."""
    reasons = Counter[str]()
    for job in records.values():
        verdict.complain(job.state != "closed", f"job {job.id} is {job.state}, not closed")
        if isinstance(job.outcome, Failed):
            reasons[job.outcome.reason.code] += 1
            verdict.complain(job.outcome.reason.code == BUG, f"job {job.id} met a bug: {job.outcome}")
    verdict.remarks += [f"reason {code}: {count}" for code, count in reasons.items()]
    attempts = Counter(job.attempts for job in records.values())
    verdict.remarks.append("attempts: " + ", ".join(f"{count} jobs with {n}" for n, count in sorted(attempts.items())))


async def _judge_redis(verdict: Verdict, town: Town) -> None:
    redis = town.queue.redis
    keys = [key.decode() for key in await redis.keys("*")]
    lasting = {key for key in keys if await redis.ttl(key) == -1} - ALWAYS_KEPT
    verdict.complain(lasting, f"keys that never expire: {sorted(lasting)}")
    left = [key for key in keys if key.startswith("arq:")]
    verdict.complain(left, f"arq's keys of jobs that are over: {left}")


def _judge_store(verdict: Verdict, town: Town, records: dict[str, Job]) -> None:
    """Files that no record names are attempts that were fenced off, or pictures whose job was not accepted."""
    named = {source.digest for job in records.values() for source in job.submission.recipe.sources.values()}
    for job in records.values():
        if isinstance(job.outcome, Rendered):
            named |= {file.digest for file in job.outcome.files}
    stored = {path.name: path for path in Path(town.folder, "store").rglob("*") if path.is_file()}
    junk = set(stored) - named
    lost = named - set(stored)
    verdict.complain(lost, f"records name files that are gone: {sorted(lost)}")
    size = sum(stored[name].stat().st_size for name in junk)
    verdict.remarks.append(f"store: {len(stored)} files, {len(junk)} that no record names ({size} bytes)")


def _judge_logs(verdict: Verdict, town: Town) -> None:
    for kept in (town.bot, *town.workers):
        log = kept.process
        verdict.remarks.append(
            f"{log.name}: {len(log.lines('Traceback'))} tracebacks, {len(log.lines('incident'))} lines with incidents, "
            f"{len(log.lines('the lease was lost'))} late results turned away"
        )
