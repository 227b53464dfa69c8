"""What a checkpoint's files should hash to: the pinned SHA-256, or the one recorded when the file was fetched."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Literal, cast

from inference.weights import Layout, Weights

RECORD = "checksums.json"
State = Literal["good", "bad", "missing", "unknown"]
"""`unknown`: it is there, and neither a pin nor a record says what it should be."""


@dataclass(frozen=True)
class Checksums:
    """`checksums.json` beside a checkpoint's files: where they came from, and what they were."""

    revision: str
    files: Mapping[str, str] = field(default_factory=dict[str, str])

    @classmethod
    def read(cls, folder: Path, revision: str) -> "Checksums":
        """The record in `folder`; an empty one where there is none, it is damaged, or is of another revision."""
        try:
            document: object = json.loads((folder / RECORD).read_text("utf-8"))
        except (OSError, ValueError):
            return cls(revision)
        if not isinstance(document, dict):
            return cls(revision)
        found = cast("dict[str, object]", document)
        files = found.get("files")
        if found.get("revision") != revision or not isinstance(files, dict):
            return cls(revision)
        return cls(revision, {str(name): str(digest) for name, digest in cast("dict[object, object]", files).items()})

    def with_file(self, name: str, digest: str) -> "Checksums":
        """The same record with one file more."""
        return Checksums(self.revision, {**self.files, name: digest})

    def write(self, folder: Path) -> None:
        """In one step, so that a crash leaves the old record or the new one."""
        part = folder / f"{RECORD}.part"
        part.write_text(json.dumps({"revision": self.revision, "files": dict(self.files)}, indent=2) + "\n", "utf-8")
        part.replace(folder / RECORD)


class UnsafeNameError(ValueError):
    """A file name that would lie outside its checkpoint's folder."""


def place_of(folder: Path, name: str) -> Path:
    """Where a repository's file lies below `folder`.

    Raises:
        UnsafeNameError: it would lie elsewhere, be it by `..`, by an absolute path or through a link.
    """
    path = PurePosixPath(name)
    place = folder.joinpath(*path.parts)
    odd = path.is_absolute() or ".." in path.parts or "\\" in name or not path.parts
    if odd or not place.resolve().is_relative_to(folder.resolve()):
        raise UnsafeNameError(f"{name!r} would lie outside {folder}, so it was not touched.")
    return place


def sha256_of(path: Path) -> str:
    """Of a file, without holding it in memory."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def states(weights: Weights, layout: Layout, models: Path) -> Iterator[tuple[str, State]]:
    """Each file of `layout` in turn, read whole and compared."""
    folder = models / weights.name
    recorded = Checksums.read(folder, weights.revision).files
    for name, pinned in layout.files.items():
        place, wanted = place_of(folder, name), pinned or recorded.get(name)
        if not place.is_file():
            yield name, "missing"
        elif wanted is None:
            yield name, "unknown"
        else:
            yield name, "good" if sha256_of(place) == wanted else "bad"
