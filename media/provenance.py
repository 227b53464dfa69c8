"""Content credentials (C2PA) in our MP4s: signed as the last step after fitting, and what a credential says is read in
`media/examine.py`, in a process of its own.

A credential says: this file came from the holder of this key, made in these steps, and has not been changed since. What
it cannot say stands in docs/provenance.md.
"""

import hashlib
import json
import logging
import struct
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
from av.error import FFmpegError

from jobs.recipe import Recipe, Source
from jobs.requests.base import Finishing
from jobs.settings import BadSettings
from media.c2pa_library import MEDIA_TYPE, CredentialError, sign
from media.containers import boxes
from media.identity import Identity, Trusted, read_identity, read_trusted
from media.provenance_settings import ProvenanceSettings

log = logging.getLogger(__name__)

GENERATOR = "Zoetrope"
VERSION = "0.1.0"
RECIPE = "org.zoetrope.recipe"
"""Label of our own assertion: job, recipe, checkpoints, and a hash of what C2PA itself leaves out."""
_SOURCE_TYPES = "http://cv.iptc.org/newscodes/digitalsourcetype/"
TRAINED, ALGORITHMIC = f"{_SOURCE_TYPES}trainedAlgorithmicMedia", f"{_SOURCE_TYPES}algorithmicMedia"
"""Made by a trained network; by rules alone (a camera move without a depth model)."""
PARTLY_TRAINED = f"{_SOURCE_TYPES}compositeWithTrainedAlgorithmicMedia"
LEFT_OUT = frozenset({b"ftyp", b"free", b"skip", b"mfra"})
"""Boxes that C2PA's own hash of an MP4 passes over. Ours covers them, so that nothing but the credential is left."""
HASH_BYTES = 64


@dataclass(frozen=True)
class Made:
    """What a credential is to say about one finished clip."""

    job_id: str
    title: str
    """The file's name."""
    recipe: Recipe
    checkpoints: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """The published networks that were used, by name, as the mark says them: repository, revision, hashes."""


def manifest_of(made: Made, around: str = "0" * HASH_BYTES) -> dict[str, Any]:
    """The manifest that is signed, in c2pa's own form. `around` is the SHA-256 of what C2PA's hash leaves out.

    A chain that begins with a generation was `created`, with its sources put in; one that only finishes a clip `opened`
    that clip, which is its parent. Every further step is an edit.
    """
    ingredients = _ingredients(made.recipe)
    recipe = {
        "job": made.job_id,
        "recipe": made.recipe.model_dump(mode="json"),
        "checkpoints": dict(made.checkpoints),
        "around": around,
    }
    assertions = [("c2pa.actions.v2", {"actions": list(_actions(made, ingredients))}), (RECIPE, recipe)]
    return {
        "claim_generator_info": [{"name": GENERATOR, "version": VERSION}],
        "title": made.title,
        "format": MEDIA_TYPE,
        "instance_id": f"urn:zoetrope:{made.job_id}",
        "label": f"urn:c2pa:{uuid.UUID(bytes=hashlib.sha256(made.job_id.encode()).digest()[:16], version=4)}",
        "ingredients": ingredients,
        "assertions": [{"label": label, "data": data, "created": True} for label, data in assertions],
    }


def _ingredients(recipe: Recipe) -> list[dict[str, Any]]:
    """The sources by their hashes. Their bytes are not looked into: they came from outside, and may be large."""
    first = recipe.steps[0]
    opened = first.clip if isinstance(first, Finishing) else None
    return [
        _ingredient(name, source, "parentOf" if name == opened else "inputTo")
        for name, source in recipe.sources.items()
    ]


def _ingredient(name: str, source: Source, relationship: str) -> dict[str, Any]:
    kind = {"format": "image/png"} if source.kind == "image" else {}  # of others the store does not say
    return {
        "title": name,
        **kind,
        "relationship": relationship,
        "instance_id": f"urn:sha256:{source.digest}",
        "label": name,
    }


