"""What people read of the queue and of themselves: `/queue`, `/me`, the question of costs. Functions of values."""

import re
from collections.abc import Mapping
from types import SimpleNamespace
from typing import cast

import discord
import pytest

from bot.amounts import clock, counted, gpu, lasting
from bot.asked import name_of
from bot.confirm import Prepared, question
from commands.line import Spent, View, choice_text, page, plain, short, spent, view, why
from commands.standing import Standing, midnight, standing_text
from jobs.forecast import Expected
from jobs.line import Line, Running, Waiting
from jobs.queue import Usage
from jobs.record import Job, Progress, State
from jobs.terms import Terms
from tests.queued import submission

NOW_MS = 1_700_000_000_000
ANN, BOB, EVE = "7", "8", "9"
NAMES = {ANN: "ann", BOB: "bob", EVE: "eve"}
HERE, THERE = "5", "6"
USUAL = Terms()


def waits(job_id: str, person: str, *, guild: str = HERE, cost_ms: int = 60_000, held: bool = False) -> Waiting:
    return Waiting(job_id, guild, person, "55", "parallax", cost_ms, int(job_id), held)


def runs(job_id: str, person: str, *, guild: str = HERE, since_ms: int = 20_000) -> Running:
    return Running(job_id, guild, person, "55", "parallax", 60_000, "w1", NOW_MS - since_ms)


def line(*jobs: Waiting | Running) -> Line:
    waiting = tuple(job for job in jobs if isinstance(job, Waiting))
    return Line(NOW_MS, 0.0, {}, waiting, tuple(job for job in jobs if isinstance(job, Running)))


def in_minutes(**starts: float) -> dict[str, Expected]:
    """`_12=3`: job 12 starts in three minutes and is done a minute later."""
    return {
        job_id[1:]: Expected(0, round(NOW_MS + minutes * 60_000), round(NOW_MS + (minutes + 1) * 60_000))
        for job_id, minutes in starts.items()
    }


def records(*jobs: Waiting | Running, **more: object) -> dict[str, Job]:
    found: dict[str, Job] = {}
    for job in jobs:
        state = State.RUNNING if isinstance(job, Running) else State.WAITING
        asked = submission(job.id, person=job.person, name=NAMES[job.person])
        found[job.id] = Job(submission=asked, state=state, status_message=f"90{job.id}").model_copy(update=more)
    return found


def seen_by(
    person: str, *jobs: Waiting | Running, guild: str | None = HERE, paused: tuple[str, ...] = (), **starts: float
) -> View:
    return view(line(*jobs), in_minutes(**starts), paused, guild, person)


def page_of(seen: View, jobs: Mapping[str, Job], lately: Spent | None = None, terms: Terms = USUAL) -> str:
    return page(seen, 0, jobs, lately or Spent(0), terms)


# --- the line ---


def test_the_line_shows_what_runs_then_who_is_next_and_marks_mine() -> None:
    jobs = (waits("3", ANN), waits("2", BOB), runs("1", EVE))
    running = records(*jobs)
    running["1"] = running["1"].model_copy(update={"progress": Progress(job_id="1", stage="moving", step=12, total=24)})
    text = page_of(seen_by(ANN, *jobs, _1=0, _2=1, _3=2), running)

    assert text.splitlines()[:4] == [
        "**In line here** · 1 running · 2 waiting",
        "🎞️ parallax · eve · `▰▰▰▰▱▱▱▱` 12/24 · done <t:1700000060:R>",
        "`1` parallax · bob · starts <t:1700000060:R>",
        "`2` [**parallax · you**](https://discord.com/channels/5/55/903) · starts <t:1700000120:R>",
    ]


def test_others_jobs_of_other_servers_are_counted_and_never_named() -> None:
    jobs = (waits("1", BOB, guild=THERE, cost_ms=90_000), runs("2", EVE, guild=THERE), waits("3", ANN))
    text = page_of(seen_by(ANN, *jobs, _1=1, _2=0, _3=3), records(*jobs))

    assert "bob" not in text
    assert "eve" not in text
    assert "-# Before yours: 2 jobs of other servers, about 2 minutes of GPU." in text


