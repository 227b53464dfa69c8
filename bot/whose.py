"""**Who made this?** What a posted file gives away, weighed against what is remembered here."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum

from arq.connections import ArqRedis

from jobs import proofs
from jobs.errors import Note
from media.examine import Examined, Standing, examine
from media.fingerprint import nearest
from media.identity import Trusted
from media.marks import job_of
from media.store import digest_of


class Whose(StrEnum):
    """The four cases, and the one in which nobody can tell any more."""

    OURS = "ours"
    """Made here, and as it was when it was made."""
    STRIPPED = "stripped"
    """Made here; the pictures say so, what was said about them is gone."""
    ALTERED = "altered"
    """It carries our name, and it is not what was made here."""
    NOT_OURS = "not_ours"
    CLAIMED = "claimed"
    """It says that it was made here, and nothing is left to compare it with."""


class By(StrEnum):
    """What the answer rests on, the surest first."""

    CREDENTIAL = "credential"
    DIGEST = "digest"
    """It is bit for bit a file that was made here."""
    ESSENCE = "essence"
    """Its pictures and sound are bit for bit those of a file that was made here."""
    LOOKS = "looks"
    """It looks like one: likely, not certain."""
    MARK = "mark"
    """It says so."""
    NOTHING = "nothing"


FOUND_HERE = (By.DIGEST, By.ESSENCE, By.LOOKS)
"""The file itself does not say which job it was."""


@dataclass(frozen=True)
class Known:
    """What is remembered here that fits the file: the jobs found by its traces, and by what it claims."""

    by_digest: str | None = None
    by_essence: str | None = None
    by_looks: str | None = None
    claimed_is_known: bool = False
    """The job that its mark names is remembered, so its files are known and this is none of them."""


@dataclass(frozen=True)
class Answer:
    """Whose it is, which job made it or is said to have, and what that rests on."""

    whose: Whose
    by: By
    job_id: str | None = None
    signer: str = ""
    """Who else says so, where somebody else signed it."""
    expired: bool = False
    """The credential's certificate has run out since."""

    @property
    def note(self) -> Note:
        """For the person who asked: a code of `jobs.texts`, and its facts."""
        facts = {"job": self.job_id or ""}
        match self.whose, self.by:
            case Whose.OURS, By.CREDENTIAL:
                return Note("whose_ours_credential", facts)
            case Whose.OURS, _:
                return Note("whose_ours_digest", facts) if self.job_id else Note("whose_ours_elsewhere")
            case Whose.STRIPPED, By.LOOKS:
                return Note("whose_alike", facts) if self.job_id else Note("whose_alike_elsewhere")
            case Whose.STRIPPED, _:
                return Note("whose_stripped", facts) if self.job_id else Note("whose_stripped_elsewhere")
            case Whose.ALTERED, _:
                return Note("whose_altered", facts) if self.job_id else Note("whose_altered_unknown")
            case Whose.CLAIMED, _:
                return Note("whose_claimed", facts)
            case Whose.NOT_OURS, _:
                return Note("whose_others", {"signer": self.signer}) if self.signer else Note("whose_not_ours")


def judge(seen: Examined, known: Known) -> Answer:
    """Whose a file is. Proof goes before likeness, and likeness before what the file says of itself."""
    credential, claimed = seen.credential, job_of(seen.mark)
    expired = credential.expired
    if credential.standing is Standing.VALID:
        return Answer(Whose.OURS, By.CREDENTIAL, credential.job_id, expired=expired)
    if known.by_digest:
        return Answer(Whose.OURS, By.DIGEST, known.by_digest)
    if credential.standing is Standing.ALTERED:
        return Answer(Whose.ALTERED, By.CREDENTIAL, known.by_essence or credential.job_id)
    if known.by_essence:
        return Answer(Whose.STRIPPED, By.ESSENCE, known.by_essence)
    if seen.mark is not None and known.claimed_is_known:
        return Answer(Whose.ALTERED, By.MARK, claimed)
    if known.by_looks:
        return Answer(Whose.STRIPPED, By.LOOKS, known.by_looks)
    if seen.mark is not None:
        return Answer(Whose.CLAIMED, By.MARK, claimed)
    return Answer(Whose.NOT_OURS, By.NOTHING, signer=credential.signer)


class Asker:
    """Looks a file up: in a process of its own what it says, in Redis what is known of it."""

    def __init__(
        self,
        redis: ArqRedis,
        trusted: Trusted,
        look: Callable[[bytes, Trusted], Examined] = examine,
        at_once: int = 2,
    ) -> None:
        """`trusted` are our own certificates; at most `at_once` files are in memory at the same time."""
        self.redis = redis
        self.trusted = trusted
        self._look = look
        self._turns = asyncio.Semaphore(at_once)

    async def ask(self, fetch: Callable[[], Awaitable[bytes]]) -> Answer:
        """Whose the file is that `fetch` brings when its turn has come; takes about a second.

        Raises:
            Refusal: it cannot be fetched.
        """
        async with self._turns:
            data = await fetch()
            seen = await asyncio.to_thread(self._look, data, self.trusted)
            return judge(seen, await self._known(data, seen))

    async def _known(self, data: bytes, seen: Examined) -> Known:
        claimed = job_of(seen.mark)
        by_digest = await self._find(await asyncio.to_thread(digest_of, data))
        by_essence = await self._find(seen.essence)
        likeness = (
            None if by_digest or by_essence or not seen.looks else nearest(seen.looks, await proofs.prints(self.redis))
        )
        return Known(by_digest, by_essence, likeness, bool(claimed and await proofs.left_by(self.redis, claimed)))

    async def _find(self, digest: str | None) -> str | None:
        return await proofs.find(self.redis, digest) if digest else None
