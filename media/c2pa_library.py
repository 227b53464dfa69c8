"""The only door to c2pa, a library of native code: imported where it is first used, set up the same everywhere."""

import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

MEDIA_TYPE = "video/mp4"


class CredentialError(Exception):
    """What c2pa said, in one line. It never quotes a key."""

    def __init__(self, said: object) -> None:
        words = str(said).strip().splitlines() or [type(said).__name__]
        super().__init__(words[0][:200].rstrip("."))


def sign(data: bytes, manifest: Mapping[str, Any], algorithm: str, chain: bytes, key: bytes, anchors: str) -> bytes:
    """The MP4 with a signed credential in it. `chain` and `key` are PEM; the library verifies what it signed.

    Raises:
        CredentialError: it does not sign this with that, or would not recognise it by `anchors` itself.
    """
    c2pa, out = _library(), io.BytesIO()
    try:
        info = c2pa.C2paSignerInfo(algorithm.encode(), chain, key, None)
        with (
            c2pa.Context.from_dict(_settings(anchors)) as context,
            c2pa.Signer.from_info(info) as signer,
            c2pa.Builder(dict(manifest), context) as builder,
        ):
            builder.sign(signer, MEDIA_TYPE, io.BytesIO(data), out)
    except c2pa.C2paError as error:
        raise CredentialError(error) from None
    signed = out.getvalue()
    found = read(signed, anchors)
    if found.get("validation_state") != "Trusted":
        raise CredentialError(f"its own authorities do not answer for it ({', '.join(sorted(failures(found)))})")
    return signed


def read(data: bytes, anchors: str) -> dict[str, Any]:
    """What an MP4's credential says, and how far it holds, as c2pa reports it. Native code: see `media/examine.py`.

    Raises:
        CredentialError: there is none, or nothing can be made of it.
    """
    c2pa = _library()
    try:
        with (
            c2pa.Context.from_dict(_settings(anchors)) as context,
            c2pa.Reader(MEDIA_TYPE, io.BytesIO(data), context=context) as reader,
        ):
            return json.loads(reader.json())
    except (c2pa.C2paError, ValueError) as error:
        raise CredentialError(error) from None


def failures(found: Mapping[str, Any]) -> frozenset[str]:
    """Codes of what does not hold in the file's own manifest (C2PA 2.x, validation status codes)."""
    return _codes(found, "failure")


def successes(found: Mapping[str, Any]) -> frozenset[str]:
    """Codes of what holds in it."""
    return _codes(found, "success")


def _codes(found: Mapping[str, Any], which: str) -> frozenset[str]:
    results: Mapping[str, Any] = found.get("validation_results", {}).get("activeManifest", {})
    entries: Sequence[Mapping[str, Any]] = results.get(which, ())
    return frozenset(str(one.get("code")) for one in entries)


def _library() -> Any:
    import c2pa

    return c2pa


def _settings(anchors: str) -> dict[str, Any]:
    """Nothing is fetched from anywhere, and only our own authorities are trusted."""
    return {
        "verify": {
            "remote_manifest_fetch": False,
            "ocsp_fetch": False,
            "verify_trust": True,
            "verify_after_sign": True,
        },
        "trust": {"trust_anchors": anchors},
        "builder": {"thumbnail": {"enabled": False}},
    }
