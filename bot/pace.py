"""How fast the board may talk to Discord, and what is said first.

Discord lets a bot edit about five messages in five seconds in one channel, post as many, and make 50 requests a second
in all (docs, topics/rate-limits; the fives are what its headers say). It counts in windows that begin with the first
request. Whoever never starts more than five in *any* five seconds fits every window, wherever it begins; a little is
added because requests take different times on their way. discord.py reads the headers as well and waits by itself, but
in the order of asking: what waits here can still be overtaken by something more urgent, or be said together with it.
"""

import time
from collections import deque
from collections.abc import Callable, Hashable, Iterable
from contextlib import ExitStack
from enum import IntEnum
from typing import NamedTuple

Clock = Callable[[], float]


class Rate(NamedTuple):
    """So many requests may start in any so many seconds, and so many be under way at once."""

    requests: int
    seconds: float
    at_once: int


EDITS = Rate(5, 5.25, at_once=2)
POSTS = Rate(5, 5.25, at_once=2)
OLD_EDITS = Rate(2, 20.0, at_once=1)
"""Of messages older than an hour: others report error 30046 after three in about 20 s; Discord names no number."""
ALL = Rate(40, 1.0, at_once=40)
"""Below Discord's 50: deliveries and commands want to be heard as well."""
OLD_SECONDS = 55 * 60.0


class Urgency(IntEnum):
    """What is said first. The more urgent may use all of a channel's rate, the less urgent leave some of it."""

    END = 0
    """A job is over: nobody should wait for what has come."""
    MUST = 1
    """The message says something that is not so."""
    MAY = 2
    """What it says is true, and it could say more."""

    @property
    def leaves(self) -> int:
        """So many requests of a channel's rate stay free for what is more urgent."""
        return 2 if self is Urgency.MAY else 0


class Allowance:
    """Keeps to one rate. Who saw that there is `room` may `begin`, and says when it has come to its `end`."""

    def __init__(self, rate: Rate, clock: Clock = time.monotonic) -> None:
        self.rate = rate
        self._clock = clock
        self._begun: deque[float] = deque()
        self._under_way = 0

    def room(self, leaves: int = 0) -> bool:
        """Whether a request may start now, so that `leaves` more could follow it at once."""
        left = self.rate.requests - self._lately()
        return self._under_way < self.rate.at_once and left > min(leaves, self.rate.requests - 1)

    def begin(self) -> None:
        """A request starts."""
        self._begun.append(self._clock())
        self._under_way += 1

    def end(self) -> None:
        """It was answered, or will never be."""
        self._under_way -= 1

    @property
    def idle(self) -> bool:
        """Whether it holds nothing worth keeping."""
        return not self._lately() and not self._under_way

    def _lately(self) -> int:
        """Requests that started within the rate's seconds."""
        while self._begun and self._clock() - self._begun[0] >= self.rate.seconds:
            self._begun.popleft()
        return len(self._begun)


class Pace:
    """Every rate that holds for the board: of edits and of posts in each channel, and of everything together."""

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._all = Allowance(ALL, clock)
        self._each: dict[Hashable, Allowance] = {}

    def may_edit(self, channel: str, urgency: Urgency, *, old: bool = False) -> bool:
        """Whether an edit may start now. `old`: its message is older than an hour, or nearly."""
        return all(allowance.room(urgency.leaves) for allowance in self._edits(channel, old=old))

    def may_post(self, channel: str, *, leaves: int = 1) -> bool:
        """Whether a status message may be posted now; what it leaves is for clips, which count as well."""
        return all(allowance.room(leaves) for allowance in self._posts(channel))

    def edit(self, channel: str, *, old: bool = False) -> ExitStack:
        """An edit starts now; it ends with the block."""
        return _begun(self._edits(channel, old=old))

    def post(self, channel: str) -> ExitStack:
        """A post starts now; it ends with the block."""
        return _begun(self._posts(channel))

    def forget_idle(self) -> None:
        """Drop what is kept of channels in which nothing happens."""
        self._each = {name: allowance for name, allowance in self._each.items() if not allowance.idle}

    def _edits(self, channel: str, *, old: bool) -> list[Allowance]:
        rates = [self._all, self._of(("edit", channel), EDITS)]
        return [*rates, self._of(("old", channel), OLD_EDITS)] if old else rates

    def _posts(self, channel: str) -> list[Allowance]:
        return [self._all, self._of(("post", channel), POSTS)]

    def _of(self, name: Hashable, rate: Rate) -> Allowance:
        return self._each.setdefault(name, Allowance(rate, self._clock))


def _begun(allowances: Iterable[Allowance]) -> ExitStack:
    under_way = ExitStack()
    for allowance in allowances:
        allowance.begin()
        under_way.callback(allowance.end)
    return under_way
