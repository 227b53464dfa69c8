"""The board never asks Discord for more than it gives, and never keeps back what it could have asked."""

import random
from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.pace import ALL, EDITS, OLD_EDITS, POSTS, Allowance, Pace, Urgency


class Hand:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """The instant."""
        return self.now


@pytest.fixture
def clock() -> Hand:
    return Hand()


@pytest.fixture
def pace(clock: Hand) -> Pace:
    return Pace(clock)


def edits_now(pace: Pace, urgency: Urgency, *, old: bool = False) -> int:
    """How many edits of one channel are let through at once, each answered before the next."""
    count = 0
    while count < 100 and pace.may_edit("55", urgency, old=old):
        with pace.edit("55", old=old):
            count += 1
    return count


def windows(starts: list[float], seconds: float, begin: float) -> list[int]:
    """As Discord counts: a window begins with a request that finds none open."""
    counts: list[int] = []
    ends = begin
    for at in starts:
        if at >= ends:
            counts.append(0)
            ends = at + seconds
        counts[-1] += 1
    return counts


@given(st.lists(st.floats(0, 3), min_size=1, max_size=60))
def test_no_window_of_discords_ever_holds_a_sixth_edit(pauses: list[float]) -> None:
    clock, starts = Hand(), list[float]()
    pace = Pace(clock)
    for pause in pauses:
        clock.now += pause
        for _ in range(3):
            if pace.may_edit("55", Urgency.END):
                with pace.edit("55"):
                    starts.append(clock.now)

    assert max(windows(starts, 5.0, starts[0])) <= 5


def test_under_pressure_nearly_an_edit_a_second_goes_through(pace: Pace, clock: Hand) -> None:
    count = 0
    for _ in range(6000):
        clock.now += 0.1
        if pace.may_edit("55", Urgency.MUST):
            with pace.edit("55"):
                count += 1

    assert count / 600 > 0.94


def test_what_may_wait_leaves_room_for_what_must_be_said(pace: Pace, clock: Hand) -> None:
    assert edits_now(pace, Urgency.MAY) == 3
    assert edits_now(pace, Urgency.MUST) == 2
    assert edits_now(pace, Urgency.END) == 0

    clock.now += EDITS.seconds
    assert edits_now(pace, Urgency.END) == 5


def test_channels_do_not_wait_for_each_other(pace: Pace) -> None:
    assert edits_now(pace, Urgency.END) == 5
    assert pace.may_edit("56", Urgency.MAY)
    assert pace.may_post("55")


def test_posts_leave_room_for_clips(pace: Pace) -> None:
    for leaves, more in ((3, 2), (1, 2)):
        count = 0
        while pace.may_post("55", leaves=leaves):
            with pace.post("55"):
                count += 1
        assert count == more

    assert POSTS.requests - 4 == 1


def test_everything_together_stays_below_discords_fifty_a_second(pace: Pace, clock: Hand) -> None:
    started: deque[float] = deque()
    for number in range(2000):
        clock.now += random.Random(number).random() * 0.01
        channel = str(number % 300)
        if pace.may_edit(channel, Urgency.END):
            with pace.edit(channel):
                started.append(clock.now)

    busiest = max(sum(at <= other < at + 1 for other in started) for at in started)
    assert 0.9 * ALL.requests <= busiest <= ALL.requests < 50


def test_messages_older_than_an_hour_are_edited_seldom(pace: Pace, clock: Hand) -> None:
    assert edits_now(pace, Urgency.END, old=True) == OLD_EDITS.requests
    assert pace.may_edit("55", Urgency.END), "a young message need not wait for old ones"

    clock.now += EDITS.seconds
    assert not pace.may_edit("55", Urgency.END, old=True)
    clock.now += OLD_EDITS.seconds
    assert pace.may_edit("55", Urgency.MAY, old=True)


def test_few_requests_are_under_way_at_once(clock: Hand) -> None:
    allowance = Allowance(EDITS, clock)
    for _ in range(EDITS.at_once):
        assert allowance.room()
        allowance.begin()
    assert not allowance.room()

    allowance.end()
    assert allowance.room()


def test_a_request_that_fails_ends_too(pace: Pace) -> None:
    for _ in range(3):
        with pytest.raises(OSError, match="away"), pace.edit("55"):
            raise OSError("away")

    assert edits_now(pace, Urgency.END) == 2


def test_what_is_idle_is_forgotten_and_what_is_not_stays(pace: Pace, clock: Hand) -> None:
    edits_now(pace, Urgency.END)
    pace.forget_idle()
    assert not pace.may_edit("55", Urgency.END)

    clock.now += EDITS.seconds
    under_way = pace.edit("56")
    pace.forget_idle()
    assert edits_now(pace, Urgency.END) == 5
    with under_way:
        pass
