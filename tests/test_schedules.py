"""Schedules: read where the meaning is plain, and otherwise refused with a sentence that names the place."""

import ast
import builtins
import math
import time
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from jobs.errors import Refusal
from jobs.schedules import PromptSchedule, preview, prompt_schedule, value_schedule
from jobs.schedules.expressions import BINARY, COMPARED, FUNCTIONS, LONGEST, UNARY, expression
from jobs.schedules.notation import LONGEST as LONGEST_TEXT
from jobs.schedules.passage import Passage
from jobs.schedules.prompts import MOST_EXPRESSIONS
from jobs.texts import word

NAMES = frozenset({"t", "max_f"})


def value(text: str, t: float = 0, max_f: int = 7) -> float:
    """What arithmetic comes to."""
    return expression(Passage.of("values", text), NAMES).value({"t": t, "max_f": max_f})


def positives(schedule: PromptSchedule) -> list[tuple[int, str]]:
    """Its keys, and what is wanted at each."""
    return [(key.frame, key.prompt.positive.strip()) for key in schedule.keys]


@pytest.mark.parametrize(
    "text",
    [
        '"0":"a cat","4":"a dog"',
        '{"0": "a cat", "4": "a dog",}',
        '"0":"a cat"\n"4":"a dog"',
        "'0':'a cat','4':'a dog'",
        '" 0 ":"a cat", 4 :"a dog"',
        "“0”: “a cat”, „4“: „a dog“",
        '0: "a cat" | 4: "a dog"',
        "0: a cat | 4: a dog",
        "0: a cat,\r\n4: a dog\n",
        "0: a\n cat\n4: a dog",
        "0f: a cat | max_f/2: a dog",
        "4: a dog | 0: a cat",
        "0%: a cat | 57%: a dog",
        "0s: a cat | 0.5s: a dog",
        "0 sec: a cat | .5 seconds: a dog |",
        '"0s":"a cat","0.5s":"a dog"',
        '"0":"a lion","0":"a cat","4":"a dog"',
        '"0":"a \\u0063at", "4.0":"a dog"',
    ],
)
def test_what_is_plain_is_read_however_it_is_written(text: str) -> None:
    schedule = prompt_schedule(text, 8, fps=8)

    assert positives(schedule) == [(0, "a cat"), (4, "a dog")]
    assert [frame.weight for frame in schedule.frames[:4]] == [1, 0.75, 0.5, 0.25]
    assert [frame.then.positive for frame in schedule.frames[3:5]] == ["a dog", "a dog"]


def test_signs_that_belong_to_a_prompt_stay_in_it() -> None:
    schedule = prompt_schedule("0: a [cat|dog], {red|blue} (at 12:30) | 4: x: y 🐈\n(big:1.2)", 8)

    assert positives(schedule) == [(0, "a [cat|dog], {red|blue} (at 12:30)"), (4, "x: y 🐈 (big:1.2)")]
    assert positives(prompt_schedule('"0":"\\ud83d\\udc08 | 2: \\"b\\""', 4)) == [(0, '🐈 | 2: "b"')]


def test_negatives_and_expressions_of_the_friendly_form() -> None:
    schedule = prompt_schedule(
        "0: (cat:`where(t>0, 1/t, pw_a)`)\n--neg (dog:`max_f-t`)", 3, before="best --neg bad", weights=((5, 6), 0, 0, 0)
    )

    assert [frame.now for frame in schedule.frames] == [
        ("best  (cat:5)", "bad  (dog:2)"),
        ("best  (cat:1.0)", "bad  (dog:1)"),
        ("best  (cat:0.5)", "bad  (dog:0)"),
    ]


def test_of_equal_times_the_last_holds_at_the_place_of_the_first() -> None:
    schedule = prompt_schedule('"max_f/2":"a","4":"b","max_f/2":"c","2+2":"d"', 8)

    assert positives(schedule) == [(4, "d"), (4, "b")]
    assert [frame.now.positive for frame in schedule.frames] == ["d"] * 4 + ["b"] * 4


def test_a_comparison_becomes_a_number_in_a_prompt() -> None:
    assert [frame.now.positive for frame in prompt_schedule("0: (a:`t>0`)", 2).frames] == ["(a:0)", "(a:1)"]


