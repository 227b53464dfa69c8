"""What the bot writes into channels, as plain functions of a job's record."""

import re
from collections.abc import Callable, Iterable

from bot.claims import Claim, Phase
from jobs.errors import Note
from jobs.record import Failed, Job, Rendered
from jobs.texts import say

BAR_CELLS = 16
STARTING = "starting"
ANY_MOMENT = "ready any moment"
STAGES = {
    "loading": "loading the model",
    "depth": "reading the depth",
    "reading": "reading the words",
    "encoding_image": "reading the picture",
    "watching": "reading the clip",
    "detecting": "finding what to hold it by",
    "learning": "learning the motion",
    "denoising": "rendering",
    "moving": "moving the camera",
    "looking": "looking at the motion",
    "interpolating": "drawing frames in between",
    "listening": "listening to the sound",
    "measuring": "measuring the flicker",
    "steadying": "steadying the light",
    "upscaling": "enlarging",
    "looping": "closing the loop",
    "retiming": "changing the speed",
    "stitching": "joining the clips",
    "trimming": "cutting to length",
    "cropping": "cutting out",
    "copying": "taking the frames over",
    "decoding": "decoding frames",
    "encoding": "writing the file",
}


def bar(step: int, total: int, cells: int = BAR_CELLS) -> str:
    """A progress bar, of 16 cells where nothing else is said."""
    done = 0 if total <= 0 else round(cells * min(step, total) / total)
    return "▰" * done + "▱" * (cells - done)


def notes(said: Iterable[Note]) -> str:
    """What a person should still know, one small line each."""
    return "".join(f"\n-# {say(note.code, note.facts)}" for note in said)


def _head(job: Job) -> str:
    return f"**{job.submission.recipe.title}** for {job.submission.requester.name}"


def status(job: Job, said: Claim) -> str:
    """The status message while nothing is final: it says what `said` claims, and `claimed` reads it back."""
    return f"{said.phase.value} {_head(job)}: {_SAYING[said.phase](job, said)}{_bar_line(said)}"


def _queued(_: Job, said: Claim) -> str:
    if said.ahead is None:
        return f"queued{_ready(said)}"
    if said.below is not None:
        return f"queued, fewer than {said.below} ahead{_ready(said)}"
    return f"queued, {f'{said.ahead} ahead' if said.ahead else 'next in line'}{_ready(said)}"


def _unserved(job: Job, said: Claim) -> str:
    system = job.submission.recipe.lead.name()
    return f"queued; no machine that runs **{system}** was online <t:{said.since_s}:R>, it waits for one"


def _held(_: Job, said: Claim) -> str:
    return f"queued; the line was put on hold <t:{said.since_s}:R>, it keeps its place"


def _stopping(*_: object) -> str:
    return "stopping…"


def _sending(*_: object) -> str:
    return "on its way…"


def _running(_: Job, said: Claim) -> str:
    return f"{STAGES.get(said.stage, said.stage) or STARTING}{_ready(said)}"


_SAYING: dict[Phase, Callable[[Job, Claim], str]] = {
    Phase.WAITING: _queued,
    Phase.HELD: _held,
    Phase.UNSERVED: _unserved,
    Phase.RUNNING: _running,
    Phase.STOPPING: _stopping,
    Phase.SENDING: _sending,
}


def _ready(said: Claim) -> str:
    if said.soon:
        return f", {ANY_MOMENT}"
    return "" if said.ready_s is None else f", ready <t:{said.ready_s}:R>"


def _bar_line(said: Claim) -> str:
    return f"\n`{bar(said.step, said.total)}` {said.step}/{said.total}" if said.total else ""


def claimed(text: str) -> Claim | None:
    """What a status message claims, read from its text: after a restart nobody remembers. None: it cannot be read."""
    first, _, rest = text.partition("\n")
    phase = next((phase for phase in Phase if first.startswith(f"{phase.value} ")), None)
    found = _ENDS[phase].search(first) if phase in _ENDS else None
    if phase is None or found is None:
        return None
    parts = found.groupdict()
    steps = _STEPS.match(rest)
    numbers = {key: int(parts[key]) for key in ("ahead", "below", "ready_s", "since_s") if parts.get(key)}
    if phase is Phase.WAITING and parts["next"]:
        numbers["ahead"] = 0
    if "below" in numbers:
        numbers["ahead"] = numbers["below"] - 1
    return Claim(
        phase,
        soon=bool(parts.get("soon")),
        stage=_STAGE_OF.get(parts.get("stage") or STARTING, parts.get("stage") or ""),
        step=int(steps["step"]) if steps else 0,
        total=int(steps["total"]) if steps else 0,
        **numbers,
    )


_STAGE_OF = {words: stage for stage, words in STAGES.items()} | {STARTING: ""}
_WHEN = rf"(?:, (?:ready <t:(?P<ready_s>\d+):R>|(?P<soon>{ANY_MOMENT})))?$"
_PLACE = r"(?:, (?:(?P<next>next in line)|(?P<ahead>\d+) ahead|fewer than (?P<below>\d+) ahead))?"
_SINCE = r"<t:(?P<since_s>\d+):R>, it (?:keeps its place|waits for one)$"
_ENDS = {
    Phase.WAITING: re.compile(rf": queued{_PLACE}{_WHEN}"),
    Phase.HELD: re.compile(rf": queued; .* {_SINCE}"),
    Phase.UNSERVED: re.compile(rf": queued; .* {_SINCE}"),
    Phase.RUNNING: re.compile(rf".*: (?P<stage>[^:]*?){_WHEN}"),
    Phase.STOPPING: re.compile(r": stopping…$"),
    Phase.SENDING: re.compile(r": on its way…$"),
}
"""How the first line ends. What stands before it is somebody's name, which may be anything."""
_STEPS = re.compile(r"`[▰▱]+` (?P<step>\d+)/(?P<total>\d+)")


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
    recipe = job.submission.recipe
    if isinstance(job.outcome, Rendered):
        facts = [str(fact) for fact in job.outcome.facts.values()]
        seed = [] if recipe.seed is None else [f"seed {recipe.seed}"]
        line = " · ".join([f"**{recipe.title}**", *facts, *seed, f"{job.outcome.seconds:.1f} s"])
        return f"{person} {line}{notes(job.outcome.said)}"
    if isinstance(job.outcome, Failed):
        return f"⚠️ {person} {sentence(job.outcome)}{_incident(job.outcome)}"
    return f"✖️ {person} Your **{recipe.title}** was cancelled."


def _incident(failed: Failed) -> str:
    """The id under which the log says more, unless the sentence names it itself."""
    return "" if failed.incident is None or "incident" in failed.reason.facts else f"\n-# {failed.incident}"


def sentence(failed: Failed) -> str:
    """Why it failed, in words."""
    return say(failed.reason.code, failed.reason.facts)
