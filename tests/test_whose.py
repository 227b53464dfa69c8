"""**Who made this?** answers rightly in its four cases, and says where it cannot."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import numpy as np
import pytest
from arq.connections import ArqRedis

from bot.whose import Answer, Asker, By, Known, Whose, judge
from jobs import proofs
from jobs.proofs import Traces
from jobs.queue import connect
from jobs.texts import say
from media import examine, fingerprint
from media.essence import essence
from media.examine import Credential, Examined, Standing
from media.identity import Trusted
from media.marks import mark_text, read_mark
from media.provenance import Made
from media.store import digest_of
from tests.sealed import (
    FIXTURES,
    JOB,
    RECIPE,
    configured,
    content,
    examine_here,
    looks,
    pictures,
    repacked,
    sealer_of,
    write,
)

folder, settings, sealer, trusted, plain, signed = FIXTURES


@pytest.fixture
async def redis(url: str) -> AsyncIterator[ArqRedis]:
    redis = await connect(url)
    await redis.flushall()
    yield redis
    await redis.aclose()


def brings(data: bytes) -> Callable[[], Awaitable[bytes]]:
    """A download of so many bytes."""

    async def fetch() -> bytes:
        return data

    return fetch


async def remembered(redis: ArqRedis, path: Path, seed: int = 1) -> None:
    data = content(path)
    await proofs.remember(redis, JOB, Traces(digest_of(data), essence(data), looks(pictures(seed))), 60)


async def test_ours_intact(redis: ArqRedis, signed: Path, plain: Path, trusted: Trusted) -> None:
    asker = Asker(redis, trusted)  # the one test that goes the whole way
    assert await asker.ask(brings(content(signed))) == Answer(Whose.OURS, By.CREDENTIAL, JOB)  # nothing remembered
    await remembered(redis, plain)
    assert await asker.ask(brings(content(plain))) == Answer(Whose.OURS, By.DIGEST, JOB)  # nothing signed


async def test_ours_stripped(redis: ArqRedis, signed: Path, trusted: Trusted, tmp_path: Path) -> None:
    await remembered(redis, signed)
    asker, stripped = Asker(redis, trusted, examine_here), repacked(signed, tmp_path / "stripped.mp4")
    assert read_mark(content(stripped)) is None
    assert await asker.ask(brings(content(stripped))) == Answer(Whose.STRIPPED, By.ESSENCE, JOB)
    phone = write(tmp_path / "phone.mp4", pictures(1), size=(160, 96), crf=34)
    assert await asker.ask(brings(content(phone))) == Answer(Whose.STRIPPED, By.LOOKS, JOB)


async def test_ours_altered(redis: ArqRedis, signed: Path, trusted: Trusted, tmp_path: Path) -> None:
    await remembered(redis, signed)
    changed = bytearray(content(signed))
    changed[-100] ^= 1
    asker = Asker(redis, trusted, examine_here)
    assert await asker.ask(brings(bytes(changed))) == Answer(Whose.ALTERED, By.CREDENTIAL, JOB)
    painted = [255 - frame for frame in pictures(1)]
    relabelled = write(tmp_path / "relabelled.mp4", painted, comment=mark_text(RECIPE, JOB))
    assert await asker.ask(brings(content(relabelled))) == Answer(Whose.ALTERED, By.MARK, JOB)


async def test_not_ours(redis: ArqRedis, signed: Path, trusted: Trusted, folder: Path, tmp_path: Path) -> None:
    await remembered(redis, signed)
    asker, foreign = Asker(redis, trusted, examine_here), write(tmp_path / "foreign.mp4", pictures(9))
    assert (await asker.ask(brings(content(foreign)))).whose is Whose.NOT_OURS
    elsewhere = Made("77", "clip.mp4", RECIPE)
    assert sealer_of(configured(folder, "Bob")).seal(foreign, elsewhere)
    answer = await asker.ask(brings(content(foreign)))
    assert (answer.whose, answer.job_id, answer.signer) == (Whose.NOT_OURS, None, "Bob Content Credentials")
    assert await asker.ask(brings(b"no clip at all")) == Answer(Whose.NOT_OURS, By.NOTHING)


async def test_who_is_forgotten_is_not_found_again(redis: ArqRedis, plain: Path, trusted: Trusted) -> None:
    await remembered(redis, plain)
    await proofs.forget(redis, [JOB])
    assert await redis.keys("*") == []
    assert (await Asker(redis, trusted, examine_here).ask(brings(content(plain)))).whose is Whose.CLAIMED


async def test_what_is_remembered_expires_and_the_first_maker_stays(redis: ArqRedis) -> None:
    await proofs.remember(redis, "1", Traces("d" * 64, None, "0" * 80), 60)
    await proofs.remember(redis, "2", Traces("d" * 64), 60)
    assert await proofs.find(redis, "d" * 64) == "1"
    assert await proofs.prints(redis) == [("1", "0" * 80)]
    assert [0 < await redis.ttl(key) <= 60 for key in await redis.keys("*")] == [True] * 3


def test_every_answer_has_its_sentence() -> None:
    mark = json.loads(mark_text(RECIPE, JOB))
    altered = Credential(standing=Standing.ALTERED)
    answers = [
        judge(Examined(credential=Credential(standing=Standing.VALID, job_id=JOB)), Known()),
        judge(Examined(credential=altered), Known()),
        judge(Examined(credential=Credential(standing=Standing.ALTERED, job_id=JOB)), Known()),
        judge(Examined(credential=Credential(standing=Standing.OTHERS, signer="Bob")), Known()),
        judge(Examined(mark=mark), Known()),
        judge(Examined(mark=mark), Known(claimed_is_known=True)),
        judge(Examined(), Known(by_digest=JOB)),
        judge(Examined(), Known(by_essence=JOB)),
        judge(Examined(), Known(by_looks=JOB)),
        judge(Examined(), Known()),
    ]
    sentences = [say(answer.note.code, answer.note.facts) for answer in answers]
    assert len({*sentences}) == 9  # two of the altered ones read the same
    assert all(
        JOB in sentence for sentence, answer in zip(sentences, answers, strict=True) if answer.whose is Whose.OURS
    )


# Looks


def test_looks_survive_a_phone_and_tell_other_clips_apart(tmp_path: Path) -> None:
    prints = {seed: looks(pictures(seed)) for seed in range(8)}
    again = [
        examine.looks_of(write(tmp_path / "a.mp4", pictures(seed), size=(160, 90), crf=36).read_bytes())
        for seed in range(4)
    ]
    same = [fingerprint.distance(prints[seed] or "", again[seed] or "") for seed in range(4)]
    other = [fingerprint.distance(prints[one] or "", prints[two] or "") for one in range(8) for two in range(one)]
    assert max(same) <= fingerprint.ALIKE // 2
    assert min(other) > 2 * fingerprint.ALIKE


def test_a_clip_of_one_colour_looks_like_nothing() -> None:
    grey = [np.full((64, 64, 3), 90, np.uint8)] * 12
    assert looks(grey) is None