def test_where_nothing_of_mine_waits_other_servers_jobs_are_all_counted() -> None:
    jobs = (waits("1", BOB, guild=THERE), waits("2", EVE))
    text = page_of(seen_by(ANN, *jobs, _1=1, _2=0), records(*jobs))

    assert "-# In the same line: 1 job of other servers, about 60 seconds of GPU." in text


def test_in_a_direct_message_one_sees_ones_own_jobs_of_all_servers() -> None:
    jobs = (waits("1", ANN, guild=THERE), waits("2", ANN), waits("3", BOB))
    text = page_of(seen_by(ANN, *jobs, guild=None, _1=2, _2=1, _3=0), records(*jobs))

    assert re.findall(r"/90(\d)\)", text) == ["2", "1"]
    assert "bob" not in text
    assert "1 job of other people" in text


def test_nobody_in_line_is_said() -> None:
    assert page_of(seen_by(ANN), {}) == "**Nothing of this server waits or runs.**"
    assert page_of(seen_by(ANN, guild=None), {}) == "**You have no job waiting or running.**"


@pytest.mark.parametrize("scope", ["all", "guild:5", "channel:55"])
def test_a_paused_job_says_so_at_once_and_goes_behind_those_that_start(scope: str) -> None:
    """The queue holds a job as its turn comes; a person need not wait so long to be told."""
    jobs = (waits("1", ANN), Waiting("2", HERE, BOB, "56", "parallax", 60_000, 2))
    seen = seen_by(ANN, *jobs, paused=(scope,), _1=0, _2=1)
    lines = page_of(seen, records(*jobs)).splitlines()

    assert [row.job.id for row in seen.rows] == (["2", "1"] if scope == "channel:55" else ["1", "2"])
    assert next(line for line in lines if "you" in line).endswith("⏸️ paused")
    assert any("paused here; your jobs keep their places" in line for line in lines)


def test_a_job_nobody_can_run_says_so() -> None:
    jobs = (waits("1", ANN),)
    seen = view(line(*jobs), {"1": Expected(0, 0, 0, "no_worker")}, (), HERE, ANN)
    text = page_of(seen, records(*jobs))

    assert "🔌 no machine for it is online" in text
    assert "/cancel takes it out" in text


def test_a_job_nothing_is_known_of_yet_just_waits() -> None:
    jobs = (waits("1", ANN),)

    assert page_of(seen_by(ANN, *jobs), records(*jobs)).splitlines()[1].endswith("· waiting")


def test_a_stopping_job_and_one_without_progress_are_said_as_they_are() -> None:
    jobs = (runs("1", ANN), runs("2", BOB))
    shown = records(*jobs)
    shown["1"] = shown["1"].model_copy(update={"cancel_by": ANN})
    text = page_of(seen_by(ANN, *jobs, _1=0, _2=0), shown)

    assert "you**](https://discord.com/channels/5/55/901) · stopping…" in text
    assert "bob · starting…" in text


def test_pages_hold_ten_and_fit_a_message_however_names_and_links_look() -> None:
    jobs = [waits(str(1000 + number), ANN if number % 2 else BOB) for number in range(25)]
    long = {job.id: record for job in jobs for record in records(job).values()}
    long = {
        job_id: record.model_copy(
            update={
                "submission": record.submission.model_copy(
                    update={
                        "requester": record.submission.requester.model_copy(update={"name": "\\_" * 40}),
                        "channel": record.submission.channel.model_copy(update={"id": "1" * 19, "guild_id": "2" * 19}),
                    }
                ),
                "status_message": "3" * 19,
            }
        )
        for job_id, record in long.items()
    }
    seen = seen_by(ANN, *jobs, **{f"_{job.id}": index for index, job in enumerate(jobs)})
    pages = [page(seen, number, long, Spent(10**9, 10**9), Terms(weight=2.5, running=1)) for number in range(3)]

    assert seen.pages == 3
    assert [text.count("\n`") for text in pages] == [10, 10, 5]
    assert "`11`" in pages[1]
    assert max(map(len, pages)) < 2000
    assert page(seen, 9, long, Spent(0), USUAL) == page(seen, 2, long, Spent(0), USUAL)


