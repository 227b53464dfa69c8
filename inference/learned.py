"""A learned motion as it comes from the renderer: a whole safetensors file of bounded size, looked at without torch."""

import json
from typing import Any

from jobs.errors import Failure

MOST_BYTES = 128 * 2**20
"""About twice what the largest rank takes up in float16."""
MOST_HEADER = 4 * 2**20


class MotionBroken(Failure):
    """What was learned is no file that anybody could use."""

    code = "motion_broken"


def whole(data: bytes) -> bytes:
    """The same bytes, known to be one whole file: tensors that fill it from the header's end to its own.

    Raises:
        MotionBroken: they are none, or too many.
    """
    try:
        if len(data) > MOST_BYTES:
            raise ValueError(f"{len(data)} bytes")
        _check(data)
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise MotionBroken() from error
    return data


def _check(data: bytes) -> None:
    length = int.from_bytes(data[:8], "little")
    if not 2 <= length <= min(MOST_HEADER, len(data) - 8):
        raise ValueError(f"a header of {length} bytes")
    header: dict[str, Any] = json.loads(data[8 : 8 + length])
    end = 0
    for begins, ends in sorted(tuple(entry["data_offsets"]) for name, entry in header.items() if name[:2] != "__"):
        if begins != end or ends < begins:
            raise ValueError(f"a tensor from {begins} to {ends}")
        end = ends
    if not end or end != len(data) - 8 - length:
        raise ValueError(f"{end} bytes of tensors")
