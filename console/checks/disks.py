"""The media store, and room on the disks."""

import asyncio
import os
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path

from console.checks import Check
from jobs.settings import StoreSettings
from media.store import MediaStore

STORE_SECONDS = 30.0
FAIL_BYTES = 10**9
WARN_BYTES = 10 * 10**9
"""One checkpoint of Stable Video Diffusion is 4.5 GB."""


async def store(settings: StoreSettings) -> list[Check]:
    """Put a few bytes, get them back, delete them."""
    sample = secrets.token_bytes(32)
    try:
        async with asyncio.timeout(STORE_SECONDS):
            place = MediaStore(settings.url)
            digest = await place.put(sample)
            same = await place.get(digest) == sample
            await place.delete(digest)
    except ImportError as error:
        return [
            Check("store", "fail", f"{settings.url}: {error}", "Install what it names, for s3:// pip install s3fs.")
        ]
    except Exception as error:  # noqa: BLE001 - every kind of store raises its own
        advice = "Make the folder writable for this user, or set `store.url` in config.toml to one that is."
        return [Check("store", "fail", f"{settings.url} cannot be written ({type(error).__name__})", advice)]
    if not same:
        return [
            Check("store", "fail", f"{settings.url} gave other bytes back", "Look at the disk or the storage service.")
        ]
    return [Check("store", "ok", f"{settings.url} takes and gives")]


def folder_of(url: str) -> Path | None:
    """The folder behind a store's URL; None where it is elsewhere."""
    if url.startswith("file://"):
        return Path(url.removeprefix("file://"))
    return None if "://" in url else Path(url)


def free_space(folders: Mapping[str, Path]) -> list[Check]:
    """One line for each file system that holds some of `folders` (by what they are for)."""
    found: dict[int, tuple[list[str], Path]] = {}
    for purpose, folder in folders.items():
        there = _existing(folder)
        found.setdefault(there.stat().st_dev, ([], there))[0].append(purpose)
    return [_space(", ".join(purposes), place) for purposes, place in found.values()]


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above that is there already."""
    folder = folder.absolute()
    return next(place for place in (folder, *folder.parents) if place.exists())


def _space(purposes: str, place: Path) -> Check:
    free = shutil.disk_usage(place).free
    found = f"{free / 1e9:.1f} GB free for {purposes}"
    if not os.access(place, os.W_OK):
        return Check(
            "disk", "fail", f"{place} is not writable, for {purposes}", "Give this user the right to write there."
        )
    if free < FAIL_BYTES:
        return Check("disk", "fail", found, "Make room: rendering needs at least 1 GB.")
    if free < WARN_BYTES:
        return Check("disk", "warn", found, "One checkpoint of Stable Video Diffusion takes 4.5 GB.")
    return Check("disk", "ok", found)
