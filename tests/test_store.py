"""What is put in comes out unchanged, or not at all."""

import asyncio
import hashlib
import os
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from jobs.texts import word
from media.store import MediaDamaged, MediaLost, MediaStore

DATA = b"a picture" * 1000
DIGEST = hashlib.sha256(DATA).hexdigest()


@pytest.fixture(params=["folder", "file URL", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> MediaStore:
    url = {
        "folder": str(tmp_path / "media"),
        "file URL": f"file://{tmp_path}/media",
        "memory": f"memory://{uuid.uuid4()}",
    }
    return MediaStore(url[request.param])


@pytest.fixture
def local(tmp_path: Path) -> MediaStore:
    return MediaStore(str(tmp_path / "media"))


def stored_at(tmp_path: Path) -> Path:
    return tmp_path / "media" / DIGEST[:2] / DIGEST[2:4] / DIGEST


async def test_bytes_come_back_by_their_hash(store: MediaStore) -> None:
    assert not await store.exists(DIGEST)
    assert await store.put(DATA) == DIGEST
    assert await store.exists(DIGEST)
    assert await store.get(DIGEST) == DATA


async def test_putting_twice_changes_nothing(store: MediaStore) -> None:
    assert await asyncio.gather(*(store.put(DATA) for _ in range(5))) == [DIGEST] * 5
    assert await store.get(DIGEST) == DATA


async def test_nothing_is_stored_too(store: MediaStore) -> None:
    assert await store.get(await store.put(b"")) == b""


async def test_a_file_is_stored_and_fetched(store: MediaStore, tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").write_bytes(DATA)
    assert await store.put_file(tmp_path / "clip.mp4") == DIGEST
    fetched = await store.fetch_to(DIGEST, tmp_path / "cache")

    assert fetched.read_bytes() == DATA
    assert await store.fetch_to(DIGEST, tmp_path / "cache") == fetched


async def test_a_folder_gives_its_own_file_and_copies_nothing(local: MediaStore, tmp_path: Path) -> None:
    await local.put(DATA)

    assert await local.fetch_to(DIGEST, tmp_path / "cache") == stored_at(tmp_path)
    assert not (tmp_path / "cache").exists()


async def test_a_damaged_copy_in_the_cache_is_fetched_again(tmp_path: Path) -> None:
    store = MediaStore(f"memory://{uuid.uuid4()}")
    cached = await store.fetch_to(await store.put(DATA), tmp_path)
    cached.write_bytes(DATA[:10])

    assert (await store.fetch_to(DIGEST, tmp_path)).read_bytes() == DATA


async def test_what_is_not_there_is_lost_with_a_sentence(store: MediaStore, tmp_path: Path) -> None:
    with pytest.raises(MediaLost) as lost:
        await store.get(DIGEST)
    with pytest.raises(MediaLost):
        await store.fetch_to(DIGEST, tmp_path / "cache")

    assert "again" in word(lost.value)
    assert not any((tmp_path / "cache").glob("*"))


@pytest.mark.parametrize("damaged", [DATA[:-1], DATA[:-1] + b"!", b""])
async def test_a_truncated_or_changed_file_is_noticed_and_mended(
    local: MediaStore, tmp_path: Path, damaged: bytes
) -> None:
    await local.put(DATA)
    stored_at(tmp_path).write_bytes(damaged)
    with pytest.raises(MediaDamaged) as wrong:
        await local.get(DIGEST)
    with pytest.raises(MediaDamaged):
        await local.fetch_to(DIGEST, tmp_path / "cache")
    assert word(wrong.value)

    await local.put(DATA)
    assert await local.get(DIGEST) == DATA


async def test_deleting_is_idempotent(store: MediaStore) -> None:
    await store.put(DATA)
    await store.delete(DIGEST)
    await store.delete(DIGEST)

    assert not await store.exists(DIGEST)


@pytest.mark.parametrize("digest", ["", "../../etc/passwd", DIGEST.upper(), DIGEST[:-1], DIGEST + "\n", "a/" * 32])
async def test_only_a_digest_becomes_a_path(store: MediaStore, tmp_path: Path, digest: str) -> None:
    with pytest.raises(ValueError, match="not a SHA-256"):
        await store.get(digest)
    with pytest.raises(ValueError, match="not a SHA-256"):
        await store.fetch_to(digest, tmp_path)
    with pytest.raises(ValueError, match="not a SHA-256"):
        await store.exists(digest)
    with pytest.raises(ValueError, match="not a SHA-256"):
        await store.delete(digest)


async def test_a_writer_killed_in_the_middle_leaves_nothing_under_the_digest(tmp_path: Path) -> None:
    """A process is ended by the system after half of the bytes; the next one stores the same file as if nothing was."""
    dying = """
import os, sys
from pathlib import Path
from media import store

def half(source, file, digest):
    file.write(source.read_bytes()[:5000]); file.flush(); os._exit(9)

store._copy_checked = half
files = store.MediaStore(sys.argv[1])
files._put_file(Path(sys.argv[2]))
"""
    (tmp_path / "clip.mp4").write_bytes(DATA)
    arguments = [sys.executable, "-c", dying, str(tmp_path / "media"), str(tmp_path / "clip.mp4")]
    ended = await asyncio.to_thread(
        subprocess.run, arguments, check=False, cwd=Path(__file__).parent.parent, env=dict(os.environ)
    )

    local = MediaStore(str(tmp_path / "media"))
    assert ended.returncode == 9
    assert not await local.exists(DIGEST)
    assert await local.put_file(tmp_path / "clip.mp4") == DIGEST
    assert await local.get(DIGEST) == DATA
