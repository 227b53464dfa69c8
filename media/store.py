"""Bytes by their own hash: what one process puts in, another gets out unchanged or not at all."""

import asyncio
import contextlib
import hashlib
import os
import re
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, cast

import fsspec  # pyright: ignore[reportMissingTypeStubs]

from jobs.errors import Failure

CHUNK_BYTES = 2**20
SHELVES = tuple(f"{number:02x}" for number in range(256))
"""The store's folders: the first two digits of a digest."""
PART = ".part-"
"""How a file's name begins that is not written to its end."""


class MediaLost(Failure):
    """Nothing is stored under that digest, or no longer."""

    code = "media_lost"


class MediaDamaged(Failure):
    """What is stored under that digest has another hash."""

    code = "media_damaged"


@dataclass(frozen=True)
class Stored:
    """One entry of a shelf. `digest` is empty where the name is none of ours."""

    place: str
    digest: str
    written_ms: int

    @property
    def is_part(self) -> bool:
        """Whether somebody writes it, or died over it."""
        return self.place.rsplit("/", 1)[-1].startswith(PART)


def digest_of(data: bytes) -> str:
    """The name under which these bytes are stored."""
    return hashlib.sha256(data).hexdigest()


class MediaStore:
    """Content-addressed files under an fsspec URL: a folder, `s3://bucket/prefix`, `memory://name`.

    Writing is idempotent, so nobody asks first whether a file is there. Every read is checked against the digest.
    """

    def __init__(self, url: str, **options: object) -> None:
        """`url` is a folder or an fsspec URL; `options` go to its file system (keys, endpoint)."""
        # Listings are never cached: another process may have put or deleted the file a moment ago.
        found = cast(tuple[Any, str], fsspec.core.url_to_fs(url, use_listings_cache=False, **options))  # pyright: ignore[reportUnknownMemberType]
        self._files, self._root = found[0], found[1].rstrip("/")
        self._folder = Path(self._root) if "file" in _protocols(self._files) else None

    async def put(self, data: bytes) -> str:
        """Store `data`; its SHA-256 is its name."""
        digest = digest_of(data)
        await asyncio.to_thread(self._put, digest, data)
        return digest

    async def put_file(self, path: Path) -> str:
        """Store a file's content without holding it in memory."""
        return await asyncio.to_thread(self._put_file, path)

    async def get(self, digest: str) -> bytes:
        """The bytes stored under `digest`.

        Raises:
            MediaLost, MediaDamaged: they are not there, or not what they were.
        """
        return await asyncio.to_thread(self._get, digest)

    async def fetch_to(self, digest: str, folder: Path) -> Path:
        """A local file with the content of `digest`: the store's own where it is a folder, else a copy in `folder`.

        Raises:
            MediaLost, MediaDamaged: it is not there, or not what it was.
        """
        return await asyncio.to_thread(self._fetch_to, digest, folder)

    async def exists(self, digest: str) -> bool:
        """Whether something is stored under `digest`; only reading tells whether it is intact."""
        return await asyncio.to_thread(self._files.exists, self._place(digest))

    async def delete(self, digest: str, deadline: float | None = None) -> bool:
        """Forget `digest`, whether or not it is there; not where `deadline` (of `time.monotonic`) is over by then.

        Returns whether nothing is stored under it now.
        """
        return await asyncio.to_thread(self._delete, self._place(digest), deadline)

    async def shelf(self, name: str) -> list[Stored]:
        """Everything whose name begins with these two digits, and what lies beside it."""
        return await asyncio.to_thread(self._shelf, name)

    async def delete_part(self, part: Stored) -> None:
        """Delete a file that somebody did not finish.

        Raises:
            ValueError: it is none.
        """
        if not part.is_part:
            raise ValueError(f"not a part: {part.place!r}")
        await asyncio.to_thread(self._delete, part.place, None)

    def _place(self, digest: str) -> str:
        """Where a digest lives. Two levels of folders keep each below some thousand entries.

        Raises:
            ValueError: not a digest, so it must never become a path.
        """
        if not re.fullmatch(r"[0-9a-f]{64}", digest):
            raise ValueError(f"not a SHA-256 in lower-case hex: {digest!r}")
        return f"{self._root}/{digest[:2]}/{digest[2:4]}/{digest}"

    def _put(self, digest: str, data: bytes) -> None:
        place = self._place(digest)
        if self._folder:
            _write_whole(Path(place), lambda file: file.write(data))
        else:
            self._files.pipe_file(place, data)

    def _put_file(self, path: Path) -> str:
        digest = digest_of_file(path)
        place = self._place(digest)
        if self._folder:
            _write_whole(Path(place), lambda file: _copy_checked(path, file, digest))
        else:
            self._files.put_file(str(path), place)
        return digest

    def _delete(self, place: str, deadline: float | None) -> bool:
        if deadline is not None and time.monotonic() > deadline:
            return False
        with contextlib.suppress(FileNotFoundError):
            self._files.rm_file(place)
        return True

    def _shelf(self, name: str) -> list[Stored]:
        found = cast(Mapping[str, Mapping[str, Any]], self._files.find(f"{self._root}/{name}", detail=True))
        return [
            Stored(place, last if re.fullmatch(r"[0-9a-f]{64}", last) else "", _written_ms(facts))
            for place, facts in found.items()
            for last in [place.rsplit("/", 1)[-1]]
        ]

    def _get(self, digest: str) -> bytes:
        try:
            data = cast(bytes, self._files.cat_file(self._place(digest)))
        except FileNotFoundError as error:
            raise MediaLost(digest=digest) from error
        if hashlib.sha256(data).hexdigest() != digest:
            raise MediaDamaged(digest=digest)
        return data

    def _fetch_to(self, digest: str, folder: Path) -> Path:
        place = self._place(digest)
        if self._folder:
            return _checked(Path(place), digest)
        cached = folder / digest
        try:
            kept = _checked(cached, digest)
            os.utime(kept)  # it is wanted: the worker's copies go when nobody wanted them for long
            return kept
        except (MediaLost, MediaDamaged, FileNotFoundError):
            _write_whole(cached, lambda file: self._download(place, file))
            return _checked(cached, digest)

    def _download(self, place: str, file: Any) -> None:
        try:
            with self._files.open(place, "rb") as stored:
                while chunk := stored.read(CHUNK_BYTES):
                    file.write(chunk)
        except FileNotFoundError as error:
            raise MediaLost(digest=place.rsplit("/", 1)[-1]) from error


