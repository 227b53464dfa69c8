"""Content credentials: what is signed verifies, and what is changed does not."""

import io
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import c2pa
import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from jobs.recipe import Recipe, Source
from jobs.requests.base import PREVIOUS
from jobs.requests.parallax import ParallaxRequest
from jobs.requests.speed import SpeedRequest
from jobs.requests.trim import TrimRequest
from media import c2pa_library, examine
from media.claims import credential_boxes
from media.containers import boxes
from media.essence import essence
from media.examine import Credential, Examined, Standing, verify
from media.identity import Trusted, read_trusted
from media.marks import recipe_of
from media.provenance import ALGORITHMIC, TRAINED, Made, Sealer
from tests.sealed import (
    CHECKPOINTS,
    FIXTURES,
    JOB,
    MADE,
    RECIPE,
    configured,
    pictures,
    sealer_of,
    shown,
    write,
)

folder, settings, sealer, trusted, plain, signed = FIXTURES

# What is signed


def test_a_signed_mp4_verifies_and_says_who_made_what(signed: Path, trusted: Trusted) -> None:
    credential, mark = verify(signed.read_bytes(), trusted)
    assert credential == Credential(standing=Standing.VALID, job_id=JOB, signer="Ann Content Credentials")
    assert mark is not None
    assert recipe_of(mark) == RECIPE
    assert mark["checkpoints"] == CHECKPOINTS


def test_c2pa_itself_finds_nothing_wrong_and_reads_how_it_was_made(signed: Path, trusted: Trusted) -> None:
    found = c2pa_library.read(signed.read_bytes(), trusted.anchors)
    manifest = found["manifests"][found["active_manifest"]]
    [created] = next(one["data"]["actions"] for one in manifest["assertions"] if one["label"] == "c2pa.actions.v2")
    [source] = manifest["ingredients"]
    assert (found["validation_state"], c2pa_library.failures(found)) == ("Trusted", frozenset())
    assert manifest["claim_generator_info"][0]["name"] == "Zoetrope"
    assert (created["action"], created["digitalSourceType"]) == ("c2pa.created", TRAINED)
    assert (source["relationship"], source["instance_id"]) == ("inputTo", f"urn:sha256:{'a' * 64}")
    assert len(created["parameters"]["ingredients"]) == 1


def test_what_no_trained_network_made_is_not_called_so(folder: Path, plain: Path, sealer: Sealer) -> None:
    path = folder / "camera-move.mp4"
    path.write_bytes(plain.read_bytes())
    recipe = RECIPE.model_copy(update={"steps": (ParallaxRequest(seed=1),)})
    assert sealer.seal(path, Made(JOB, "parallax-1.mp4", recipe))
    assert ALGORITHMIC.encode() in path.read_bytes()
    assert TRAINED.encode() not in path.read_bytes()


def test_a_clip_that_was_only_finished_has_the_clip_as_its_parent(
    folder: Path, plain: Path, sealer: Sealer, trusted: Trusted
) -> None:
    path = folder / "finished.mp4"
    path.write_bytes(plain.read_bytes())
    clip = Source(digest="c" * 64, kind="clip", width=320, height=192, num_frames=9, fps=Fraction(12))
    steps = (SpeedRequest(), TrimRequest(clip=PREVIOUS))
    assert sealer.seal(path, Made(JOB, "speed.mp4", Recipe(sources={"clip": clip}, steps=steps)))
    found = c2pa_library.read(path.read_bytes(), trusted.anchors)
    manifest = found["manifests"][found["active_manifest"]]
    actions = next(one["data"]["actions"] for one in manifest["assertions"] if one["label"] == "c2pa.actions.v2")
    assert [action["action"] for action in actions] == ["c2pa.opened", "c2pa.edited", "c2pa.edited"]
    assert [one["relationship"] for one in manifest["ingredients"]] == ["parentOf"]
    assert verify(path.read_bytes(), trusted)[0].standing is Standing.VALID


def test_signing_leaves_every_frame_as_it_was_and_the_index_in_front(plain: Path, signed: Path) -> None:
    assert shown(signed) == shown(plain)
    names = [box.name for box in boxes(signed.read_bytes())]
    assert names.index(b"moov") < names.index(b"mdat")


