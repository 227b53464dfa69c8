"""The recipe in a file's own metadata: read back from every container, and never believed."""

import io
import json
import zlib
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from jobs.recipe import Recipe, Source
from jobs.requests.svd import SvdRequest
from media.apng import with_text
from media.essence import essence
from media.examine import looks_of
from media.formats import encode
from media.frames import FrameSpool
from media.gif import with_comment
from media.marks import MAX_MARK_BYTES, job_of, mark_text, parse_mark, read_mark, recipe_of
from media.opening import opened

RECIPE = Recipe(sources={"image": Source(digest="a" * 64, width=64, height=48)}, steps=(SvdRequest(seed=5),))
MARK = mark_text(RECIPE, "42", {"svd-xt": {"revision": "9e43909", "sha256": {"a & b<c>.bin": "0" * 64}}})
PICTURES = [Image.fromarray(np.full((16, 16, 3), 60 * number, np.uint8)) for number in range(3)]


def by_pillow(kind: str, **options: Any) -> bytes:
    out = io.BytesIO()
    PICTURES[0].save(out, kind, save_all=True, append_images=PICTURES[1:], **options)
    return out.getvalue()


def by_av(kind: str, codec: str, mark: str = MARK) -> bytes:
    out = io.BytesIO()
    with av.open(out, "w", format=kind) as container:
        container.metadata["comment"] = mark
        stream: Any = container.add_stream(codec, 12)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        frames = [av.VideoFrame.from_ndarray(np.full((48, 64, 3), 9, np.uint8), format="rgb24") for _ in range(3)]
        for frame in [*frames, None]:
            container.mux(stream.encode(frame))
    return out.getvalue()


def text_chunk(kind: str) -> bytes:
    info = PngInfo()
    if kind == "iTXt":
        info.add_itxt("Comment", MARK, zip=True)
    else:
        info.add_text("Comment", MARK, zip=kind == "zTXt")
    return by_pillow("PNG", pnginfo=info)


def xmp() -> bytes:
    escaped = MARK.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
    words = f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description zoetrope:mark="{escaped}"/></x:xmpmeta>'
    return by_pillow("WEBP", xmp=words.encode())


def exif() -> bytes:
    tags = Image.Exif()
    tags[270] = MARK  # ImageDescription
    return by_pillow("WEBP", exif=tags)


def webp_of_ours() -> bytes:
    with TemporaryDirectory() as folder, FrameSpool.filled([np.zeros((16, 16, 3), np.uint8)] * 3, 16, 16, 12) as spool:
        return encode("webp", spool, Path(folder) / "a.webp", 100_000, metadata={"comment": MARK}).path.read_bytes()


FILES: dict[str, Callable[[], bytes]] = {
    "MP4": lambda: by_av("mp4", "libx264"),
    "WebM": lambda: by_av("webm", "libvpx-vp9"),
    "GIF": lambda: with_comment(by_pillow("GIF", loop=0), MARK),
    "PNG tEXt": lambda: text_chunk("tEXt"),
    "PNG zTXt": lambda: text_chunk("zTXt"),
    "PNG iTXt": lambda: text_chunk("iTXt"),
    "APNG, ours": lambda: with_text(by_pillow("PNG"), MARK),
    "WebP, ours": webp_of_ours,
    "WebP XMP": xmp,
    "WebP EXIF": exif,
}


@pytest.fixture(scope="module", params=FILES)
def marked(request: pytest.FixtureRequest) -> bytes:
    return FILES[request.param]()


def test_a_mark_is_read_back_from_every_container(marked: bytes) -> None:
    mark = read_mark(marked)
    assert mark == json.loads(MARK)
    assert (job_of(mark), recipe_of(mark)) == ("42", RECIPE)


def test_damaged_files_never_raise_and_never_give_more_than_a_mark(marked: bytes) -> None:
    random = np.random.default_rng(5)
    for _ in range(150):
        damaged = bytearray(marked)
        for at in random.integers(0, len(damaged), random.integers(1, 6)).tolist():
            damaged[at] = int(random.integers(256))
        found = read_mark(bytes(damaged[: random.integers(1, len(damaged) + 1)]))
        assert found is None or isinstance(found["zoetrope"], dict)