def test_values_go_straight_between_numbers_and_follow_arithmetic() -> None:
    assert value_schedule("1.2", 3) == (1.2, 1.2, 1.2)
    assert value_schedule("0s: 1 | 0.5s: (3)\n", 6, fps=8) == (1, 1.5, 2, 2.5, 3, 3)
    assert value_schedule("0:(min(t, 2)), 3:(1)", 5) == (0, 1, 2, 1, 1)
    assert value_schedule("0%: 0, 100%: 1", 3) == (0, 0.5, 1)
    assert value_schedule("3:(2), 5:(4), 90:(9)", 7) == (2, 2, 2, 2, 3, 4, 4)


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("1+2*3**2//4%5", 5),
        ("-2**2", -4),
        ("7/2", 3.5),
        ("(1<2)+(2>=2)+(1==1)+(1!=1)", 3),
        ("0<t<5 and not t>3 or 0", 1),
        ("(t>1)&(t<3)|~1", 1),
        ("where(t==2, sqrt(16), 1/0)", 4),
        ("max(1, t, 3)-min(4, t)", 1),
        ("abs(-t)+floor(1.7)+ceil(1.2)+round(2.4)+trunc(-1.5)", 6),
        ("cos(pi)", -1),
        ("log(exp(2))", 2),
        (".5+1e1", 10.5),
        ("2**62*2**62", 2.0**124),
    ],
)
def test_arithmetic(text: str, result: float) -> None:
    assert value(text, t=2) == pytest.approx(result)


OUTSIDE = [
    "__import__('os')", "t.__class__", "().__class__", "[1]", "{1}", "'a'*9", "f'{t}'", "lambda: t", "(t:=1)", "t[0]",
    "open(1)", "eval(1)", "exec(1)", "print(t)", "sum(1, 2)", "min(*t)", "max(1, key=2)", "(x for x in t)", "not in t",
    "await t", "(yield)", "1j", "True", "None", "...", "t is t", "t in t", "t if t else t", "t@t", "t^t", "t<<9",
    "t:int", "t;t", "t=1", "min(i for i in t)", "abs(abs)", "abs", "0x10", "1_0", "t\\\n+1", "#", "ｔ", "²", "t\x00",
    "__builtins__",
]  # fmt: skip


@pytest.mark.parametrize("text", OUTSIDE)
def test_nothing_but_arithmetic_is_read(text: str) -> None:
    with pytest.raises(Refusal):
        value(text)


def test_nothing_can_be_reached_that_is_not_on_the_list() -> None:
    reachable = {*FUNCTIONS} & {*dir(builtins)}

    assert reachable == {"abs", "min", "max", "round"}
    assert all(issubclass(kind, ast.operator | ast.unaryop | ast.cmpop) for kind in (*BINARY, *UNARY, *COMPARED))


@pytest.mark.parametrize("text", ["9**9**9**9", "(9**60)**60", "exp(999)", "1e308*10", "1e999", "9" * LONGEST + "**64"])
def test_no_number_grows_without_end(text: str) -> None:
    with pytest.raises(Refusal):
        value(text[-LONGEST:])


ARITHMETIC = st.text("t+-*/%()<>=!&|~.,0123456789e ", max_size=40) | st.lists(
    st.sampled_from(
        [*FUNCTIONS, "t", "max_f", "(", ")", ",", "**", "//", "<", "1", "0.5", "9e99", " and ", " not ", "-"]
    ),
    max_size=30,
).map("".join)


@given(ARITHMETIC | st.text(max_size=40))
@settings(max_examples=300, deadline=1000)
@example("9**-9**99")
@example("-" * 199 + "t")
@example("~" * 199 + "t")
@example("2**" * 66 + "t")
def test_any_arithmetic_has_a_finite_value_or_is_refused(text: str) -> None:
    try:
        result = value(text, t=3)
    except Refusal as refusal:
        assert_sayable(refusal)
    else:
        assert type(result) in (int, float)
        assert math.isfinite(result)


