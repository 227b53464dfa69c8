"""What is said of each mistake in a schedule: which line and column, what stands there, what was expected."""

import pytest

from jobs.errors import Refusal
from jobs.schedules import prompt_schedule, value_schedule
from jobs.schedules.expressions import FUNCTIONS
from jobs.texts import word


def sentence(text: str, *, before: str = "", after: str = "") -> str:
    """What is said of a prompt schedule that cannot be read."""
    with pytest.raises(Refusal) as refused:
        prompt_schedule(text, 8, before=before, after=after)
    return word(refused.value)


QUOTED = '`"0": "a cat", "24": "a dog"`.'
FRIENDLY = "`0s: a cat | 2s: a dog`."
TIME = (
    "stands where a time was expected: a frame (`24`), seconds (`2s`), a part of the clip (`50%`) or arithmetic "
    "(`max_f/2`)."
)
COLON = "stands where a time and a colon were expected:"
OWN_ENTRY = (
    "looks like an entry of its own. Without quotes, entries need a bar between them, because prompts have commas:"
)
AFTER_BRACE = "stands behind the closing brace, where nothing was expected. Put all entries between the braces."
BRACE = "this brace has no other half. Braces around the entries are not needed: leave both out."
ESCAPE = "stands for no character. For a backslash write two; for a quote within a prompt, a backslash and the quote."
UNIT = "is not known. Write `24` for a frame, `2s` for seconds, `50%` for a part of the clip."
NO_RATE = "is in seconds, and how many frames a second has is not known here. Write frames (`24`) or a part of the clip"
BACKTICK = "this backtick has no other half. Arithmetic stands between two of them, as in ``(cat:`0.5+t/8`)``."
UNREADABLE = "cannot be read from here on. A complete one looks like `0.5+t/8` or `where(t>3, 1.2, 0.8)`."
ARITHMETIC = (
    "has no place in arithmetic. There are numbers, names, parentheses, `+ - * / // %` and `**` (as in `t**2`), "
    "and `< <= > >= == != & |` to compare."
)
NO_VALUE = "a division by zero and the root of a negative number have none."
MANY_EXPRESSIONS = "with this there are more than 20 expressions in backticks, which is the most that are worked out."

MISTAKES = {
    "a cat on a mat": (1, 1, f"`a cat on a mat` {COLON} {FRIENDLY}"),
    "a cat: on a mat": (1, 1, f"`a cat` {TIME}"),
    "0: a cat | a dog": (1, 12, f"`a dog` {COLON} {FRIENDLY}"),
    "0: | 8: b": (1, 3, f"a prompt was expected after `0`, as in {FRIENDLY}"),
    "0: a cat, 24: a dog": (1, 9, f"`, 24: a dog` {OWN_ENTRY} {FRIENDLY}"),
    '"0" "a"': (1, 5, f'`"a"` {COLON} {QUOTED}'),
    '"0":"a" "4":"b"': (1, 9, f'before `"4":"b"` a comma was expected, as between all entries: {QUOTED}'),
    '"0":1,"4":"b"': (1, 5, f'`1,"4":"b"` stands where a prompt in quotes was expected: {QUOTED}'),
    '"0":"a",\n"4":': (
        2,
        5,
        f'it breaks off after `"0":"a", "4":`. Each entry is a time, a colon and a prompt in quotes: {QUOTED}',
    ),
    '"0":"a",\n"4":"b': (2, 5, 'the quote that opens `"b` is never closed. Put the same sign behind the text.'),
    '{"0":"a"': (1, 1, BRACE),
    '"0":"a"}': (1, 8, BRACE),
    '{"0":"a"} "4":"b"': (1, 11, f'`"4":"b"` {AFTER_BRACE}'),
    '"0":"C:\\q"': (1, 8, f'`\\q"` {ESCAPE}'),
    '"0":"\\ud83d"': (1, 6, f'`\\ud83d"` {ESCAPE}'),
    '"start":"a","4":"b"': (1, 2, f"`start` {TIME}"),
    "0: a\n2x: b": (2, 1, f"in `2x` the unit `x` {UNIT}"),
    '"0":"a",\n "2.5":"b"': (2, 3, "`2.5` is no frame, for frames have whole numbers. For seconds write `2.5s`."),
    "0%: a | 150%: b": (1, 9, "150% lies outside the clip, which goes from 0% to 100%."),
    "0: a | 9000000: b": (1, 8, "`9000000` is too far off; a time may be at most 100000 frames from the start."),
    "0s: a": (1, 1, f"`0s` {NO_RATE} (`50%`)."),
    "0: a\nmax_f/0: b": (2, 1, f"`max_f/0` has no value where max_f = 8; {NO_VALUE}"),
    "max_f-t: a": (1, 7, "`t` stands for nothing here. There are: max_f, pi."),
    "0: (a:`t+1)": (1, 7, BACKTICK),
    "0: (a:``)": (1, 8, "an expression was expected here, such as `0.5+t/8`, and there is nothing."),
    "0: (a:`t+*`)": (1, 10, f"`t+*` {UNREADABLE}"),
    "0: (a:`2t`)": (1, 8, "in `2t` an operator is missing after 2. To multiply write `2*t`."),
    "0: (a:`1+foo`)": (1, 10, "`foo` stands for nothing here. There are: max_f, pi, pw_a, pw_b, pw_c, pw_d, t."),
    "0: (a:`foo(2)`)": (1, 8, f"there is no function `foo`. There are: {', '.join(sorted(FUNCTIONS))}."),
    "0: (a:`where(t>2, 1)`)": (1, 8, "`where` is given 2 values and needs 3."),
    "0: (a:`t.real`)": (1, 9, f"`.` {ARITHMETIC}"),
    "0: (a:`1 if t else 2`)": (
        1,
        8,
        "`1 if t else 2` is more than arithmetic. For one thing or another write `where(t>3, 1.2, 0.8)`.",
    ),
    "0: (a:`1/(t-3)`)": (1, 8, f"`1/(t-3)` has no value where t = 3, max_f = 7; {NO_VALUE}"),
    "0: (a:`9**9**9`)": (1, 8, "`9**9**9` grows too large for a number where t = 0, max_f = 7."),
    f"0: `{'(' * 21}`": (1, 25, "more than 20 parentheses are open here. Write the expression in a simpler way."),
    f"0: `{'1+' * 100}1`": (1, 5, "this expression has 201 characters; at most 200 are worked out."),
    f"0: a {'`1`' * 21}": (1, 4, MANY_EXPRESSIONS),
    "|".join(["0:a"] * 201): (1, 801, "with this there are 201 entries, and at most 200 are kept."),
}


