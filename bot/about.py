"""Everything that is known of one job, as one message: what it is made of, so that anybody may make it again."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from bot.amounts import lasting
from bot.options import attached, offered
from jobs.recipe import Recipe, Source
from jobs.record import Job, Rendered, ResultFile
from jobs.requests import Request

LONGEST = 1990
"""Discord takes 2000 characters in a message."""
DIGITS = 12
"""Of a SHA-256: enough to tell two files apart by eye."""


def about(job: Job) -> str:
    """The job in words, for one person's eyes."""
    lines = [_head(job), *_steps(job.submission.recipe), *_sources(job.submission.recipe)]
    if isinstance(job.outcome, Rendered):
        lines += _outcome(job, job.outcome)
    return fitting([*lines, f"-# `/show id:{job.id}`"])


def _head(job: Job) -> str:
    asked = int(datetime.fromtimestamp(job.submission.accepted_ms / 1000, UTC).timestamp())
    who = f"<@{job.submission.requester.id}>"
    return f"**{job.submission.recipe.title}** for {who}, asked <t:{asked}:R> · {job.state}"


def _steps(recipe: Recipe) -> Iterable[str]:
    for number, step in enumerate(recipe.steps, 1):
        yield f"{number}. **{step.name()}** {_parameters(step)}".rstrip()


def _parameters(step: Request) -> str:
    fields = offered(type(step))
    values = {name: getattr(step, name) for name, field in fields.items() if not attached(field)}
    return " · ".join(f"{name} {_value(value)}" for name, value in values.items() if value not in (None, ""))


def _value(value: object) -> str:
    text = {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)
    return f"`{text.replace('`', 'ˋ')[:120]}`"


def _sources(recipe: Recipe) -> Iterable[str]:
    for name, source in recipe.sources.items():
        yield f"- {name}: {_of_source(source)}, SHA-256 `{source.digest[:DIGITS]}…`"


def _of_source(source: Source) -> str:
    match source.kind:
        case "image":
            return f"a picture of {source.width} × {source.height}"
        case "clip":
            rate = f"{float(source.fps):g} frames a second"
            return f"a clip of {source.width} × {source.height}, {source.num_frames} frames at {rate}"
        case "sound":
            return f"a sound of {source.seconds:.1f} s"
        case "motion":
            return "a learned motion"


def _outcome(job: Job, outcome: Rendered) -> Iterable[str]:
    yield from (f"- {_of_file(file)}" for file in outcome.files)
    yield from (f"- checkpoint {each}" for each in outcome.checkpoints)
    yield f"- {lasting(outcome.gpu_ms)} of GPU, {outcome.seconds:.1f} s in all, try {job.attempts}"


def _of_file(file: ResultFile) -> str:
    size = f"{file.width} × {file.height}, {file.num_frames} frames at {file.fps:g} a second"
    likeness = "" if file.ssim is None else f", SSIM {file.ssim:.3f}"
    return f"`{file.name}`: {size}, {file.size_bytes / 2**20:.2f} MiB{likeness}, SHA-256 `{file.digest[:DIGITS]}…`"


def fitting(lines: list[str]) -> str:
    """As much of them as goes into a message."""
    text = "\n".join(lines)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
