"""Fetch published checkpoints from the Hugging Face hub: the pinned revision, resumed where it broke off, then checked.

`huggingface_hub` names the files, answers for licences and carries the bytes. Its own download keeps nothing of a file
that was cut off, so the parts are kept here, in `<models>/.parts`, and go on from their last byte.
"""

import contextlib
import fcntl
import functools
import hashlib
import os
import shutil
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

import httpx2
from huggingface_hub import HfApi, get_token, hf_hub_url
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.file_download import http_get  # pyright: ignore[reportUnknownVariableType]
from huggingface_hub.hf_api import RepoSibling
from huggingface_hub.utils import build_hf_headers  # pyright: ignore[reportUnknownVariableType]

from inference.checksums import place_of, sha256_of
from inference.weights import Layout, Weights

SPARE_BYTES = 10**9
"""Left free on the disk after a pull."""


class PullError(Exception):
    """One sentence for the owner: why a checkpoint could not be fetched, and what to do."""


@dataclass(frozen=True)
class Remote:
    """One file as the hub describes it at the pinned revision."""

    name: str
    size_bytes: int
    blob_id: str
    """Git's own SHA-1 of the content; of a large file, of its pointer."""
    sha256: str | None
    """The hub's record; it has one for large files only."""

    @property
    def part_name(self) -> str:
        """Names the unfinished file by its content, so that a part is never continued with something else."""
        return self.sha256 or self.blob_id


