"""The job record: the truth about one job, as values. `jobs.queue` keeps it in Redis and alone changes it.

    waiting ──claim──▶ running ──finish──▶ rendered ─┐
       │                 │   ├──finish───▶ failed   ─┼──close──▶ closed
       │                 │   └──release──▶ waiting   │
       └─────cancel──────┴───────────────▶ cancelled ┘

`rendered`, `failed` and `cancelled` are ends that the channel has not heard of yet; `closed` is told, once.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from jobs.errors import Fact, Note
from jobs.line import DIRECT
from jobs.recipe import Digest, Recipe, Value
from jobs.terms import Terms

JobId = Annotated[str, Field(pattern=r"^[0-9A-Za-z_.-]{1,24}$")]
"""The id of the interaction that asked (a snowflake), or of the message and the picture in it. At most 24 characters:
it is the nonce of the final message, and with a letter before it that of the status message."""


REQUEST_BYTES = 25 * 2**20
"""Discord's Create Message documents this maximum for a whole request, whatever the channel allows for one file."""


class State(StrEnum):
    """Where a job is."""

    WAITING = "waiting"
    RUNNING = "running"
    RENDERED = "rendered"
    FAILED = "failed"
    CANCELLED = "cancelled"
    CLOSED = "closed"

    @property
    def ended(self) -> bool:
        """Whether nothing more will be rendered."""
        return self not in (State.WAITING, State.RUNNING)


class Person(Value):
    """Who asked."""

    id: str
    name: str
    locale: str = "en-US"


class Channel(Value):
    """Where the result goes, and what fits there."""

    id: str
    guild_id: str | None = None
    parent_id: str | None = None
    """Where it is a thread: the channel in which it hangs, whose settings hold in it too."""
    upload_bytes: int = Field(gt=0, description="the largest file this channel takes from the bot")


class Submission(Value):
    """What was accepted. It never changes."""

    version: Literal[1] = 1
    id: JobId
    recipe: Recipe
    requester: Person
    channel: Channel
    reply_to: str | None = None
    """A message the status message answers (a mention), so that people see what was asked."""
    said: tuple[Note, ...] = ()
    """What the person was told on acceptance and should still see with the result: "only the first frame"."""
    accepted_ms: int
    """Milliseconds since the epoch."""
    estimate_ms: int = Field(default=10_000, ge=1, description="GPU milliseconds this will take, as far as is known")
    terms: Terms = Terms()
    """The requester's share and limits when it was accepted."""
    results: Channel | None = None
    """Another channel of the server, in which the finished clip is posted; None: where it was asked for."""
    spoiler: bool = False
    """Whether pictures of it stand hidden until somebody uncovers them."""

    @property
    def guild(self) -> str:
        """Which of the servers' flows it belongs to."""
        return self.channel.guild_id or DIRECT

    @property
    def kind(self) -> str:
        """What a worker must have to render it."""
        return self.recipe.lead.kind


class ResultFile(Value):
    """One finished file in the media store."""

    digest: Digest
    name: str
    media_type: Literal["video/mp4", "image/gif", "image/webp", "video/webm", "image/png"]
    size_bytes: int
    width: int
    height: int
    num_frames: int
    fps: float
    ssim: float | None = None
    """How like the frames it is, 1 the same; None where nobody looked."""


class Rendered(Value):
    """The clip is in the store."""

    kind: Literal["rendered"] = "rendered"
    files: tuple[ResultFile, ...]
    seconds: float
    """From claim to finished files, as the worker measured it."""
    gpu_ms: int = 0
    """What the device worked on it, without loading models: what its requester is charged."""
    step_ms: tuple[int, ...] = ()
    """The same for each step of the recipe."""
    loading_ms: int = 0
    """What loading models took; nobody is charged for it."""
    facts: Mapping[str, Fact] = Field(default_factory=dict[str, Fact])
    checkpoints: tuple[str, ...] = ()
    """Published weights that were used: name, repository, revision and a hash."""
    said: tuple[Note, ...] = ()
    motion: Digest | None = None
    """A motion that was learned, as a file in the store."""
    motion_bytes: int = 0


class Failed(Value):
    """A reason that a person can read; `incident` where the log says more."""

    kind: Literal["failed"] = "failed"
    reason: Note
    incident: str | None = None


class Cancelled(Value):
    """Somebody pressed Cancel."""

    kind: Literal["cancelled"] = "cancelled"
    by: str


Outcome = Annotated[Rendered | Failed | Cancelled, Field(discriminator="kind")]


class Progress(Value):
    """How far a running job is."""

    job_id: JobId
    stage: str
    step: int = 0
    total: int = 0


class Lease(Value):
    """A worker's right to a job. `fence` grows with every claim, so that a late attempt's writes are turned away."""

    job_id: JobId
    worker: str
    fence: int


class Job(Value):
    """A submission and where it stands."""

    submission: Submission
    state: State
    fence: int = 0
    attempts: int = 0
    worker: str | None = None
    lease_until_ms: int = 0
    cancel_by: str | None = None
    progress: Progress | None = None
    outcome: Outcome | None = None
    status_message: str | None = None
    final_message: str | None = None
    started_ms: int | None = None
    ended_ms: int | None = None

    @property
    def id(self) -> str:
        """The submission's id."""
        return self.submission.id


class Taken(Lease):
    """The lease on the job whose turn it was, with the record as it stood then."""

    job: Job
