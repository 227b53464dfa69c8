"""What people type after `@Zoetrope`, and how it is read."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.options import parse
from commands.mention import (
    MissingValue,
    MoreAttachments,
    UnknownOption,
    finishing_from,
    from_words,
    names_a_motion,
    read_options,
    request_from,
    words_of,
)
from jobs.errors import Refusal, UserError
from jobs.recipe import Output
from jobs.requests import BY_SYSTEM, GENERATIONS, Brief
from jobs.requests.parallax import Move
from jobs.texts import word

ME = "<@1234567890>"
LONGEST = 2000
"""Discord's limit for a message, in characters."""


@pytest.mark.parametrize(
    ("text", "values"),
    [
        (f"{ME} motion 180 seconds 3", {"motion": "180", "seconds": "3"}),
        (f"motion 180 {ME} seconds 3", {"motion": "180", "seconds": "3"}),
        ("<@!1234567890> motion 180", {"motion": "180"}),
        (f"{ME}motion 180", {"motion": "180"}),
        (f"{ME} motion=180", {"motion": "180"}),
        (f"{ME} motion = 180 seconds= 3 seed =7", {"motion": "180", "seconds": "3", "seed": "7"}),
        (f"{ME} motion: 180, ", {"motion": "180"}),
        (f"{ME} MOTION 180\nSeconds\t3", {"motion": "180", "seconds": "3"}),
        (f"{ME} prompt a dog runs seconds 3", {"prompt": "a dog runs", "seconds": "3"}),
        (f'{ME} prompt "a dog in motion" seconds 3', {"prompt": "a dog in motion", "seconds": "3"}),
        (f"{ME} prompt the dog's 5 o'clock", {"prompt": "the dog's 5 o'clock"}),
        (f"{ME} prompt 'a dog'", {"prompt": "'a dog'"}),
        (f'{ME} prompt 5" tall', {"prompt": '5" tall'}),
        (f"{ME} prompt 🎞️ läuft", {"prompt": "🎞️ läuft"}),
        (f"{ME} move zoom in", {"move": "zoom in"}),
        (f"{ME} move zoom in easing ease in loop no", {"move": "zoom in", "easing": "ease in", "loop": "no"}),
        (f'{ME} move "pan left" amount 70', {"move": "pan left", "amount": "70"}),
        (f"{ME} camera zoom in 0.8, pan left; seed 3", {"camera": "zoom in 0.8, pan left", "seed": "3"}),
        (f"{ME} motion_scale 0:(1), 8:(1.4) fps 12", {"motion_scale": "0:(1), 8:(1.4)", "fps": "12"}),
        (f"{ME} schedule 0s: spring, mild | 2s: summer", {"schedule": "0s: spring, mild | 2s: summer"}),
        (f"{ME} negative rain, fog, prompt a fox, running,", {"negative": "rain, fog", "prompt": "a fox, running"}),
        (f"{ME} motion 1 motion 2", {"motion": "2"}),
        (f"{ME} <#99> <@&98> motion 5", {"motion": "5"}),
        (ME, {}),
        ("", {}),
    ],
)
def test_options_are_read_as_people_write_them(text: str, values: dict[str, str]) -> None:
    assert read_options(text, None) == (None, values)


def test_an_apostrophe_inside_quotes_is_an_apostrophe() -> None:
    assert words_of('prompt "the dog\'s ball"') == ["prompt", "the dog's ball"]


def test_a_backslash_is_a_backslash() -> None:
    assert words_of(r"prompt a \ b ¯\_(ツ)_/¯") == ["prompt", "a", "\\", "b", r"¯\_(ツ)_/¯"]


@pytest.mark.parametrize("text", ["svd motion 5", "SVD motion 5", "system svd motion 5", "motion 5 system=SVD"])
def test_a_system_is_named_first_or_by_its_option(text: str) -> None:
    assert read_options(f"{ME} {text}", None) == ("svd", {"motion": "5"})


@pytest.mark.parametrize("text", ["a fox, in the snow seconds 3", "a fox, in the snow, seconds=3"])
def test_words_after_a_system_that_reads_them_are_its_prompt(text: str) -> None:
    assert read_options(f"{ME} animatediff {text}", None) == (
        "animatediff", {"prompt": "a fox, in the snow", "seconds": "3"},
    )  # fmt: skip
    with pytest.raises(UnknownOption):
        read_options(f"{ME} svd {text}", None)


def test_words_alone_are_enough_where_a_picture_may_be_left_out() -> None:
    system, values = read_options("animatediff a fox", None)
    assert system is not None
    kind = GENERATIONS[system]

    assert [name for name, each in GENERATIONS.items() if from_words(each)] == ["animatediff"]
    assert request_from(parse(Brief, values), values, kind).model_dump()["image"] == "image"
    assert request_from(parse(Brief, values), values, kind, with_picture=False).model_dump()["image"] is None


def test_a_motion_is_a_name_where_the_system_learns_them_and_else_a_number() -> None:
    _, named = read_options('animatediff a flag motion "slow wave"', None)
    _, number = read_options("animatediff a flag motion 255", None)
    kind = GENERATIONS["animatediff"]

    said = request_from(Brief(prompt="a flag"), named, kind).model_dump()
    assert (said["motion"], said["motion_scale"]) == ("slow wave", "1.00")
    said = request_from(parse(Brief, number), number, kind).model_dump()
    assert (said["motion"], said["motion_scale"]) == (None, "1.40")
    assert not names_a_motion({"motion": "slow wave"}, GENERATIONS["svd"])