def test_how_much_a_file_grows_is_known_before_it_is_made(plain: Path, signed: Path, sealer: Sealer) -> None:
    grown = signed.stat().st_size - plain.stat().st_size
    assert grown == sealer.growth(MADE)
    assert grown < 5_000
    many = replace(MADE, checkpoints={"svd-xt": {f"{n}": "c" * 64 for n in range(30)}})
    assert sealer.growth(many) - grown > 30 * 64


def test_signing_twice_says_the_same(folder: Path, plain: Path, signed: Path, sealer: Sealer, trusted: Trusted) -> None:
    again = folder / "again.mp4"
    again.write_bytes(plain.read_bytes())
    assert sealer.seal(again, MADE)
    assert verify(again.read_bytes(), trusted) == verify(signed.read_bytes(), trusted)
    assert again.stat().st_size == signed.stat().st_size


def test_a_clip_that_cannot_be_signed_stays_as_it_was(folder: Path, sealer: Sealer) -> None:
    broken = folder / "broken.mp4"
    broken.write_bytes(b"\0\0\0\x10ftypisom\0\0\0\0 and no more")
    before = broken.read_bytes()
    assert not sealer.seal(broken, MADE)
    assert broken.read_bytes() == before
    assert not list(folder.glob("*.signed"))


# What is changed


def test_any_byte_changed_outside_the_credential_breaks_it(signed: Path, trusted: Trusted) -> None:
    data = bytearray(signed.read_bytes())
    [credential] = credential_boxes(bytes(data))
    places = np.random.default_rng(3).integers(0, len(data), 150).tolist()
    for box in boxes(bytes(data)):  # every byte of what C2PA's own hash leaves out
        places += range(box.begin, box.end) if box.name in (b"ftyp", b"free") else ()
    wrong = [at for at in places if not credential.begin <= at < credential.end and _holds(data, at, trusted)]
    assert wrong == []
    assert len(places) > 180


def _holds(data: bytearray, at: int, trusted: Trusted) -> bool:
    data[at] ^= 1
    try:
        return verify(bytes(data), trusted)[0].standing is Standing.VALID
    finally:
        data[at] ^= 1


@pytest.mark.parametrize("what", [JOB.encode(), b"9e43909", b"trainedAlgorithmicMedia", b"svd-5.mp4", b"a" * 64])
def test_whatever_a_credential_says_cannot_be_changed(signed: Path, trusted: Trusted, what: bytes) -> None:
    data = signed.read_bytes()
    [box] = credential_boxes(data)
    at = data.index(what, box.begin, box.end)
    changed = data[:at] + bytes([what[0] ^ 1]) + data[at + 1 :]
    assert verify(changed, trusted)[0].standing is Standing.ALTERED


def test_a_credential_moved_into_another_clip_does_not_hold(folder: Path, signed: Path, trusted: Trusted) -> None:
    data, other = signed.read_bytes(), write(folder / "other.mp4", pictures(2)).read_bytes()
    [box] = credential_boxes(data)
    [begin] = [one.end for one in boxes(other) if one.name == b"ftyp"]
    moved = other[:begin] + data[box.begin : box.end] + other[begin:]
    assert verify(moved, trusted)[0].standing is Standing.ALTERED


def test_what_another_signs_in_our_name_is_not_ours(folder: Path, plain: Path, trusted: Trusted) -> None:
    forged = folder / "forged.mp4"
    forged.write_bytes(plain.read_bytes())
    namesake = folder / "namesake"
    namesake.mkdir()
    assert sealer_of(configured(namesake, "Ann")).seal(forged, MADE)
    credential, mark = verify(forged.read_bytes(), trusted)
    assert (credential.standing, credential.job_id, mark) == (Standing.OTHERS, None, None)


def test_what_another_program_signs_on_top_of_ours_is_theirs(folder: Path, signed: Path, trusted: Trusted) -> None:
    other = sealer_of(configured(folder, "Editor")).identity
    out = io.BytesIO()
    with (
        c2pa.Signer.from_info(c2pa.C2paSignerInfo(b"es256", other.signing_chain, other.key, None)) as signer,
        c2pa.Builder({"claim_generator_info": [{"name": "Editor"}]}) as builder,
    ):
        builder.set_intent(c2pa.C2paBuilderIntent.EDIT)
        builder.sign(signer, "video/mp4", io.BytesIO(signed.read_bytes()), out)
    assert JOB.encode() in out.getvalue()  # ours lies within theirs
    credential, _ = verify(out.getvalue(), trusted)
    assert (credential.standing, credential.signer) == (Standing.OTHERS, "Editor Content Credentials")


