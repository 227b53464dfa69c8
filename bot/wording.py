"""What the bot writes into channels, as plain functions of a job's record."""

from collections.abc import Iterable

from jobs.errors import Note
from jobs.record import Failed, Job, JobPlace, Rendered, State
from jobs.texts import say

BAR_CELLS = 16
STAGES = {
    "loading": "loading the model",
    "depth": "reading the depth",
    "encoding_image": "reading the picture",
    "denoising": "rendering",
    "moving": "moving the camera",
    "decoding": "decoding frames",
    "encoding": "writing the file",
}


def bar(step: int, total: int) -> str:
    """A progress bar of 16 cells."""
    done = 0 if total <= 0 else round(BAR_CELLS * min(step, total) / total)
    return "▰" * done + "▱" * (BAR_CELLS - done)


def notes(said: Iterable[Note]) -> str:
    """What a person should still know, one small line each."""
    return "".join(f"\n-# {say(note.code, note.facts)}" for note in said)


def _head(job: Job) -> str:
    [step] = job.submission.recipe.steps
    return f"**{step.system}** for {job.submission.requester.name}"


def status(job: Job, place: JobPlace | None) -> str:
    """The status message while nothing is final."""
    if job.state is State.WAITING:
        ahead = place.ahead if place else 0
        waiting = "next in line" if ahead == 0 else f"{ahead} ahead"
        return f"⏳ {_head(job)}: queued, {waiting}"
    if job.cancel_by and job.state is State.RUNNING:
        return f"🛑 {_head(job)}: stopping…"
    if job.state is State.RUNNING:
        return f"🎞️ {_head(job)}: {_running(job)}"
    return f"📮 {_head(job)}: on its way…"


def _running(job: Job) -> str:
    if job.progress is None:
        return "starting…"
    stage = STAGES.get(job.progress.stage, job.progress.stage)
    if job.progress.total <= 1:
        return f"{stage}…"
    step, total = job.progress.step, job.progress.total
    return f"{stage}\n`{bar(step, total)}` {step}/{total}"


def settled(job: Job, link: str | None) -> str:
    """The status message after the end: one line."""
    where = f" → {link}" if link else ""
    if isinstance(job.outcome, Rendered):
        return f"✅ {_head(job)}: done in {job.outcome.seconds:.1f} s{where}"
    if isinstance(job.outcome, Failed):
        return f"⚠️ {_head(job)}: it did not work{where}"
    return f"✖️ {_head(job)}: cancelled"


def final(job: Job) -> str:
    """The one final message: who, what, with which seed, how long; or why not."""
    person = f"<@{job.submission.requester.id}>"
    [step] = job.submission.recipe.steps
    if isinstance(job.outcome, Rendered):
        facts = [str(fact) for fact in job.outcome.facts.values()]
        line = " · ".join([f"**{step.system}**", *facts, f"seed {step.seed}", f"{job.outcome.seconds:.1f} s"])
        return f"{person} {line}{notes(job.outcome.said)}"
    if isinstance(job.outcome, Failed):
        return f"⚠️ {person} {sentence(job.outcome)}{_incident(job.outcome)}"
    return f"✖️ {person} Your **{step.system}** was cancelled."


def _incident(failed: Failed) -> str:
    """The id under which the log says more, unless the sentence names it itself."""
    return "" if failed.incident is None or "incident" in failed.reason.facts else f"\n-# {failed.incident}"


def sentence(failed: Failed) -> str:
    """Why it failed, in words."""
    return say(failed.reason.code, failed.reason.facts)