def _actions(made: Made, ingredients: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    inputs = [one["label"] for one in ingredients if one["relationship"] == "inputTo"]
    parents = [one["label"] for one in ingredients if one["relationship"] == "parentOf"]
    if parents:
        yield {"action": "c2pa.opened", "parameters": {"ingredientIds": parents}}
    for number, step in enumerate(made.recipe.steps):
        created = not parents and number == 0
        yield {
            "action": "c2pa.created" if created else "c2pa.edited",
            "softwareAgent": {"name": f"{GENERATOR} {step.name()}", "version": VERSION},
            **({"parameters": {"ingredientIds": inputs}} if inputs and number == 0 else {}),
            **_source_type(made, created=created, opened=bool(parents)),
        }


def _source_type(made: Made, *, created: bool, opened: bool) -> dict[str, str]:
    """What kind of pictures came out: asked of what was created, and said of edits where a network took part."""
    if created:
        return {"digitalSourceType": TRAINED if made.checkpoints else ALGORITHMIC}
    return {"digitalSourceType": PARTLY_TRAINED} if opened and made.checkpoints else {}


class Sealer:
    """Puts a credential into finished MP4s."""

    def __init__(self, identity: Identity, trusted: Trusted) -> None:
        self.identity = identity
        self.trusted = trusted

    @classmethod
    def from_settings(cls, settings: ProvenanceSettings) -> "Sealer | None":
        """What the settings say; None where no certificate is configured. Signs once for trial.

        Raises:
            BadSettings: with this certificate nothing can be signed that others will accept as ours.
        """
        identity = read_identity(settings)
        if identity is None:
            return None
        sealer = cls(identity, read_trusted(settings))
        try:
            sealer._signed(_STUB, _TRIAL)
        except CredentialError as error:
            raise BadSettings(
                f"With the certificate in {settings.certificate} no content credential can be signed: {error}. The file"
                " must hold the certificate, then every authority's up to the root."
            ) from None
        return sealer

    def growth(self, made: Made) -> int:
        """By how many bytes a file will grow; take them off its budget before fitting. 4,000 are usual.

        Measured on an empty MP4: the credential is as long whatever it stands in.
        """
        return len(self._signed(_STUB, manifest_of(made))) - len(_STUB)

    def seal(self, path: Path, made: Made) -> bool:
        """Sign the MP4 at `path`, in its place, whole or not at all. Takes some ms for each MB; call it in a thread.

        False where that failed (the log says why): the file is as it was, and a clip without a credential is better
        than none. What a player is given is compared packet by packet before the signed file takes its place.
        """
        data = path.read_bytes()
        part = path.with_name(f"{path.name}.signed")
        try:
            part.write_bytes(self._signed(data, manifest_of(made, around(data))))
            if _packets(part) != _packets(path):
                log.error("%s: signing would have changed what is played; left unsigned", made.job_id)
                return False
            part.replace(path)
        except (CredentialError, FFmpegError) as error:
            log.error("%s: not signed: %s", made.job_id, error)
            return False
        finally:
            part.unlink(missing_ok=True)
        return True

    def _signed(self, data: bytes, manifest: Mapping[str, Any]) -> bytes:
        who = self.identity
        return sign(data, manifest, who.algorithm, who.signing_chain, who.key, self.trusted.anchors)


def around(data: bytes) -> str:
    """SHA-256, in hex, of the boxes that C2PA's hash of an MP4 leaves out, in their order."""
    digest = hashlib.sha256()
    for box in boxes(data):
        if box.name in LEFT_OUT:
            digest.update(data[box.begin : box.end])
    return digest.hexdigest()


def _packets(path: Path) -> str:
    """A hash of everything a player is given: each packet of each stream with its times."""
    digest = hashlib.sha256()
    with av.open(str(path), "r") as container:
        for packet in container.demux():
            times = json.dumps([packet.stream.index, packet.pts, packet.dts, packet.duration, packet.is_keyframe])
            digest.update(times.encode())
            digest.update(bytes(packet))
    return digest.hexdigest()


def _box(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", len(content) + 8, name) + content


_STUB = _box(b"ftyp", b"isom\0\0\2\0isomiso2avc1mp41") + _box(b"moov", b"") + _box(b"mdat", b"")
_TRIAL: Mapping[str, Any] = {
    "claim_generator_info": [{"name": GENERATOR, "version": VERSION}],
    "assertions": [
        {
            "label": "c2pa.actions.v2",
            "data": {"actions": [{"action": "c2pa.created", "digitalSourceType": ALGORITHMIC}]},
            "created": True,
        }
    ],
}