def test_two_credentials_in_one_file_are_nobodys(signed: Path, trusted: Trusted) -> None:
    data = signed.read_bytes()
    [box] = credential_boxes(data)
    assert verify(data[: box.end] + data[box.begin :], trusted)[0].standing is not Standing.VALID


def test_what_a_certificate_signed_holds_after_its_last_day(folder: Path, plain: Path) -> None:
    path = folder / "short.mp4"
    path.write_bytes(plain.read_bytes())
    brief = configured(folder, "Brief", days=3 / 86_400)
    old = sealer_of(brief)
    assert old.seal(path, MADE)
    time.sleep(max(0.0, old.identity.chain[0].not_valid_after_utc.timestamp() + 1.1 - time.time()))
    credential, _ = verify(path.read_bytes(), read_trusted(brief))
    assert (credential.standing, credential.expired) == (Standing.VALID, True)
    late = folder / "late.mp4"
    late.write_bytes(plain.read_bytes())
    assert not old.seal(late, MADE)
    assert late.read_bytes() == plain.read_bytes()


KEYS: dict[str, Callable[[], Any]] = {
    "P-384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "P-521": lambda: ec.generate_private_key(ec.SECP521R1()),
    "Ed25519": ed25519.Ed25519PrivateKey.generate,
    "RSA": lambda: rsa.generate_private_key(65537, 2048),
}


@pytest.mark.parametrize("kind", KEYS)
def test_every_kind_of_key_that_c2pa_takes_is_recognised_again(folder: Path, plain: Path, kind: str) -> None:
    settings = configured(folder, kind, key=KEYS[kind]())
    path = folder / f"{kind}.mp4"
    path.write_bytes(plain.read_bytes())
    assert sealer_of(settings).seal(path, MADE)
    assert verify(path.read_bytes(), read_trusted(settings))[0].standing is Standing.VALID


# A process of its own


def test_a_file_is_examined_without_our_secrets(
    signed: Path, trusted: Trusted, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen_by_child = list[dict[str, str]]()
    run = subprocess.run

    def spy(*arguments: Any, **options: Any) -> Any:
        seen_by_child.append(options["env"])
        return run(*arguments, **options)

    monkeypatch.setenv("DISCORD_TOKEN", "secret")
    monkeypatch.setenv("ZOETROPE_PROVENANCE__KEY_PEM", "secret")
    monkeypatch.setattr(subprocess, "run", spy)
    seen = examine.examine(signed.read_bytes(), trusted)
    assert (seen.credential, seen.essence) == (verify(signed.read_bytes(), trusted)[0], essence(signed.read_bytes()))
    assert seen.looks is not None
    assert "secret" not in [value for environment in seen_by_child for value in environment.values()]


def test_a_file_that_kills_or_holds_its_examiner_is_unread_and_no_more(
    signed: Path, trusted: Trusted, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert examine.examine(signed.read_bytes(), trusted, seconds=0.01).credential.standing is Standing.UNREAD
    monkeypatch.setattr(sys, "executable", "/bin/false")
    assert examine.examine(signed.read_bytes(), trusted).credential.standing is Standing.UNREAD
    assert examine.examine(b"GIF89a", trusted) == Examined()


def test_damaged_credentials_never_raise(signed: Path, trusted: Trusted) -> None:
    data, random = signed.read_bytes(), np.random.default_rng(11)
    [box] = credential_boxes(data)
    standings = set[Standing]()
    for _ in range(150):
        damaged = bytearray(data)
        for at in random.integers(box.begin, box.end, 3).tolist():
            damaged[at] = int(random.integers(256))
        standings.add(verify(bytes(damaged[: random.integers(box.begin, len(data))]), trusted)[0].standing)
    assert Standing.VALID not in standings
    assert Standing.ALTERED in standings
