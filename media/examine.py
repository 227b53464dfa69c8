"""A posted file under the glass: its mark, its credential, its essence, its looks.

All of it comes from outside and goes through native code, so it is done in a process of its own, with a limit on time
and memory and no secret in its environment; what that found until it ended, however it ended, is what counts.
"""

import json
import os
import re
import resource
import subprocess
import sys
from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Any, cast

from av.error import FFmpegError
from av.video.reformatter import VideoReformatter
from cryptography.hazmat.primitives.serialization import Encoding
from pydantic import Field, ValidationError

from jobs.recipe import Value
from media.c2pa_library import CredentialError, failures, read, successes
from media.claims import credential_boxes, signed_by
from media.essence import essence
from media.fingerprint import grid, of_grids
from media.identity import Trusted
from media.marks import KEY, job_of, read_mark
from media.opening import opened
from media.provenance import RECIPE, around

MAX_BYTES = 128 * 2**20
"""Larger files are not looked into."""
MAX_CREDENTIAL_BYTES = 4 * 2**20
"""Ours have some thousand; those with pictures in them may have a million."""
MAX_FRAMES = 5_000
MAX_FRAME_PIXELS = 4096 * 2304
SECONDS = 20
MEMORY_BYTES = 2 * 2**30
MAX_SAID_BYTES = 2 * 2**20
"""What the examining process may answer, all together."""
EXPIRED = frozenset({"signingCredential.expired", "claimSignature.outsideValidity"})
"""Codes that say: it was signed rightly, and the certificate has run out since. (Nobody attests when it was signed.)"""
BESIDE_THE_POINT = EXPIRED | {"signingCredential.untrusted"}
"""Codes about the certificate alone. Whether it is ours we know better."""
PASSED_ON = ("PATH", "LANG", "LD_LIBRARY_PATH", "PYTHONPATH", "SYSTEMROOT", "TMPDIR")


class Standing(StrEnum):
    """How far a file's credential holds."""

    VALID = "valid"
    """Ours, and nothing has been changed since."""
    ALTERED = "altered"
    """Ours, or made to look like ours, and it does not fit what it is in."""
    OTHERS = "others"
    """Somebody else's. Whether theirs holds is not for us to say."""
    UNREAD = "unread"
    """There is one, and nothing can be made of it."""
    NONE = "none"


class Credential(Value):
    """What a file's credential says."""

    standing: Standing = Standing.NONE
    job_id: str | None = None
    """A fact where it is valid; where it is altered, what it claims."""
    signer: str = ""
    """As the certificate names its holder: printable, at most 80 characters, and proves nothing unless it is ours."""
    expired: bool = False
    """The certificate has run out since."""


class Examined(Value):
    """What a file gives away by itself."""

    credential: Credential = Credential()
    mark: dict[str, Any] | None = None
    """From the credential where that is valid, else from the metadata; then a mere claim."""
    essence: str | None = None
    looks: str | None = Field(default=None, pattern=r"^[0-9a-f]{80}$")


def examine(data: bytes, trusted: Trusted, seconds: float = SECONDS) -> Examined:
    """Everything about a file, found in a process of its own. Takes half a second and more: call it in a thread."""
    if len(data) > MAX_BYTES:
        return Examined()
    environment = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    head = json.dumps({"anchors": trusted.anchors, "own": trusted.own}).encode()
    said = b""
    try:
        said = subprocess.run(
            [sys.executable, "-m", "media.examine"],
            input=head + b"\n" + data,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**environment, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
            timeout=seconds,
            check=False,
        ).stdout
    except subprocess.TimeoutExpired as late:
        said = late.stdout or b""
    return _put_together(said[:MAX_SAID_BYTES], data)


def _put_together(said: bytes, data: bytes) -> Examined:
    """The findings in the order they came, each on a line of its own; the last may be cut off."""
    findings: dict[str, Any] = {}
    if credential_boxes(data):
        findings["credential"] = Credential(standing=Standing.UNREAD)
    for line in said.splitlines():
        try:
            findings |= json.loads(line)
            Examined.model_validate(findings)
        except (ValueError, TypeError, RecursionError, ValidationError):
            break
    return Examined.model_validate(findings)


