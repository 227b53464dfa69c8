"""`/zoetrope status`, `settings show` and `settings audit` in words: plain functions of what was read."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from bot.amounts import clock, counted, lasting
from bot.gate import where
from jobs.aside import SetAside
from jobs.costs import Row
from jobs.line import Line
from jobs.policy import EVERYONE, Layers, Rules, Share, TermsSettings, guild_scope
from jobs.rulebook import SHARE, Change, Changed
from jobs.workers import Advert

LONGEST = 1990
"""Discord takes 2000 characters in a message."""
LABELS = {
    "systems": "systems",
    "format": "format",
    "seconds": "longest clip",
    "megapixels": "largest frame",
    "nsfw": "nsfw",
    "nsfw_systems": "nsfw is about",
    "results": "clips are posted",
    "drained": "new requests",
    "paused": "the line",
}
MOST_IN_A_LINE = 6
"""Of one change in the audit: who clears everything may change a hundred settings."""
DEFAULTS = {
    "systems": "all that are installed",
    "format": "mp4",
    "seconds": "no limit",
    "megapixels": "no limit",
    "nsfw": "anywhere",
    "nsfw_systems": "all systems",
    "results": "where they were asked for",
}
SHARE_LABELS = {
    "weight": "weight",
    "waiting": "open jobs",
    "running": "running at once",
    "gpu_seconds_per_day": "GPU seconds a day",
    "megapixel_seconds": "megapixel-seconds a clip",
}


def fitting(lines: Iterable[str]) -> str:
    """As many lines as one message takes."""
    text = ""
    for line in lines:
        if len(text) + 1 + len(line) > LONGEST - 2:
            return f"{text}\n…"
        text = f"{text}\n{line}" if text else line
    return text


# --- status ---


@dataclass(frozen=True)
class Standing:
    """How things stand, for one who may know."""

    workers: Sequence[Advert]
    line: Line
    paused: tuple[str, ...]
    """Scopes, as far as they concern whoever asks."""
    costs: Sequence[Row]
    aside: Sequence[SetAside]
    guild: str | None
    owner: bool
    """Whether all servers are shown, not only their own."""


def status_page(standing: Standing) -> str:
    """The whole page."""
    parts = [*_machines(standing), *_line(standing), *_costs(standing.costs), *_aside(standing)]
    return fitting(parts)


def _machines(standing: Standing) -> list[str]:
    if not standing.workers:
        return ["**Machines** · none is online"]
    heading = f"**Machines** · {len(standing.workers)} online"
    return [heading, *(_machine(advert, standing) for advert in standing.workers)]


def _machine(advert: Advert, standing: Standing) -> str:
    name = f"`{advert.worker}` on {advert.host}" if standing.owner else "a machine"
    device = advert.device_name or advert.device
    memory = f", {advert.vram_bytes / 2**30:.0f} GiB" if advert.vram_bytes else ""
    runs = sorted(job.kind for job in standing.line.running if job.worker == advert.worker)
    does = "leaving" if advert.leaving else f"renders {', '.join(runs)}" if runs else "idle"
    systems = [f"{name} ({', '.join(weights)})" if weights else name for name, weights in advert.systems.items()]
    held = f" · holds {', '.join(advert.warm)}" if advert.warm else ""
    return f"- {name} ({device}{memory}): {does}{held} · can run {', '.join(systems) or 'nothing'}"


def _line(standing: Standing) -> list[str]:
    line, guild = standing.line, standing.guild
    cost = f" (about {lasting(sum(job.cost_ms for job in line.waiting))} of GPU)" if line.waiting else ""
    lines = [f"**Line** · {len(line.waiting):,} waiting{cost}, {len(line.running):,} running"]
    if guild:
        waiting = sum(job.guild == guild for job in line.waiting)
        running = sum(job.guild == guild for job in line.running)
        lines.append(f"- of this server: {waiting:,} waiting, {running:,} running")
    return [*lines, *(f"- ⏸️ paused {_scope(scope, guild)}" for scope in sorted(standing.paused))]


def _scope(scope: str, guild: str | None) -> str:
    """In words; another server than this one by its id."""
    foreign = scope.startswith("guild:") and scope != guild_scope(guild or "")
    return f"on the server {scope.removeprefix('guild:')}" if foreign else where(scope)


def _costs(rows: Sequence[Row]) -> list[str]:
    return ["**What jobs cost**", *(_cost(row) for row in rows)] if rows else []


def _cost(row: Row) -> str:
    device = f" on {row.device_name}" if row.device_name else ""
    loads = f", loads in {lasting(row.loading_ms)}" if row.loading_ms else ""
    if not row.samples:
        return f"- {row.system}: about {lasting(row.estimate_ms)}, a guess: none was measured yet"
    measured = f"± {row.error:.0%} over {counted(row.samples, 'render')}"
    return f"- {row.system}{device}: {lasting(row.estimate_ms)} {measured}{loads}"


def _aside(standing: Standing) -> list[str]:
    if not standing.owner:
        return []
    if not standing.aside:
        return ["**Set aside** · no job"]
    heading = f"**Set aside** · {counted(len(standing.aside), 'job')} took the renderer down; logs attached"
    return [heading, *(f"- `{job.job_id}` {job.system}, {clock(job.at_ms)}, {job.incident}" for job in standing.aside)]


# --- settings ---


@dataclass(frozen=True)
class Shown:
    """What `settings show` tells of one place."""

    place: str
    layers: Layers
    rules: Rules
    """All layers together."""
    table: TermsSettings
    roles: tuple[str, ...]
    """Ids of the server's roles."""
    paused: tuple[str, ...]
    """Scopes of this place that are paused."""


