"""What a status message claims: what of it is false, what could be said better, and that it can be read back."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot import wording
from bot.claims import (
    BOUNDS,
    BRIEF_SECONDS,
    EXACT,
    SOON_SECONDS,
    Claim,
    Lag,
    Phase,
    bound,
    claim,
    lag,
)
from bot.pace import Urgency
from jobs.errors import Note
from jobs.forecast import Expected
from jobs.record import Job, Progress, State
from tests.queued import CLIP, submission

NOW = 1_800_000_000
LATER = NOW + 300


def job(state: State = State.WAITING, *, name: str = "ann", **rest: object) -> Job:
    return Job.model_validate({"submission": submission(name=name), "state": state, **rest})


def running(stage: str = "denoising", step: int = 3, total: int = 25) -> Job:
    progress = Progress(job_id="1001", stage=stage, step=step, total=total)
    return job(State.RUNNING, progress=progress)


def expected(ahead: int = 0, *, starts_s: float = NOW + 60, ends_s: float = NOW + 90, reason: str = "") -> Expected:
    return Expected(ahead=ahead, starts_ms=round(starts_s * 1000), ends_ms=round(ends_s * 1000), reason=reason)


def why(said: Claim | None, true: Claim, *, now: float = NOW, crowded: bool = False) -> Lag | None:
    return lag(said, true, now, crowded=crowded)


# --- what is claimed ---


def test_in_a_quiet_channel_the_next_few_are_counted_one_by_one_and_the_others_are_bounded() -> None:
    places = [claim(job(), expected(ahead), NOW, crowded=False) for ahead in range(30)]

    assert [said.below for said in places[: EXACT + 1]] == [None] * (EXACT + 1)
    assert all(said.below is not None and said.below > said.ahead for said in places[EXACT + 1 :] if said.ahead)


def test_in_a_crowd_places_are_counted_only_where_the_line_moves_slowly() -> None:
    quick = claim(job(), expected(2, starts_s=NOW + 12), NOW, crowded=True)
    slow = claim(job(), expected(2, starts_s=NOW + 60), NOW, crowded=True)

    assert (quick.below, slow.below) == (5, None)


@given(st.integers(0, 3000), st.booleans())
def test_a_bound_holds_though_somebody_overtakes(ahead: int, crowded: bool) -> None:
    assert bound(ahead, crowded=crowded) >= ahead + 2 + ahead // 10


@given(st.integers(0, 3000))
def test_a_crowds_bound_holds_though_a_third_of_those_ahead_fall_in_before(ahead: int) -> None:
    assert bound(ahead, crowded=True) >= ahead + ahead // 3


def test_bounds_are_few_so_that_a_shrinking_line_needs_few_edits() -> None:
    said = [bound(ahead, crowded=False) for ahead in range(900, -1, -1)]

    assert sum(earlier != later for earlier, later in pairwise(said)) < len(BOUNDS)
    assert said == sorted(said, reverse=True)


def test_what_is_ready_within_seconds_is_ready_any_moment() -> None:
    at_once = claim(running(), expected(ends_s=NOW + SOON_SECONDS - 1.5), NOW, crowded=False)
    then = claim(running(), expected(ends_s=NOW + SOON_SECONDS + 1), NOW, crowded=False)

    assert (at_once.soon, at_once.ready_s) == (True, None)
    assert (then.soon, then.ready_s) == (False, NOW + SOON_SECONDS + 1)


@pytest.mark.parametrize(
    ("record", "phase"),
    [
        (job(), Phase.WAITING),
        (job(State.RUNNING), Phase.RUNNING),
        (running(), Phase.RUNNING),
        (job(State.RUNNING, cancel_by="7"), Phase.STOPPING),
        (job(State.RENDERED, outcome=CLIP), Phase.SENDING),
    ],
)
def test_the_phase_is_the_records(record: Job, phase: Phase) -> None:
    assert claim(record, None, NOW, crowded=False).phase is phase


@pytest.mark.parametrize(("reason", "phase"), [("paused", Phase.HELD), ("no_worker", Phase.UNSERVED)])
def test_a_job_that_cannot_start_says_since_when(reason: str, phase: Phase) -> None:
    assert claim(job(), expected(reason=reason), NOW + 0.7, crowded=False) == Claim(phase, since_s=NOW)


# --- what is false ---

WAITING = Claim(Phase.WAITING, ahead=2, ready_s=LATER)
BOUNDED = Claim(Phase.WAITING, ahead=12, below=15, ready_s=LATER)
RUNNING = Claim(Phase.RUNNING, ready_s=LATER, stage="denoising", step=3, total=25)


@pytest.mark.parametrize("said", [WAITING, BOUNDED, RUNNING, Claim(Phase.SENDING), Claim(Phase.HELD, since_s=NOW)])
def test_what_is_so_needs_no_edit(said: Claim) -> None:
    assert why(said, said) is None


def test_a_bound_is_false_only_once_as_many_are_ahead() -> None:
    assert why(BOUNDED, replace(BOUNDED, ahead=14)) is None
    assert why(BOUNDED, replace(BOUNDED, ahead=11)) is None
    assert why(BOUNDED, replace(BOUNDED, ahead=15, below=20)) is Lag.FALSE


def test_a_counted_place_is_false_as_soon_as_it_is_another() -> None:
    assert why(WAITING, replace(WAITING, ahead=1)) is Lag.FALSE
    assert why(WAITING, replace(WAITING, ahead=3)) is Lag.FALSE


def test_a_time_is_false_once_it_has_passed_and_not_because_the_forecast_moved() -> None:
    assert why(WAITING, replace(WAITING, ready_s=LATER + 40)) is None
    assert why(WAITING, replace(WAITING, ready_s=LATER + 400), now=LATER + 1) is Lag.PASSED


@pytest.mark.parametrize(
    ("said", "true"),
    [
        (WAITING, RUNNING),
        (RUNNING, replace(RUNNING, stage="decoding")),
        (RUNNING, Claim(Phase.SENDING)),
        (RUNNING, Claim(Phase.STOPPING)),
        (RUNNING, WAITING),  # the worker died, and the job is in line again
        (Claim(Phase.HELD, since_s=NOW), RUNNING),
    ],
)
def test_a_stage_that_has_ended_is_false(said: Claim, true: Claim) -> None:
    assert why(said, true) is Lag.STAGE
    assert Lag.STAGE.urgency is Urgency.MUST


def test_in_a_crowd_a_job_that_is_soon_over_lets_others_go_first_for_some_seconds() -> None:
    """Its end is told at once in any case; by then nobody has missed its stages."""
    ending = replace(RUNNING, ready_s=NOW + BRIEF_SECONDS)
    assert why(WAITING, ending, crowded=True) is Lag.PASSING
    assert why(WAITING, replace(ending, ready_s=None, soon=True), crowded=True) is Lag.PASSING
    assert Lag.PASSING.urgency is Urgency.MAY
    assert Lag.PASSING.presses

    assert why(WAITING, ending, crowded=False) is Lag.STAGE
    assert why(WAITING, RUNNING, crowded=True) is Lag.STAGE, "it goes on for long"
    assert why(WAITING, Claim(Phase.STOPPING), crowded=True) is Lag.STAGE, "somebody waits for that"
    assert why(replace(WAITING, ready_s=NOW - 1), ending, crowded=True) is Lag.STAGE, "the time is false as well"


def test_on_hold_nobody_is_counted_so_places_are_not_false() -> None:
    held = Claim(Phase.HELD, since_s=NOW)
    assert why(WAITING, held) is Lag.DRIFTED
    assert why(held, replace(held, since_s=NOW + 60)) is None, "the date is that of the first look"
    assert why(held, WAITING) is Lag.DRIFTED


def test_what_nobody_knows_is_said_again_first_where_it_runs() -> None:
    assert why(None, RUNNING) is Lag.STAGE
    assert why(None, WAITING) is Lag.UNKNOWN


# --- what could be said better ---


def test_a_bar_moves_when_there_is_room_and_presses_after_some_seconds() -> None:
    assert why(RUNNING, replace(RUNNING, step=4)) is Lag.PROGRESS
    assert Lag.PROGRESS.urgency is Urgency.MAY
    assert Lag.PROGRESS.presses


def test_a_place_that_can_be_told_more_closely_may_wait() -> None:
    assert why(BOUNDED, replace(BOUNDED, ahead=2, below=5)) is Lag.LOOSE
    assert why(BOUNDED, replace(BOUNDED, ahead=2, below=None)) is Lag.LOOSE


def test_a_later_end_is_told_sooner_than_an_earlier_one() -> None:
    assert why(WAITING, replace(WAITING, ready_s=LATER + 200)) is Lag.DRIFTED
    assert why(WAITING, replace(WAITING, ready_s=LATER - 200)) is Lag.LOOSE
    assert Lag.DRIFTED.patience_seconds < Lag.LOOSE.patience_seconds


def test_any_moment_is_taken_back_where_it_is_minutes() -> None:
    soon = replace(RUNNING, ready_s=None, soon=True)
    assert why(soon, replace(RUNNING, ready_s=NOW + 10)) is None
    assert why(soon, replace(RUNNING, ready_s=NOW + 90)) is Lag.DRIFTED


def test_what_is_false_goes_before_what_could_say_more() -> None:
    false = {Lag.FALSE, Lag.STAGE, Lag.PASSED}

    assert {each for each in Lag if each.urgency is Urgency.MUST} == false
    assert all(each.patience_seconds + each.gap_seconds < 10 for each in false), "or nothing could be told within 10 s"


# --- read back from its text ---

seconds = st.integers(0, 2**33)
ready = st.one_of(st.just({}), st.builds(lambda at: {"ready_s": at}, seconds), st.just({"soon": True}))
places = st.one_of(
    st.just({}),
    st.builds(lambda ahead: {"ahead": ahead}, st.integers(0, 99)),
    st.builds(lambda below: {"ahead": below - 1, "below": below}, st.sampled_from(BOUNDS)),
)
steps = st.builds(lambda step, more: {"step": step, "total": step + more}, st.integers(0, 50), st.integers(2, 50))
bars = st.one_of(st.just({}), steps)
stages = st.sampled_from(["", "warming up", *wording.STAGES])
claims = st.one_of(
    st.builds(lambda place, when: Claim(Phase.WAITING, **place, **when), places, ready),
    st.builds(lambda at: Claim(Phase.HELD, since_s=at), seconds),
    st.builds(lambda at: Claim(Phase.UNSERVED, since_s=at), seconds),
    st.builds(lambda stage, when, bar: Claim(Phase.RUNNING, stage=stage, **when, **bar), stages, ready, bars),
    st.just(Claim(Phase.STOPPING)),
    st.just(Claim(Phase.SENDING)),
)
names = st.one_of(
    st.sampled_from(
        [
            "ann", "", ": queued, next in line", "**bold**", "`code`", "a: b: c", "<t:1:R>", "x: on its way…",
            "it: queued, 5 ahead, ready <t:1:R>", "⏳ **svd** for me: queued", "🎞️", ", ready any moment", "\\",
        ]
    ),
    st.text(st.characters(exclude_characters="\n\r", exclude_categories=("Cs",)), max_size=40),
)  # fmt: skip


@given(claims, names, st.booleans())
def test_after_a_restart_a_message_is_read_back_as_it_was_meant(said: Claim, name: str, noted: bool) -> None:
    text = wording.status(job(name=name), said)
    if noted:
        text += wording.notes([Note("chosen_for_you", {"system": "svd"})])

    assert wording.claimed(text) == said


@pytest.mark.parametrize(
    "text", ["", "hello", "✅ **svd** for ann: done in 3.0 s", "⏳ **svd** for ann: something of tomorrow's", "⏳"]
)
def test_what_cannot_be_read_is_not_guessed(text: str) -> None:
    assert wording.claimed(text) is None


@given(claims)
def test_a_message_is_a_line_or_two(said: Claim) -> None:
    text = wording.status(job(), said)

    assert text.count("\n") == (said.total > 0)
    assert len(text) < 150