def test_a_page_of_nothing_but_my_own_links_fits_a_message() -> None:
    jobs = [waits(str(1000 + number), ANN) for number in range(10)]
    shown = records(*jobs)
    for job_id, record in shown.items():
        channel = record.submission.channel.model_copy(update={"id": "1" * 20, "guild_id": "2" * 20})
        asked = record.submission.model_copy(update={"channel": channel})
        shown[job_id] = record.model_copy(update={"submission": asked, "status_message": "3" * 20})
    seen = seen_by(ANN, *jobs, waits("1", BOB, guild=THERE), _1=0, **{f"_{job.id}": 1 for job in jobs})

    assert len(page_of(seen, shown, Spent(10**9, 10**8), Terms(weight=0.25, running=1))) < 2000


def test_a_forgotten_job_is_left_out() -> None:
    jobs = (waits("1", ANN), waits("2", BOB))
    text = page_of(seen_by(ANN, *jobs, _1=0, _2=1), records(jobs[1]))

    assert "bob" in text
    assert "you**" not in text


@pytest.mark.parametrize(
    ("typed", "shown"),
    [
        ("ann", "ann"),
        ("snake\\_case", "snake\\_case"),
        ("a" * 40, "a" * 23 + "…"),
        ("\\_" * 40, "\\_" * 23 + "…"),
        ("@everyone", "@\u200beveryone"),
        ("two\nlines", "two lines"),
    ],
)
def test_a_name_is_short_and_neither_formats_nor_pings(typed: str, shown: str) -> None:
    assert short(typed) == shown
    assert short(shown) == shown, "once more changes nothing"


TURNING = "\u202e\u2067\u200f\u061cnna\u2069\u202c\u200e"
"""A name that turns the row behind it."""


def test_a_name_turns_no_text() -> None:
    assert (short(TURNING), plain(TURNING)) == ("nna", "nna")


@pytest.mark.parametrize(("shown", "kept"), [(TURNING, "nna"), ("\u202e \u2066", "ann"), ("a_b", "a\\_b")])
def test_a_name_is_kept_without_what_turns_text(shown: str, kept: str) -> None:
    user = cast("discord.User", SimpleNamespace(id=7, name="ann", display_name=shown))

    assert name_of(user) == kept


def test_a_name_in_plain_text_has_no_backslashes() -> None:
    assert plain("snake\\_case \\*star\\*") == "snake_case *star*"


# --- why ---


def test_why_says_what_i_used_beside_the_average() -> None:
    seen = seen_by(ANN, waits("1", ANN), waits("2", BOB), _1=0, _2=1)
    less = why(seen.mine, spent(seen, {ANN: 40_000, BOB: 150_000}), USUAL)
    more = why(seen.mine, spent(seen, {ANN: 150_000}), USUAL)

    assert less == [
        "You used 40 GPU-seconds here in the last hour, the average is 95: "
        "your turn comes before that of people who used more."
    ]
    assert more == [
        "You used 150 GPU-seconds here in the last hour, the average is 75: people who used less go before you."
    ]


def test_somebody_in_line_who_used_nothing_counts_in_the_average() -> None:
    seen = seen_by(ANN, waits("1", ANN), waits("2", BOB), waits("3", EVE))

    assert spent(seen, {BOB: 90_000}) == Spent(0, 30_000)


def test_alone_there_is_nobody_to_compare_with() -> None:
    seen = seen_by(ANN, waits("1", ANN))

    assert why(seen.mine, spent(seen, {ANN: 1_000}), USUAL) == ["You used 1 GPU-second in the last hour."]
    assert why(seen.mine, spent(seen, {}), USUAL) == ["You used no GPU time in the last hour."]