def settings_page(shown: Shown) -> str:
    """What holds here, where each of it comes from, and what everyone and each role may have."""
    lines = [f"**Settings {shown.place}**"]
    for name, default in DEFAULTS.items():
        value = getattr(shown.rules, name)
        text = f"**{in_words(name, value)}**" if value else default
        lines.append(f"- {LABELS[name]}: {text}{_source(name, shown.layers)}")
    lines += [f"- 🚰 no new requests {where(scope)}" for scope, rules in shown.layers if rules.drained]
    lines += [f"- ⏸️ paused {where(scope)}" for scope in shown.paused]
    return fitting([*lines, "**What one person may have**", *_shares(shown)])


def _source(name: str, layers: Layers) -> str:
    """Where the value was set."""
    scopes = [scope for scope, rules in layers if getattr(rules, name)]
    return f" · set {where(scopes[-1])}" if scopes else ""


def _shares(shown: Shown) -> list[str]:
    everyone = shown.table.everyone.model_copy(update=_given(shown.rules.shares.get(EVERYONE)))
    lines = [f"- everyone: {share_in_words(everyone)}"]
    for role in dict.fromkeys((*shown.rules.shares, *shown.table.roles)):
        share = Share(**{**_given(shown.table.roles.get(role)), **_given(shown.rules.shares.get(role))})
        if role in shown.roles and _given(share):
            lines.append(f"- <@&{role}>: {share_in_words(share)}")
    return lines


def _given(share: Share | None) -> dict[str, Any]:
    return share.model_dump(exclude_none=True) if share else {}


def share_in_words(share: Share) -> str:
    """`weight 2 · open jobs 10 · running at once no limit`."""
    return " · ".join(f"{SHARE_LABELS[name]} {_limit(name, value)}" for name, value in _given(share).items())


def _limit(name: str, value: float) -> str:
    return "no limit" if value == 0 and name != "weight" else f"{value:g}"


def in_words(name: str, value: Any) -> str:
    """One setting's value; None where it is not set. Nobody sets that requests are taken: they are if nobody drains."""
    if value is None:
        return "taken" if name == "drained" else "not set"
    match name:
        case "systems" | "nsfw_systems":
            return ", ".join(value)
        case "seconds":
            return f"{value:g} seconds"
        case "megapixels":
            return f"{value:g} megapixels"
        case "results":
            return f"in <#{value}>"
        case "drained":
            return "refused" if value else "taken"
        case "paused":
            return "paused" if value else "going on"
        case _:
            return str(value)


def change_in_words(changed: Changed) -> str:
    """`format: not set → gif`."""
    kind, _, rest = changed.name.partition(":")
    if kind == SHARE:
        who, _, name = rest.partition(":")
        label = f"{SHARE_LABELS.get(name, name)} of {'everyone' if who == EVERYONE else f'<@&{who}>'}"
    else:
        label = LABELS.get(kind, kind)
    old, new = (_stored_in_words(changed.name, text) for text in (changed.old, changed.new))
    return f"{label}: {old} → {new}"


def _stored_in_words(stored: str, text: str) -> str:
    """A stored value; as it is, where it cannot be what it should."""
    if not text:
        return in_words(stored, None)
    try:
        value, share = json.loads(text), stored.startswith(f"{SHARE}:")
        return _limit(stored.rpartition(":")[2], value) if share else in_words(stored, value)
    except (ValueError, TypeError):
        return text[:50]


def audit_page(changes: Sequence[Change]) -> str:
    """Who changed what, newest first."""
    undone = {change.undoes for change in changes if change.undoes}
    if not changes:
        return "Nothing was changed yet."
    return fitting(["**Changes, the newest first**", *(_audit_line(change, undone) for change in changes)])


def _audit_line(change: Change, undone: set[str]) -> str:
    what = "; ".join(change_in_words(each) for each in change.changes[:MOST_IN_A_LINE])
    if len(change.changes) > MOST_IN_A_LINE:
        what += f"; and {len(change.changes) - MOST_IN_A_LINE} more"
    mark = " *(undone)*" if change.id in undone else " *(undo)*" if change.undoes else ""
    return f"- {clock(float(change.at_ms))} **{change.name}** (<@{change.by}>) {where(change.scope)}: {what}{mark}"