SIGNS = [
    '"',
    "'",
    "“",
    "”",
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    "|",
    "\n",
    " ",
    "\\",
    "`",
    "(",
    ")",
    "/",
    "-",
    "--neg",
    "\x00",
]
WORDS = [
    "0",
    "4",
    "t",
    "2s",
    "50%",
    "max_f",
    "a cat",
    "1.5",
    "猫",
    '"0":"a"',
    "8: b",
    "0:(1)",
    "4:(t)",
    "\\u00e9",
    "9" * 400,
]
PIECES = st.lists(st.sampled_from([*SIGNS, *WORDS]), max_size=40).map("".join)


def assert_sayable(refusal: Refusal) -> None:
    """One line that fits a message, with every backtick closed."""
    said = word(refusal)
    assert len(said) <= 1000
    assert "\n" not in said
    assert said.count("`") % 2 == 0


@given(PIECES | st.text(max_size=200), PIECES)
@settings(max_examples=400, deadline=1000)
@example("-" + "9" * 400 + "s: a", "")
def test_any_text_is_a_schedule_or_is_refused(text: str, around: str) -> None:
    try:
        schedule = prompt_schedule(text, 12, fps=8, before=around)
    except Refusal as refusal:
        assert_sayable(refusal)
    else:
        assert len(schedule.frames) == 12
        assert all(0 <= frame.weight <= 1 for frame in schedule.frames)
        assert all(a.frame <= b.frame for a, b in pairwise(schedule.keys))
        assert len(preview(schedule, 12, 8)) <= 1000


@given(PIECES | st.text(max_size=200))
@settings(max_examples=300, deadline=1000)
def test_any_text_is_a_value_schedule_or_is_refused(text: str) -> None:
    try:
        values = value_schedule(text, 12, fps=8)
    except Refusal as refusal:
        assert_sayable(refusal)
    else:
        assert len(values) == 12
        assert all(math.isfinite(number) for number in values)


@pytest.mark.parametrize(
    "piece", ["[", "{", "`", "'", '"', "|", "\n", "0:a\n", "(", "0:(", "a\n", "max_", " ", "\t", '"0":"a",', ",1", "\\"]
)
def test_long_texts_take_no_long_time(piece: str) -> None:
    started = time.perf_counter()
    for read in (prompt_schedule, value_schedule):
        for text in (piece * (LONGEST_TEXT // len(piece)), "0:" + piece * ((LONGEST_TEXT - 2) // len(piece))):
            try:
                read(text, 64)
            except Refusal as refusal:
                assert_sayable(refusal)

    assert time.perf_counter() - started < 5


def test_the_longest_arithmetic_of_a_long_clip_takes_no_long_time() -> None:
    started = time.perf_counter()
    prompt_schedule("0: " + f"`{'+'.join(['t'] * (LONGEST // 2))}`" * MOST_EXPRESSIONS, 512)

    assert time.perf_counter() - started < 5


def test_the_preview_says_what_turns_into_what() -> None:
    schedule = prompt_schedule("0s: spring --neg snow | 50%: (autumn:`t/8`) | 20: winter | 30: spring", 17, fps=8)

    assert preview(schedule, 17, 8) == (
        "**0 s** (frame 0): spring (− snow) → turning into the next until 1 s.\n"
        "**1 s** (frame 8): (autumn:'t/8') → turning into the next until 2.5 s.\n"
        "**2.5 s** (frame 20): winter → only approached; frame 16 is the last.\n"
        "**3.75 s** (frame 30): spring → never seen; the clip ends before."
    )


def test_the_preview_of_what_stays_and_jumps() -> None:
    schedule = prompt_schedule('"4":"a","6":"a","8":"b","4+4":"c"', 16)

    assert preview(schedule, 16, 8).splitlines() == [
        "**0.5 s** (frame 4): a → the same until 0.75 s. It holds from the start.",
        "**0.75 s** (frame 6): a → turning into the next until 1 s.",
        "**1 s** (frame 8): b → at once the next, at the same frame.",
        "**1 s** (frame 8): c → stays to the end.",
    ]


def test_the_preview_fits_a_message() -> None:
    many = preview(prompt_schedule("|".join(f"{i}: {'word ' * 7}" for i in range(180)), 16), 16, 8)

    assert 900 < len(many) <= 1000
    assert many.splitlines()[-1] == f"… and {180 - len(many.splitlines()) + 1} more."