@pytest.mark.parametrize("text", MISTAKES, ids=lambda text: ascii(text[:30]))
def test_a_mistake_gets_a_sentence_that_names_the_place(text: str) -> None:
    line, column, rest = MISTAKES[text]

    assert sentence(text) == f"`prompts`, line {line}, column {column}: {rest}"


def test_what_is_wrong_as_a_whole_has_no_place() -> None:
    nothing = "`prompts` has no entry. An entry is a time, a colon and what holds then:"

    assert sentence("") == sentence(" ,\n") == f"{nothing} {FRIENDLY}"
    assert sentence("{ }") == f"{nothing} {QUOTED}"
    assert sentence("x" * 8001) == "`prompts` has 8001 characters; at most 8000 are read."


def test_the_texts_around_every_prompt_are_told_apart() -> None:
    assert sentence("0: a", before="x --neg y\n--neg z") == (
        "`before`, line 2, column 1: this is the second `--neg`, and one is allowed: `best quality --neg blurry`."
    )
    assert sentence("0: a", after="photo (`t.x`)") == f"`after`, line 1, column 10: `.` {ARITHMETIC}"


VALUES = "`0:(1), 8:(1.4)`."

VALUE_MISTAKES = {
    "0(1)": (1, 1, f"`0(1)` {COLON} {VALUES}"),
    "0:(1),\n8:(2": (2, 3, f"the parenthesis of `(2` is never closed: {VALUES}"),
    "0:(1), 8:()": (1, 9, f"in `8:()` a number was expected after the colon: {VALUES}"),
    "0:(1) 8:(2)": (1, 8, f"before `:(2)` a comma was expected, as between all entries: {VALUES}"),
    "0:(x)": (1, 4, "`x` stands for nothing here. There are: max_f, pi, t."),
    "0:(1), 4:(5)": (1, 3, "this makes 3 at frame 2; it has to be from 0 to 2."),
    "2: 1)": (1, 5, f"`1)` {UNREADABLE}"),
}


@pytest.mark.parametrize("text", VALUE_MISTAKES)
def test_a_mistake_in_a_value_schedule_alike(text: str) -> None:
    line, column, rest = VALUE_MISTAKES[text]

    with pytest.raises(Refusal) as refused:
        value_schedule(text, 8, low=0, high=2, option="motion")

    assert word(refused.value) == f"`motion`, line {line}, column {column}: {rest}"
