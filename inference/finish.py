"""From spooled frames to files in the store, each small enough for its channel."""

import asyncio
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from jobs.errors import Note
from jobs.queue import REDIS_AWAY
from jobs.record import REQUEST_BYTES, Job, ResultFile
from jobs.retention import Retention
from media.frames import FrameSpool
from media.gif import encode_gif
from media.store import MediaStore, digest_of_file
from media.video import Encoded, encode_mp4

log = logging.getLogger(__name__)

AGAIN_SECONDS = 1.0


class Finisher:
    """Encodes beside the renderer, in threads, and stores what came out before anybody hears of it."""

    def __init__(self, store: MediaStore, retention: Retention, scratch: Path) -> None:
        self.store = store
        self.retention = retention
        self.scratch = scratch

    async def finish(self, job: Job, spool: FrameSpool) -> tuple[tuple[ResultFile, ...], tuple[Note, ...]]:
        """The job's files, stored, and what was done to make them fit.

        Raises:
            Failure: the clip cannot be made to fit.
        """
        kinds = {"mp4": ("mp4",), "gif": ("gif",), "both": ("mp4", "gif")}[job.submission.recipe.output.format]
        budget = job.submission.channel.upload_bytes
        if len(kinds) > 1:
            budget = min(budget, REQUEST_BYTES // len(kinds))
        files: list[ResultFile] = []
        said: list[Note] = []
        with TemporaryDirectory(dir=self.scratch, prefix="finish-") as folder:
            for kind in kinds:
                path = Path(folder) / f"{_stem(job)}.{kind}"
                encoded = await asyncio.to_thread(_encode, kind, spool, path, budget, _metadata(job))
                await self._hold(job, await asyncio.to_thread(digest_of_file, path))
                digest = await self.store.put_file(path)
                files.append(_result(path.name, digest, encoded))
                said += [note for note in encoded.notes if note not in said]
        return tuple(files), tuple(said)

    async def _hold(self, job: Job, digest: str) -> None:
        """Announce the file, however long Redis is away: what took half an hour to render is not given up for that."""
        while True:
            try:
                return await self.retention.hold(job.id, digest)
            except REDIS_AWAY as error:
                log.warning("not stored yet: %s", error)
                await asyncio.sleep(AGAIN_SECONDS)


def _stem(job: Job) -> str:
    [step] = job.submission.recipe.steps
    return f"{step.system}-{step.seed}"


def _metadata(job: Job) -> Mapping[str, str]:
    """The recipe travels with the file, so that a clip can be made again from the file alone."""
    recipe = job.submission.recipe.model_dump(mode="json")
    return {"comment": json.dumps({"zoetrope": recipe}, separators=(",", ":"))}


def _encode(kind: str, spool: FrameSpool, path: Path, budget: int, metadata: Mapping[str, str]) -> Encoded:
    encode = encode_gif if kind == "gif" else encode_mp4
    return encode(spool, path, budget, metadata=metadata)


def _result(name: str, digest: str, encoded: Encoded) -> ResultFile:
    return ResultFile(
        digest=digest,
        name=name,
        media_type="image/gif" if name.endswith(".gif") else "video/mp4",
        size_bytes=encoded.size_bytes,
        width=encoded.width,
        height=encoded.height,
        num_frames=encoded.num_frames,
        fps=float(encoded.fps),
    )