def test_files_without_a_mark_have_none() -> None:
    assert read_mark(by_pillow("GIF")) is None
    assert read_mark(by_av("mp4", "libx264", "nothing of ours")) is None
    assert read_mark(b"") is None


@settings(deadline=None, max_examples=200)
@given(
    st.sampled_from([b"\0\0\0\x18ftypisom", b"GIF89a", b"\x89PNG\r\n\x1a\n", b"RIFF\0\0\0\0WEBP", b"\x1a\x45\xdf\xa3"]),
    st.binary(max_size=300),
)
def test_whatever_follows_a_known_beginning(head: bytes, rest: bytes) -> None:
    assert read_mark(head + rest) is None


@pytest.mark.parametrize(
    "text",
    [
        b'{"zoetrope":' + b'{"a":' * 100_000,
        b'{"zoetrope":{"a":NaN}}',
        b'{"zoetrope":[1]}',
        b'{"zoetrope":{"a":' + b"9" * 5_000 + b"}}",
        b'{"zoetrope":{"a":"' + b"x" * MAX_MARK_BYTES + b'"}}',
        b'{"zoetrope":{"a":"\xff',
    ],
)
def test_a_mark_that_is_none_of_ours_is_nothing(text: bytes) -> None:
    assert parse_mark(text) is None


def test_a_compressed_bomb_is_not_blown_up() -> None:
    bomb = b"Comment\0\0" + zlib.compress(b'{"zoetrope":{"a":"' + b"x" * (4 << 20) + b'"}}')
    chunk = len(bomb).to_bytes(4, "big") + b"zTXt" + bomb + bytes(4)
    assert read_mark(b"\x89PNG\r\n\x1a\n" + chunk) is None


def test_what_a_mark_says_is_checked_like_everything_from_outside() -> None:
    assert job_of({"job": "zoetrope:open"}) is None
    assert job_of({"job": 5}) is None
    assert recipe_of({"zoetrope": {"version": 1, "steps": "rm"}}) is None
    assert recipe_of(None) is None


@pytest.mark.parametrize("kind", ["GIF", "PNG tEXt", "WebP XMP", "MP4", "WebM"])
def test_the_essence_stays_where_metadata_goes(kind: str) -> None:
    bare = {
        "GIF": lambda: by_pillow("GIF", loop=0),
        "PNG tEXt": lambda: by_pillow("PNG"),
        "WebP XMP": lambda: by_pillow("WEBP"),
        "MP4": lambda: by_av("mp4", "libx264", ""),
        "WebM": lambda: by_av("webm", "libvpx-vp9", ""),
    }[kind]()
    marked = FILES[kind]()
    assert marked != bare
    assert essence(marked) == essence(bare) is not None
    assert essence(marked) != essence(by_pillow("GIF")[:-40])
    assert essence(b"no clip at all") is None


@pytest.mark.parametrize(
    "text",
    [
        "ffconcat version 1.0\nfile {clip}\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{clip}\n#EXT-X-ENDLIST\n",
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\n"
        "c=IN IP4 127.0.0.1\nt=0 0\nm=video 34568 RTP/AVP 96\na=rtpmap:96 H264/90000\n",
    ],
    ids=["concat", "m3u8", "sdp"],
)
def test_a_text_that_names_files_or_addresses_opens_none_of_them(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("clip.mp4").write_bytes(by_av("mp4", "libx264"))
    assert essence(Path("clip.mp4").read_bytes())
    data = text.format(clip="clip.mp4").encode()

    assert opened(data) is None
    assert essence(data) is None
    assert looks_of(data) is None


def test_a_job_id_in_a_mark_is_no_path() -> None:
    assert job_of({"job": "..", "zoetrope": {}}) is None
    assert job_of({"job": "1576572760677679104-2", "zoetrope": {}}) == "1576572760677679104-2"
