"""What is allowed where, and on which terms: values and sums. `jobs.rulebook` keeps in Redis what moderators set.

Settings stand in layers, the nearest wins: everywhere, the server, the channel, the thread. What a person may have is
the best of what is said of everyone and of each of their roles.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field

from jobs.recipe import Format, Value
from jobs.settings import Table
from jobs.terms import LEAST_WEIGHT, MOST_WEIGHT, Terms

EVERYWHERE = "all"
EVERYONE = "everyone"
"""Whose share counts for all, beside the ids of roles."""
Nsfw = Literal["anywhere", "spoiler", "age-restricted"]
Snowflake = Annotated[str, Field(pattern=r"^\d{1,20}$")]


def guild_scope(guild_id: str) -> str:
    """A server, as the queue's pauses and the rules name it."""
    return f"guild:{guild_id}"


def channel_scope(channel_id: str) -> str:
    """A channel or a thread."""
    return f"channel:{channel_id}"


def holding_scopes(guild_id: str, channel_id: str, parent_id: str | None = None) -> set[str]:
    """Where a pause would hold a job; `parent_id`: the channel of a thread, whose pause holds in it."""
    parent = {channel_scope(parent_id)} if parent_id else set[str]()
    return {EVERYWHERE, guild_scope(guild_id), channel_scope(channel_id)} | parent


@dataclass(frozen=True)
class Place:
    """Where somebody asks."""

    channel: str
    guild: str | None = None
    """None: a direct message."""
    parent: str | None = None
    """The channel of a thread: what is set there holds in it."""

    @property
    def scopes(self) -> tuple[str, ...]:
        """Where settings may stand that hold here, the widest first."""
        guild = (guild_scope(self.guild),) if self.guild else ()
        parent = (channel_scope(self.parent),) if self.parent else ()
        return (EVERYWHERE, *guild, *parent, channel_scope(self.channel))


class Share(Value):
    """What a role, or everyone, is given; None: nothing is said of it. 0 as a limit means no limit."""

    weight: float | None = Field(
        default=None,
        ge=LEAST_WEIGHT,
        le=MOST_WEIGHT,
        description="share of the server's GPU time; the usual one is 1",
    )
    waiting: int | None = Field(
        default=None, ge=0, le=1000, description="jobs one person may have waiting or running; 0: no limit"
    )
    running: int | None = Field(
        default=None, ge=0, le=100, description="jobs of one person that may run at once on one server; 0: no limit"
    )
    gpu_seconds_per_day: float | None = Field(
        default=None,
        ge=0,
        le=10**6,
        description="GPU seconds of one person from midnight to midnight, UTC; 0: no limit",
    )
    megapixel_seconds: float | None = Field(
        default=None, ge=0, le=10**4, description="width × height × seconds of one clip, in millions; 0: no limit"
    )


class TermsSettings(Table, header="terms"):
    """What everyone may have, and more for some roles. Moderators may set other values for their own server."""

    weight: float = Field(default=1.0, ge=LEAST_WEIGHT, le=MOST_WEIGHT, description="share of a server's GPU time")
    waiting: int = Field(default=10, ge=0, le=1000, description="jobs one person may have waiting or running")
    running: int = Field(default=0, ge=0, le=100, description="jobs of one person that may run at once on one server")
    gpu_seconds_per_day: float = Field(default=0.0, ge=0, le=10**6, description="from midnight to midnight, UTC")
    megapixel_seconds: float = Field(default=0.0, ge=0, le=10**4, description="seconds × megapixels of one clip")
    roles: dict[Snowflake, Share] = Field(
        default_factory=dict[str, Share], description="by role id; the best of all of a member's roles counts"
    )
    guild_weights: dict[Snowflake, Annotated[float, Field(ge=LEAST_WEIGHT, le=MOST_WEIGHT)]] = Field(
        default_factory=dict[str, float], description="by server id: its share of the GPUs, beside other servers"
    )

    @property
    def everyone(self) -> Share:
        """What all have."""
        return Share.model_validate({name: getattr(self, name) for name in Share.model_fields})


class ClipRules(Value):
    """What is one value each in the settings of a server or channel; None: not set there."""

    format: Format | None = Field(default=None, description="the file that comes back where nobody chooses one")
    seconds: float | None = Field(default=None, ge=0.5, le=600, description="the longest clip")
    megapixels: float | None = Field(default=None, ge=0.05, le=50, description="the largest frame, in megapixels")
    nsfw: Nsfw | None = Field(
        default=None, description="anywhere, hidden behind a spoiler, or only in age-restricted channels"
    )


class Rules(ClipRules):
    """Everything that may be set for a server or a channel."""

    systems: tuple[str, ...] | None = Field(default=None, description="systems that may be used")
    nsfw_systems: tuple[str, ...] | None = Field(default=None, description="systems that `nsfw` is about; all if empty")
    results: Snowflake | None = Field(default=None, description="the channel in which clips are posted")
    drained: bool | None = Field(default=None, description="new requests are refused; those accepted run to their end")
    shares: dict[str, Share] = Field(default_factory=dict[str, Share], description="by role id, and of everyone")

    def allows(self, system: str) -> bool:
        """Whether this system may be used."""
        return self.systems is None or system in self.systems

    def nsfw_of(self, system: str) -> Nsfw:
        """How this system's clips are treated."""
        concerned = not self.nsfw_systems or system in self.nsfw_systems
        return self.nsfw or "anywhere" if concerned else "anywhere"


Layers = Sequence[tuple[str, Rules]]
"""What is set, by scope, the widest first."""


def combined(layers: Layers) -> Rules:
    """What holds: of each setting the nearest value. Shares are a server's, so only one layer has any."""
    values: dict[str, Any] = {}
    for _, rules in layers:
        values.update({name: value for name in Rules.model_fields if (value := getattr(rules, name))})
    return Rules(**values)


def drained_in(layers: Layers) -> str | None:
    """The widest scope that takes no new requests."""
    return next((scope for scope, rules in layers if rules.drained), None)


# --- terms ---


def terms_of(table: TermsSettings, rules: Rules, guild: str | None, roles: Iterable[str]) -> Terms:
    """A member's terms: the best of what everyone has and of what each of their roles is given.

    What a server's moderators set for somebody goes before what config.toml says of the same role, value by value.
    In direct messages nobody has roles.
    """
    shares = [_over(rules.shares.get(EVERYONE), table.everyone)]
    shares += [_over(rules.shares.get(role), table.roles.get(role, Share())) for role in roles]
    best = {name: _best(name, [getattr(share, name) for share in shares]) for name in Share.model_fields}
    return Terms.model_validate({**best, "guild_weight": table.guild_weights.get(guild or "", 1.0)})


def _over(near: Share | None, far: Share) -> Share:
    return far if near is None else far.model_copy(update=near.model_dump(exclude_none=True))


def _best(name: str, values: Iterable[float | None]) -> float:
    """The greatest weight or limit; no limit at all is greater than any."""
    given = [value for value in values if value is not None]
    return 0 if name != "weight" and 0 in given else max(given)