class Hub:
    """One checkpoint at its pinned revision."""

    def __init__(self, weights: Weights, models: Path, endpoint: str | None = None) -> None:
        """`endpoint` is another hub than Hugging Face's own (`HF_ENDPOINT`)."""
        self.weights = weights
        self.folder = models / weights.name
        self.parts = models / ".parts" / weights.name
        self.endpoint = (endpoint or os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")

    def files(self, layout: Layout) -> list[Remote]:
        """What the hub has of `layout`, at the pinned revision.

        Raises:
            PullError: a file is missing, or is another one than was pinned here.
        """
        return [self._described(name, self._siblings.get(name), pinned) for name, pinned in layout.files.items()]

    def published(self, layouts: Sequence[Layout]) -> Layout:
        """The first layout that the repository has whole; where it has none, the first, of which a file is missed.

        Raises:
            PullError: the hub cannot be asked.
        """
        there = self._siblings.keys()
        return next((layout for layout in layouts if layout.files.keys() <= there), layouts[0])

    @functools.cached_property
    def _siblings(self) -> dict[str, RepoSibling]:
        """Everything that the repository has at the pinned revision, asked for once."""
        with self._sentences():
            found = HfApi(endpoint=self.endpoint).model_info(
                self.weights.repo, revision=self.weights.revision, files_metadata=True
            )
        if found.sha != self.weights.revision:
            raise PullError(
                f"The hub answered with revision {found.sha} of {self.weights.repo} instead of the pinned one."
            )
        return {sibling.rfilename: sibling for sibling in found.siblings or []}

    def _described(self, name: str, sibling: object, pinned: str | None) -> Remote:
        size, blob_id = getattr(sibling, "size", None), getattr(sibling, "blob_id", None)
        lfs = getattr(sibling, "lfs", None)
        if size is None or blob_id is None:
            raise PullError(
                f"The hub has no file {name} in {self.weights.repo} at the pinned revision; please report this."
            )
        sha256 = lfs.sha256 if lfs else None
        if pinned and sha256 and pinned != sha256:
            raise PullError(
                f"The hub offers another {name} than the one pinned here (SHA-256 {sha256[:12]}… instead of "
                f"{pinned[:12]}…), so nothing was fetched; please report this."
            )
        return Remote(name, size, blob_id, pinned or sha256)

    def present(self, file: Remote) -> str | None:
        """The SHA-256 of a file that is in its place and whole, however it came there; None where it is not."""
        place = place_of(self.folder, file.name)
        if _size(place) != file.size_bytes:
            return None
        digest = sha256_of(place)
        return digest if _is_right(file, place, digest) else None

    def missing_bytes(self, files: list[Remote]) -> int:
        """How much of `files` is still to be fetched."""
        return sum(max(0, file.size_bytes - _size(self.parts / file.part_name)) for file in files)

    def make_room(self, files: list[Remote]) -> None:
        """Be sure that the disk can take what is still to come.

        Raises:
            PullError: it cannot.
        """
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        free, needed = shutil.disk_usage(self.folder.parent).free, self.missing_bytes(files) + SPARE_BYTES
        if free < needed:
            raise PullError(
                f"{self.folder.parent} has {free / 1e9:.1f} GB free and {needed / 1e9:.1f} GB are needed: make room, "
                "or set `models.dir` in config.toml to a larger disk."
            )

    @contextlib.contextmanager
    def alone(self) -> Generator[None]:
        """Nobody else fetches this checkpoint meanwhile.

        Raises:
            PullError: somebody does.
        """
        self.parts.mkdir(parents=True, exist_ok=True)
        with (self.parts / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise PullError(
                    f"{self.weights.name} is being fetched by another process; wait for it to end."
                ) from None
            yield

    def fetch(self, file: Remote) -> str:
        """Bring one file whole into its place; its SHA-256.

        Raises:
            PullError: the hub does not give it, it broke off, or it is not what it should be.
        """
        place = place_of(self.folder, file.name)
        part = self.parts / file.part_name
        if _size(part) > file.size_bytes:
            part.unlink()
        with self._sentences(), part.open("ab") as unfinished:
            self._receive(file, cast(BinaryIO, unfinished))
        digest = sha256_of(part)
        if not _is_right(file, part, digest):
            part.unlink()
            raise PullError(
                f"{file.name} of {self.weights.name} arrived damaged (its SHA-256 is {digest[:12]}…) and was thrown "
                f"away. Fetch it again: python -m console models pull {self.weights.name}"
            )
        place.parent.mkdir(parents=True, exist_ok=True)
        part.replace(place)
        return digest

    def _receive(self, file: Remote, unfinished: BinaryIO) -> None:
        url = hf_hub_url(self.weights.repo, file.name, revision=self.weights.revision, endpoint=self.endpoint)
        # Compressed, a range would count other bytes than those of the file.
        headers = {**build_hf_headers(), "Accept-Encoding": "identity"}
        http_get(
            url,
            unfinished,
            resume_size=unfinished.tell(),
            headers=headers,
            expected_size=file.size_bytes,
            displayed_filename=file.name,
        )
        unfinished.flush()
        os.fsync(unfinished.fileno())

    @contextlib.contextmanager
    def _sentences(self) -> Generator[None]:
        """What the hub's answers mean for the owner."""
        again = f"python -m console models pull {self.weights.name}"
        try:
            yield
        except GatedRepoError as error:
            raise PullError(self._gated(again)) from error
        except RemoteEntryNotFoundError as error:
            raise PullError(f"The hub lacks a file of {self.weights.repo}; please report this.") from error
        except (RepositoryNotFoundError, RevisionNotFoundError) as error:
            raise PullError(
                f"The hub does not know {self.weights.repo} at revision {self.weights.revision[:12]}, or HF_TOKEN is "
                "not valid. Take HF_TOKEN away or make a new one at https://huggingface.co/settings/tokens."
            ) from error
        except HfHubHTTPError as error:
            raise PullError(_status(error.response.status_code, self.endpoint, again)) from error
        except httpx2.ConnectError as error:
            raise PullError(f"{self.endpoint} cannot be reached; check the connection, then again: {again}") from error
        except httpx2.HTTPError as error:
            raise PullError(f"The connection broke off. What came is kept, so go on with: {again}") from error
        except OSError as error:
            raise PullError(f"Fetching stopped ({error}). What came is kept, so go on with: {again}") from error

    def _gated(self, again: str) -> str:
        page = f"https://huggingface.co/{self.weights.repo}"
        if get_token():
            return (
                f"{self.weights.name} is gated, and the account of this HF_TOKEN has not accepted its licence: do so "
                f"at {page} (and let the token read gated repositories), then again: {again}"
            )
        return (
            f"{self.weights.name} is gated: accept its licence at {page}, make a read token at "
            f"https://huggingface.co/settings/tokens, set HF_TOKEN to it, then again: {again}"
        )


def _status(status: int, endpoint: str, again: str) -> str:
    if status in (401, 403):
        return (
            f"{endpoint} refused (status {status}): check that HF_TOKEN is valid, or take it away, then again: {again}"
        )
    return f"{endpoint} answered with status {status}; try again in a while: {again}"


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _is_right(file: Remote, path: Path, digest: str) -> bool:
    if file.sha256:
        return digest == file.sha256
    return git_blob_id(path) == file.blob_id


def git_blob_id(path: Path) -> str:
    """Git's SHA-1 of a file's content: the hub's only record of a small file."""
    running = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(2**20):
            running.update(chunk)
    return running.hexdigest()
