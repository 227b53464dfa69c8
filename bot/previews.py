"""The small picture of a render under way, before it is posted: what came through the queue is not believed unseen."""

import asyncio
import hashlib
import io
import logging
from dataclasses import dataclass

from PIL import Image

from jobs.errors import Refusal
from jobs.previews import Previews
from jobs.record import Job
from media.limits import PictureLimits
from media.pictures import read_picture

log = logging.getLogger(__name__)

MOST_BYTES = 64 * 1024
MOST_SIDE = 512
LIMITS = PictureLimits(
    max_bytes=MOST_BYTES, max_pixels=MOST_SIDE * MOST_SIDE, max_side=MOST_SIDE, working_side=MOST_SIDE
)
QUALITY = 80


@dataclass(frozen=True)
class Preview:
    """A picture decoded and written anew, so that nothing but pixels goes on."""

    webp: bytes
    mark: str
    """Tells it from another."""
    described: str
    """For those who cannot see it."""


async def newest(previews: Previews, job: Job, *, but_not: str = "") -> Preview | None:
    """A job's preview; None where there is none, or no other than the one marked `but_not`."""
    data = await previews.get(job.id)
    if data is None or (mark := hashlib.sha256(data).hexdigest()) == but_not:
        return None
    try:
        webp = await asyncio.to_thread(_rewritten, data)
    except Refusal as refusal:
        log.warning("a preview that is no small picture was left out: %s %s", refusal.code, refusal.facts)
        return None
    system = job.submission.recipe.lead.name()
    return Preview(webp, mark, f"A small, rough picture of the {system} render so far")


def _rewritten(data: bytes) -> bytes:
    """The same picture as a plain WebP.

    Raises:
        Refusal: it is no picture, or too large.
    """
    out = io.BytesIO()
    Image.open(io.BytesIO(read_picture(data, LIMITS).png), formats=("PNG",)).save(out, "WEBP", quality=QUALITY)
    return out.getvalue()