def test_a_finishing_step_may_leave_out_what_is_no_clip() -> None:
    values = {"prompt": "an oil painting"}

    assert finishing_from(values, BY_SYSTEM["restyle"]).model_dump()["prompt"] == "an oil painting"
    with pytest.raises(MoreAttachments):
        finishing_from({}, BY_SYSTEM["stitch"])


def test_a_system_that_was_known_before_stays_unless_another_is_named() -> None:
    assert read_options("motion 5", "svd") == ("svd", {"motion": "5"})
    assert read_options("parallax motion 5", "svd") == ("parallax", {"motion": "5"})


@pytest.mark.parametrize(("text", "name"), [("please motion 5", "please"), ("motion 5 thanks", "thanks"), ("💃", "💃")])
def test_a_word_nobody_knows_is_named_beside_those_that_are_known(text: str, name: str) -> None:
    with pytest.raises(UnknownOption) as refused:
        read_options(f"{ME} {text}", None)
    sentence = word(refused.value)

    assert f"`{name}`" in sentence
    for known in ("motion", "seconds", "format", "system", "move"):
        assert known in sentence


def test_a_system_nobody_knows_is_answered_with_those_there_are() -> None:
    with pytest.raises(UnknownOption) as refused:
        read_options("system sora", None)

    assert refused.value.facts["option"] == "sora"
    assert all(name in word(refused.value) for name in GENERATIONS)


@pytest.mark.parametrize("text", ["motion", "seconds 3 motion", "system", "prompt", "svd fps"])
def test_an_option_without_its_value_is_named(text: str) -> None:
    with pytest.raises(MissingValue) as refused:
        read_options(f"{ME} {text}", None)

    assert f"`{refused.value.facts['option']}`" in word(refused.value)


@pytest.mark.parametrize("move", Move.__args__)
def test_every_move_can_be_typed_without_quotes(move: str) -> None:
    _, values = read_options(f"{ME} parallax move {move} amount 5", None)

    assert request_from(Brief(), values, BY_SYSTEM["parallax"]).model_dump()["move"] == move


def test_the_brief_is_translated_and_a_systems_own_options_win() -> None:
    values = {"seconds": "2.5", "fps": "12", "motion": "9", "format": "gif"}
    request = request_from(parse(Brief, values), values, BY_SYSTEM["svd"]).model_dump()

    assert (request["motion"], request["fps"]) == (9, 12)
    assert parse(Output, values).format == "gif"


def test_another_systems_option_is_refused_with_this_ones() -> None:
    with pytest.raises(UnknownOption) as refused:
        request_from(Brief(), {"move": "orbit"}, GENERATIONS["svd"])

    assert refused.value.facts["option"] == "move"
    assert "noise_aug_strength" in str(refused.value.facts["known"])
    assert "easing" not in str(refused.value.facts["known"])


def whole(text: str) -> None:
    """Everything that is done with a message's text before a picture is fetched."""
    system, values = read_options(text, None)
    parse(Output, values)
    if system and system not in GENERATIONS:
        finishing_from(values, BY_SYSTEM[system])
        return
    brief = parse(Brief, values)
    for kind in [GENERATIONS[system]] if system else GENERATIONS.values():
        request_from(brief, values, kind)


words = st.sampled_from([
    *BY_SYSTEM, "system", "motion", "seconds", "seed", "format", "move", "loop", "fps", "size", "prompt", "num_frames",
    "180", "3", "-1", "1e400", "nan", "٣", "0x10", "zoom in", "mp4", "=", ":", '"', "'", "\\", "{0}", "{option}", "%s",
    "<@1>", "<:a:1>", "💃", "\u202e", "\x00", "`", "9" * 400,
])  # fmt: skip
junk = (
    st.text(max_size=LONGEST) | st.lists(words, max_size=60).map(" ".join) | st.lists(words, max_size=60).map("".join)
)


@settings(max_examples=400, database=None, deadline=None)
@given(text=junk.map(lambda text: text[:LONGEST]))
def test_whatever_is_typed_is_understood_or_refused_in_a_sentence_that_fits_a_message(text: str) -> None:
    said = "understood"
    try:
        whole(text)
    except Refusal as refusal:
        said = word(refusal)
    assert 0 < len(said) <= LONGEST


@pytest.mark.parametrize(
    "text", ["x" * LONGEST, '"' * LONGEST, "= " * 1000, "motion " * 285, "a=" * 1000, "\\" * LONGEST]
)
def test_two_thousand_characters_of_nonsense_are_refused_in_no_time(text: str) -> None:
    with pytest.raises(UserError) as refused:
        whole(text)

    assert len(word(refused.value)) <= LONGEST


def test_what_somebody_typed_is_never_a_template() -> None:
    with pytest.raises(Refusal) as refused:
        whole("motion {known.__class__}")

    assert "`motion`" in word(refused.value)
    _, values = read_options("prompt {0} {option}", None)
    found: dict[str, Any] = values
    assert found == {"prompt": "{0} {option}"}