@pytest.mark.parametrize("used", [{}, {BOB: 600}])
def test_where_nobody_used_anything_the_average_explains_nothing(used: dict[str, int]) -> None:
    seen = seen_by(ANN, waits("1", ANN), waits("2", BOB), _1=1, _2=0)

    assert why(seen.mine, spent(seen, used), USUAL) == ["You used no GPU time in the last hour."]


def test_the_limit_of_running_jobs_is_said_only_while_it_holds_something_back() -> None:
    two = Terms(running=2)
    both = seen_by(ANN, runs("1", ANN), runs("2", ANN), waits("3", ANN))
    one = seen_by(ANN, runs("1", ANN), waits("3", ANN))
    done = seen_by(ANN, runs("1", ANN), runs("2", ANN))
    limit = "You may have 2 jobs running at once here"

    assert [any(limit in each for each in why(seen.mine, Spent(0), two)) for seen in (both, one, done)] == [
        True,
        False,
        False,
    ]


def test_a_weight_is_said_where_it_is_not_the_usual_one() -> None:
    seen = seen_by(ANN, waits("1", ANN))

    assert "Your share here has weight 2.5; the usual one is 1." in why(seen.mine, Spent(0), Terms(weight=2.5))
    assert not any("weight" in each for each in why(seen.mine, Spent(0), USUAL))


def test_who_asked_for_nothing_and_used_nothing_is_told_nothing() -> None:
    assert why((), Spent(0, 95_000), Terms(weight=2)) == []


# --- me ---


def standing(terms: Terms = USUAL, *, today_ms: int = 310_000, open_ms: int = 0, open_jobs: int = 1) -> Standing:
    return Standing(terms, Usage(40_000, today_ms, open_ms), open_jobs, NOW_MS)


def test_me_says_what_i_used_and_what_i_have_open() -> None:
    jobs = (runs("1", ANN), waits("2", ANN))
    seen = seen_by(ANN, *jobs, guild=None, _1=0, _2=1)
    lines = standing_text(standing(open_jobs=2), seen, records(*jobs), Spent(40_000)).splitlines()

    assert lines == [
        "**You used** 40 GPU-seconds in the last hour · 310 GPU-seconds today",
        "**Your jobs** · 2 of 10 open · 1 running",
        "🎞️ [**parallax**](https://discord.com/channels/5/55/901) · starting…",
        "⏳ [**parallax**](https://discord.com/channels/5/55/902) · starts <t:1700000060:R>",
        "-# You used 40 GPU-seconds in the last hour.",
    ]


def test_me_says_what_is_left_of_the_day_and_when_a_new_one_begins() -> None:
    limits = Terms(gpu_seconds_per_day=1800, megapixel_seconds=7.5, waiting=0, running=2)
    text = standing_text(standing(limits, open_ms=90_000), seen_by(ANN), {}, Spent(0))

    assert "1,400 of 1,800 GPU-seconds are left today" in text
    assert f"a new day begins {clock(midnight(NOW_MS))}" in text
    assert "7.5 megapixel-seconds" in text
    assert "1 open · 0 of 2 running" in text


def test_nothing_is_left_where_more_was_used_than_there_is() -> None:
    assert standing(Terms(gpu_seconds_per_day=100)).left_ms == 0
    assert standing().left_ms == float("inf")


def test_a_day_ends_at_midnight_utc() -> None:
    """2023-11-14 22:13:20 UTC → 2023-11-15 00:00:00 UTC."""
    assert midnight(NOW_MS) == 1_700_006_400_000
    assert midnight(1_700_006_400_000) == 1_700_092_800_000


