"""From spooled frames to files in the store, each small enough for its channel."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from inference.renderer import RenderedClip, RenderStopped
from inference.settings import ModelSettings
from inference.used import checkpoints
from jobs import proofs
from jobs.errors import Failure, Note
from jobs.proofs import Traces
from jobs.queue import REDIS_AWAY
from jobs.recipe import Format
from jobs.record import REQUEST_BYTES, Job, ResultFile
from jobs.retention import Retention
from media.essence import essence
from media.fingerprint import of_footage
from media.fitting import Encoded
from media.formats import FORMATS, encode
from media.growing import GrowingSpool
from media.marks import mark_text
from media.provenance import Made, Sealer
from media.store import MediaStore, digest_of, digest_of_file

log = logging.getLogger(__name__)

AGAIN_SECONDS = 1.0
Finished = tuple[tuple[ResultFile, ...], tuple[Note, ...]]
"""A job's files, and what there is to say about them."""
FILES: dict[Format, tuple[str, ...]] = {"both": ("mp4", "gif")}
"""What a format is made of, where it is not one file of its own name."""


class EncodingTooLong(Failure):
    """Past the owner's limit for one render."""

    code = "encoding_too_long"


class Abandoned(Exception):
    """Nobody waits for this file any more."""


class Overseer:
    """Ends an encode from within, for a thread cannot be cancelled: at its next frame."""

    def __init__(self, spool: GrowingSpool, seconds: float) -> None:
        """`seconds` count from when there is nothing left to wait for."""
        self.spool = spool
        self.seconds = seconds
        self.abandoned = False
        self._begun = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        """A frame is written.

        Raises:
            EncodingTooLong: it takes longer than the owner allows.
            Abandoned: nobody waits for it.
        """
        if self.abandoned:
            raise Abandoned
        whole_since = self.spool.whole_since
        if whole_since is not None and time.monotonic() > max(self._begun, whole_since) + self.seconds:
            raise EncodingTooLong(minutes=max(1, round(self.seconds / 60)))