def _protocols(files: Any) -> tuple[str, ...]:
    names: str | tuple[str, ...] = files.protocol
    return (names,) if isinstance(names, str) else names


def _written_ms(facts: Mapping[str, Any]) -> int:
    """When a file was written, as its file system puts it; now where it does not tell."""
    for key in ("mtime", "LastModified", "last_modified", "created"):
        match facts.get(key):
            case datetime() as moment:
                return round(moment.timestamp() * 1000)
            case int() | float() as seconds:
                return round(seconds * 1000)
            case _:
                continue
    return round(time.time() * 1000)


def _write_whole(path: Path, write: Callable[[Any], object]) -> None:
    """Give `path` its content in one step: whoever looks sees all of it or none, even after a power cut."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, part = tempfile.mkstemp(prefix=PART, dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        Path(part).replace(path)
    except BaseException:
        Path(part).unlink(missing_ok=True)
        raise


def _copy_checked(source: Path, file: Any, digest: str) -> None:
    """Copy `source`, and notice when it was changed between hashing and copying."""
    running = hashlib.sha256()
    with source.open("rb") as original:
        while chunk := original.read(CHUNK_BYTES):
            running.update(chunk)
            file.write(chunk)
    if running.hexdigest() != digest:
        raise OSError(f"{source} was changed while it was being stored")


def digest_of_file(path: Path) -> str:
    """The name that a file's content has in the store."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _checked(path: Path, digest: str) -> Path:
    """`path`, known to hold the content of `digest`."""
    try:
        if digest_of_file(path) != digest:
            raise MediaDamaged(digest=digest)
    except FileNotFoundError as error:
        raise MediaLost(digest=digest) from error
    return path