def verify(data: bytes, trusted: Trusted) -> tuple[Credential, dict[str, Any] | None]:
    """How far an MP4's credential holds, and the mark in it. In this very process: for files of our own making."""
    found_boxes = credential_boxes(data)
    if not found_boxes:
        return Credential(), None
    if sum(box.end - box.begin for box in found_boxes) > MAX_CREDENTIAL_BYTES:
        return Credential(standing=Standing.UNREAD), None
    credential, own = b"".join(data[box.begin : box.end] for box in found_boxes), trusted.certificates
    resembles = any(one.public_bytes(Encoding.DER) in credential for one in own)
    try:
        found = read(data, trusted.anchors)
        ours = signed_by(data, str(found["active_manifest"]), own)
        return judge(found, around(data), ours=ours, resembles=resembles)
    except (CredentialError, AttributeError, KeyError, TypeError):  # the shape of its report is what the file makes it
        return Credential(standing=Standing.ALTERED if resembles else Standing.UNREAD), None


def judge(
    found: Mapping[str, Any], around_now: str, *, ours: bool, resembles: bool
) -> tuple[Credential, dict[str, Any] | None]:
    """What c2pa's report amounts to, where we signed the claim (`ours`), or it carries a certificate of ours."""
    active = found["manifests"][found["active_manifest"]]
    info: Mapping[str, Any] = active.get("signature_info") or {}
    signer = _printable(info.get("common_name") or info.get("issuer"))
    failed, held, recipe = failures(found), successes(found), _recipe_assertion(active)
    if not ours and (not resembles or "claimSignature.validated" in held):  # theirs, though ours may lie within it
        return Credential(standing=Standing.OTHERS, signer=signer), None
    whole = {"claimSignature.validated", "assertion.bmffHash.match"} <= held and not failed - BESIDE_THE_POINT
    valid = ours and whole and recipe is not None and recipe.get("around") == around_now
    mark = _mark(recipe) if recipe else None
    standing = Standing.VALID if valid else Standing.ALTERED
    return Credential(standing=standing, job_id=job_of(mark), signer=signer, expired=bool(failed & EXPIRED)), mark


def _mark(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Our assertion in the form in which marks are read everywhere."""
    beside = {name: recipe[name] for name in ("job", "checkpoints") if name in recipe}
    return {KEY: recipe["recipe"], **beside}


def _recipe_assertion(active: Mapping[str, Any]) -> dict[str, Any] | None:
    """Our own assertion, where it has the shape that we give it."""
    assertions: list[Any] = active.get("assertions") or []
    for assertion in assertions:
        data: Any = assertion.get("data")
        if assertion.get("label") == RECIPE and isinstance(data, dict) and isinstance(data["recipe"], dict):
            return cast(dict[str, Any], data)
    return None


def _printable(name: object) -> str:
    return re.sub(r"[^\w .,&()+'-]", "", str(name or ""))[:80].strip()


def looks_of(data: bytes) -> str | None:
    """The fingerprint of a clip as it is decoded here; None where it cannot be, or has too many frames or pixels."""
    grids, converter = list[Any](), VideoReformatter()
    try:
        container = opened(data)
        if container is None:
            return None
        with container:
            if not container.streams.video:
                return None
            for frame in container.decode(container.streams.video[0]):
                if len(grids) >= MAX_FRAMES or frame.width * frame.height > MAX_FRAME_PIXELS:
                    return None
                grids.append(grid(frame, converter))
    except (FFmpegError, ValueError):
        pass  # a broken tail: what came before it is enough
    return of_grids(grids)


def findings(data: bytes, trusted: Trusted) -> Iterator[dict[str, Any]]:
    """What there is to find, the cheapest and safest first; each takes the place of what came before it."""
    yield {"mark": read_mark(data)}
    credential, mark = verify(data, trusted)
    yield {"credential": credential.model_dump(mode="json"), **({"mark": mark} if mark else {})}
    yield {"essence": essence(data)}
    yield {"looks": looks_of(data)}


def _main() -> None:
    """The examining process: settings on one line of stdin, then the file; findings on stdout, one a line."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    head = json.loads(sys.stdin.buffer.readline())
    for finding in findings(sys.stdin.buffer.read(MAX_BYTES), Trusted(head["anchors"], head["own"])):
        sys.stdout.write(json.dumps(finding) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _main()