def test_more_jobs_than_fit_are_counted() -> None:
    jobs = [waits(str(number), ANN) for number in range(1, 15)]
    text = standing_text(standing(open_jobs=14), seen_by(ANN, *jobs), records(*jobs), Spent(0))

    assert text.count("⏳") == 10
    assert "and 4 more jobs: /queue shows them all" in text


# --- cancel ---


def test_a_choice_says_what_whose_how_far_and_how_old() -> None:
    asked = submission("1", person=BOB, name="snake\\_case").model_copy(update={"accepted_ms": NOW_MS - 240_000})
    job = Job(submission=asked, state=State.RUNNING, progress=Progress(job_id="1", stage="moving", step=3, total=8))

    assert choice_text(job, ANN, NOW_MS) == "parallax · snake_case · 3/8 · 4 minutes ago"
    assert choice_text(job, BOB, NOW_MS) == "parallax · you · 3/8 · 4 minutes ago"
    assert "waiting" in choice_text(job.model_copy(update={"state": State.WAITING}), ANN, NOW_MS)
    assert "stopping" in choice_text(job.model_copy(update={"cancel_by": ANN}), ANN, NOW_MS)


def test_a_choice_is_at_most_a_hundred_characters() -> None:
    asked = submission("1", person=BOB, name="n" * 80).model_copy(update={"accepted_ms": 1})

    assert len(choice_text(Job(submission=asked, state=State.WAITING), ANN, NOW_MS)) <= 100


# --- the question of costs ---


def prepared(count: int = 1, estimate_ms: int = 240_000) -> Prepared:
    one = submission("1").model_copy(update={"estimate_ms": estimate_ms})
    return Prepared(submissions=tuple(one.model_copy(update={"id": str(number)}) for number in range(count)))


@pytest.mark.parametrize(
    ("expected", "said"),
    [
        (None, "This takes about 4 minutes of GPU. Queue it?"),
        (Expected(0, NOW_MS, NOW_MS + 1), "This takes about 4 minutes of GPU and can start at once. Queue it?"),
        (
            Expected(3, NOW_MS + 660_000, NOW_MS + 900_000),
            "This takes about 4 minutes of GPU; your share lets it start in about 11 minutes. Queue it?",
        ),
        (
            Expected(0, 0, 0, "paused"),
            "This takes about 4 minutes of GPU, and the queue is paused here: there is a wait until that ends. "
            "Queue it?",
        ),
        (
            Expected(0, 0, 0, "no_worker"),
            "This takes about 4 minutes of GPU, and no machine that is online can run it: there is a wait for one. "
            "Queue it?",
        ),
    ],
)
def test_the_question_says_what_it_costs_and_when_it_would_start(expected: Expected | None, said: str) -> None:
    assert question(prepared(), expected, NOW_MS) == said


def test_several_clips_are_one_question() -> None:
    assert question(prepared(3, 120_000), None, NOW_MS) == "These 3 clips take about 6 minutes of GPU. Queue them?"


# --- amounts ---


@pytest.mark.parametrize(
    ("ms", "said"),
    [
        (0, "1 second"),
        (1_400, "1 second"),
        (40_000, "40 seconds"),
        (89_000, "89 seconds"),
        (95_000, "2 minutes"),
        (11 * 60_000, "11 minutes"),
        (90 * 60_000, "1.5 hours"),
        (120 * 60_000, "2 hours"),
        (26 * 3_600_000, "26 hours"),
    ],
)
def test_a_time_is_as_precise_as_anybody_asks(ms: float, said: str) -> None:
    assert lasting(ms) == said


def test_amounts_have_their_plural_and_their_thousands() -> None:
    assert [counted(number, "job") for number in (0, 1, 1200)] == ["0 jobs", "1 job", "1,200 jobs"]
    assert [gpu(ms) for ms in (0, 300, 1_000, 40_000, 1_250_000)] == [
        "no GPU time",
        "1 GPU-second",
        "1 GPU-second",
        "40 GPU-seconds",
        "1,250 GPU-seconds",
    ]
    assert clock(1_700_000_000_001) == "<t:1700000001:R>"
