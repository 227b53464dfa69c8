"""Clips with credentials and certificates to sign them with, for tests."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from console.provenance import mint
from jobs.recipe import Recipe, Source
from jobs.requests.svd import SvdRequest
from media import examine, fingerprint
from media.examine import Examined
from media.frames import Frame, FrameSpool
from media.identity import Trusted, read_trusted
from media.marks import mark_text
from media.provenance import Made, Sealer
from media.provenance_settings import ProvenanceSettings

JOB = "1234567890123456789"
RECIPE = Recipe(sources={"image": Source(digest="a" * 64, width=320, height=192)}, steps=(SvdRequest(seed=5),))
CHECKPOINTS = {"svd-xt": {"repo": "a/b", "revision": "9e43909", "sha256": {"unet/model.safetensors": "b" * 64}}}
MADE = Made(JOB, "svd-5.mp4", RECIPE, CHECKPOINTS)


def pictures(seed: int, count: int = 20) -> list[Frame]:
    """Patches of colour that drift to the right, 192 × 320."""
    patches = np.random.default_rng(seed).random((6, 8, 3))
    whole = (np.kron(patches, np.ones((32, 40, 1))) * 255).astype(np.uint8)
    return [np.roll(whole, 3 * number, 1) for number in range(count)]


def write(
    path: Path, frames: Sequence[Frame], *, comment: str = "", size: tuple[int, int] | None = None, crf: int = 20
) -> Path:
    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        if comment:
            container.metadata["comment"] = comment
        stream: Any = container.add_stream("libx264", 12, options={"crf": str(crf)})
        stream.width, stream.height = size or (frames[0].shape[1], frames[0].shape[0])
        stream.pix_fmt = "yuv420p"
        for frame in [*(av.VideoFrame.from_ndarray(one, format="rgb24") for one in frames), None]:
            container.mux(stream.encode(frame))
    return path


def repacked(path: Path, to: Path) -> Path:
    """The same packets in a new file, with nothing said about them."""
    with av.open(str(path)) as source, av.open(str(to), "w", format="mp4") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.size:
                packet.stream = stream
                target.mux(packet)
    return to


def looks(frames: Sequence[Frame]) -> str | None:
    height, width, _ = frames[0].shape
    with FrameSpool.filled(frames, width, height, 12) as spool:
        return fingerprint.of_footage(spool)


def examine_here(data: bytes, trusted: Trusted) -> Examined:
    """What the process of its own does, in this one, which is quicker."""
    found: dict[str, Any] = {}
    for finding in examine.findings(data, trusted):
        found |= finding
    return Examined.model_validate(found)


def content(path: Path) -> bytes:
    return path.read_bytes()


def shown(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24").tobytes() for frame in container.decode(video=0)]


def configured(folder: Path, holder: str, **when: Any) -> ProvenanceSettings:
    minted = mint(holder, **when)
    certificate, key = folder / f"{holder}.pem", folder / f"{holder}-key.pem"
    certificate.write_bytes(minted.certificate)
    key.write_bytes(minted.key)
    key.chmod(0o600)
    return ProvenanceSettings(certificate=certificate, key=key)


def sealer_of(settings: ProvenanceSettings) -> Sealer:
    sealer = Sealer.from_settings(settings)
    assert sealer is not None
    return sealer


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("provenance")


@pytest.fixture(scope="module")
def settings(folder: Path) -> ProvenanceSettings:
    return configured(folder, "Ann")


@pytest.fixture(scope="module")
def sealer(settings: ProvenanceSettings) -> Sealer:
    return sealer_of(settings)


@pytest.fixture(scope="module")
def trusted(settings: ProvenanceSettings) -> Trusted:
    return read_trusted(settings)


@pytest.fixture(scope="module")
def plain(folder: Path) -> Path:
    return write(folder / "plain.mp4", pictures(1), comment=mark_text(RECIPE, JOB))


@pytest.fixture(scope="module")
def signed(folder: Path, plain: Path, sealer: Sealer) -> Path:
    path = folder / "signed.mp4"
    path.write_bytes(plain.read_bytes())
    assert sealer.seal(path, MADE)
    return path


FIXTURES = (folder, settings, sealer, trusted, plain, signed)
"""For a module of tests that takes them in under these names."""


def certified(folder: Path) -> dict[str, str]:
    """A fresh certificate in `folder`, as environment variables that name it."""
    folder.mkdir(parents=True)
    made = configured(folder, "Zoetrope")
    return {
        "ZOETROPE_PROVENANCE__CERTIFICATE": str(made.certificate),
        "ZOETROPE_PROVENANCE__KEY": str(made.key),
    }
