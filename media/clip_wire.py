"""How the decoding child and its parent speak: length-prefixed JSON, and raw bytes behind it."""

import json
import struct
from typing import Any, cast

PREFIX = struct.Struct(">IQ")
"""Bytes of JSON, bytes of payload."""
MOST_WORDS = 64 * 1024


def packed(message: dict[str, Any], payload_bytes: int = 0) -> bytes:
    """One message's head; the payload follows it."""
    words = json.dumps(message).encode()
    return PREFIX.pack(len(words), payload_bytes) + words


def sizes(prefix: bytes, most_payload: int) -> tuple[int, int]:
    """Bytes of JSON and of payload that follow.

    Raises:
        ValueError: more than was agreed on.
    """
    words, payload = cast(tuple[int, int], PREFIX.unpack(prefix))
    if words > MOST_WORDS or payload > most_payload:
        raise ValueError(f"{words} bytes of JSON and {payload} of payload are too many")
    return words, payload


def unpacked(words: bytes) -> dict[str, Any]:
    """The JSON of one message.

    Raises:
        ValueError: it is none.
    """
    message = json.loads(words)
    if not isinstance(message, dict):
        raise ValueError("no object")
    return cast(dict[str, Any], message)