class Beside:
    """One attempt's files, in the making while its frames come."""

    def __init__(self, finisher: "Finisher", job: Job) -> None:
        self.finisher = finisher
        self.job = job
        self._tasks: list[asyncio.Task[Finished]] = []

    def begins(self, clip: RenderedClip) -> None:
        """A clip begins; one that began before was given up."""
        for task in self._tasks:
            task.cancel()
        self._tasks.append(asyncio.create_task(self.finisher.finish(self.job, clip)))

    async def files(self, stop: asyncio.Event) -> Finished:
        """What became of the clip that began last. See `Finisher.finish`.

        Raises:
            RenderStopped: `stop` was set before.
        """
        files, stopping = self._tasks[-1], asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({files, stopping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
        if not files.done():
            raise RenderStopped
        return files.result()

    async def end(self) -> None:
        """What was not awaited is nobody's any more; a thread that still encodes stops at its next frame."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


class Finisher:
    """Encodes beside the renderer, in threads, and stores what came out before anybody hears of it."""

    def __init__(
        self,
        store: MediaStore,
        retention: Retention,
        models: ModelSettings,
        sealer: Sealer | None = None,
        *,
        encode_seconds: float,
        keep_seconds: int,
    ) -> None:
        """`sealer` signs MP4s; for `keep_seconds` it is known by its files which job made them."""
        self.store = store
        self.retention = retention
        self.models = models
        self.sealer = sealer
        self.encode_seconds = encode_seconds
        self.keep_seconds = keep_seconds

    async def finish(self, job: Job, clip: RenderedClip) -> Finished:
        """The job's files, stored, and what was done to make them fit. Frames may still be on their way.

        Raises:
            GaveUp: the rest of them will not come.
            Failure: the clip cannot be made to fit, or not in time.
        """
        format_ = job.submission.recipe.output.format
        kinds = FILES.get(format_, (format_,))
        budget = job.submission.channel.upload_bytes
        if len(kinds) > 1:
            budget = min(budget, REQUEST_BYTES // len(kinds))
        files: list[ResultFile] = []
        said: list[Note] = []
        begun = time.monotonic()
        with TemporaryDirectory(dir=self.models.cache, prefix="finish-") as folder:
            for kind in kinds:
                path = Path(folder) / f"{_stem(job)}{FORMATS[kind].suffix}"
                encoded = await self._written(kind, job, clip, path, budget)
                digest = await self._stored(job, clip, path)
                files.append(_result(path, digest, FORMATS[kind].media_type, encoded))
                said += [note for note in encoded.notes if note not in said]
        ended = time.monotonic()
        alone = ended - max(begun, clip.spool.whole_since or ended)
        log.info("encoded in %.1f s, %.1f s of them beside the render", ended - begun, ended - begun - alone)
        return tuple(files), tuple(said)

    async def keep_learned(self, job: Job, clip: RenderedClip) -> str | None:
        """The digest of the motion that this clip taught, once it is stored; None where it taught none."""
        if clip.learned is None:
            return None
        digest = digest_of(clip.learned)
        await self._patiently(lambda: self.retention.hold(job.id, digest))
        return await self.store.put(clip.learned)

    async def _written(self, kind: str, job: Job, clip: RenderedClip, path: Path, budget: int) -> Encoded:
        """The file at `path`, with its mark, and signed where it can be."""
        used = checkpoints(clip.weights, self.models.dir)
        mark = mark_text(job.submission.recipe, job.id, used)
        if self.sealer is None or kind != "mp4":
            return await self._encoded(kind, clip, path, budget, mark)
        made = Made(job.id, path.name, job.submission.recipe, used)
        growth = await asyncio.to_thread(self.sealer.growth, made)
        encoded = await self._encoded(kind, clip, path, budget - growth, mark)
        await asyncio.to_thread(self.sealer.seal, path, made)
        return encoded

    async def _encoded(self, kind: str, clip: RenderedClip, path: Path, budget: int, mark: str) -> Encoded:
        overseer = Overseer(clip.spool, self.encode_seconds)
        try:
            return await asyncio.to_thread(
                encode, kind, clip.spool, path, budget, metadata={"comment": mark}, on_frame=overseer
            )
        except asyncio.CancelledError:
            overseer.abandoned = True
            raise

    async def _stored(self, job: Job, clip: RenderedClip, path: Path) -> str:
        traces = await asyncio.to_thread(_traces, path, clip)
        await self._patiently(lambda: self.retention.hold(job.id, traces.digest))
        await self.store.put_file(path)
        await self._patiently(lambda: proofs.remember(self.retention.redis, job.id, traces, self.keep_seconds))
        return traces.digest

    async def _patiently(self, call: Callable[[], Awaitable[object]]) -> None:
        """However long Redis is away: what took half an hour to render is not given up for that."""
        while True:
            try:
                await call()
            except REDIS_AWAY as error:
                log.warning("not stored yet: %s", error)
                await asyncio.sleep(AGAIN_SECONDS)
            else:
                return


def _traces(path: Path, clip: RenderedClip) -> Traces:
    return Traces(digest_of_file(path), essence(path.read_bytes()), of_footage(clip.spool))


def _stem(job: Job) -> str:
    recipe = job.submission.recipe
    name = recipe.lead.name() if len(recipe.steps) == 1 else f"{recipe.lead.name()}-{recipe.steps[-1].name()}"
    return name if recipe.seed is None else f"{name}-{recipe.seed}"


def _result(path: Path, digest: str, media_type: str, encoded: Encoded) -> ResultFile:
    return ResultFile(
        digest=digest,
        name=path.name,
        media_type=media_type,  # type: ignore[arg-type]
        size_bytes=path.stat().st_size,
        width=encoded.width,
        height=encoded.height,
        num_frames=encoded.num_frames,
        fps=float(encoded.fps),
        ssim=encoded.ssim,
    )
