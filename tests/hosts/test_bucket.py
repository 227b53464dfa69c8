"""The store in a bucket of an S3-compatible service: address and keys come from the environment, as the page says."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from s3fs import S3FileSystem

from media.store import MediaLost, MediaStore, digest_of
from tests.hosts.bucket import KEYS, URL, endpoint, loopback, make_bucket, s3_server

DATA = b"a picture" * 100_000
DIGEST = digest_of(DATA)


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    bound = loopback()
    for name, value in {**KEYS, "AWS_ENDPOINT_URL": endpoint(bound)}.items():
        monkeypatch.setenv(name, value)
    S3FileSystem.clear_instance_cache()  # one process has one such service, but for these tests
    with s3_server(bound):
        make_bucket(bound)
        yield


@pytest.mark.usefixtures("bucket")
async def test_what_one_process_puts_another_gets(tmp_path: Path) -> None:
    store = MediaStore(URL)
    with pytest.raises(MediaLost):
        await store.fetch_to(DIGEST, tmp_path)
    put = f"asyncio.run(MediaStore({URL!r}).put(b'a picture' * 100_000))"
    code = f"import asyncio; from media.store import MediaStore; {put}"
    await asyncio.to_thread(subprocess.run, [sys.executable, "-c", code], check=True)

    assert await store.get(DIGEST) == DATA
    assert (await store.fetch_to(DIGEST, tmp_path)).read_bytes() == DATA


@pytest.mark.usefixtures("bucket")
async def test_it_is_swept_as_a_folder_is(tmp_path: Path) -> None:
    store = MediaStore(URL)
    (tmp_path / "clip.mp4").write_bytes(DATA)
    assert await store.put_file(tmp_path / "clip.mp4") == DIGEST

    [found] = await store.shelf(DIGEST[:2])
    assert (found.digest, found.is_part) == (DIGEST, False)
    assert await store.delete(DIGEST)
    assert await store.delete(DIGEST)
    assert not await store.exists(DIGEST)
    assert await store.shelf(DIGEST[:2]) == []
