"""A slash command is derived from its request: what Discord shows and lets through, and our answer to the rest."""

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal, cast, get_args, get_origin

import discord
import pytest
from annotated_types import Ge, Le
from discord import app_commands
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field
from pydantic.fields import FieldInfo

from bot.client import Zoetrope
from bot.options import BadOption, attached, bounds, described, marked, needed, offered, option_type, parse, plain_type
from bot.options import slash_command as made
from commands.make import Make, first_line
from jobs.errors import Refusal
from jobs.recipe import Format, Output
from jobs.requests import GENERATIONS, REQUESTS, Brief, Generation, Request
from jobs.requests.base import MAX_SEED, Advanced
from jobs.requests.finish import STAMPS, Continuation, Smoothing
from jobs.texts import word

Json = dict[str, Any]
TYPES = {str: 3, int: 4, bool: 5, discord.Attachment: 11, float: 10}
"""Discord's option types."""
BY_NAME = {kind.name(): kind for kind in REQUESTS}
MODELS: dict[str, type[BaseModel]] = {"animate": Brief, "continue": Continuation, **BY_NAME}
TREE: Any = app_commands.CommandTree(discord.Client(intents=discord.Intents.none()))
"""A client that never connects; discord.py asks its tree for what holds for all commands."""


def commands() -> dict[str, Json]:
    """Every command of the cog as the JSON that is registered with Discord."""
    starters = Make(cast(Zoetrope, None)).starters
    return {one.name: one.to_dict(TREE) for one in starters if isinstance(one, app_commands.Command)}


COMMANDS = commands()


def options_of(name: str) -> dict[str, Json]:
    """A command's options by name."""
    return {option["name"]: option for option in COMMANDS[name]["options"]}


def all_fields_of(name: str) -> Mapping[str, FieldInfo]:
    """The fields that a person may set there: whatever makes new frames of a picture or of words can be smoothed."""
    if name in STAMPS:
        return offered(MODELS[name])
    if issubclass(MODELS[name], Request) and not issubclass(MODELS[name], Generation):
        return offered(MODELS[name], Output)
    return offered(Smoothing, MODELS[name], Output)


def has_form(name: str) -> bool:
    """Whether there are more than Discord takes for a command."""
    return len(all_fields_of(name)) > 25


def fields_of(name: str) -> Mapping[str, FieldInfo]:
    """The fields from which a command's options are derived: where they are too many, all but the advanced."""
    fields = all_fields_of(name)
    return {key: field for key, field in fields.items() if not (has_form(name) and marked(field, Advanced))}


async def nothing(interaction: discord.Interaction, options: Mapping[str, Any]) -> None:
    """A handler that is never called."""


def test_there_is_one_command_for_each_request_and_those_that_choose_a_system() -> None:
    assert set(COMMANDS) == set(MODELS)


@pytest.mark.parametrize("name", MODELS)
def test_a_command_fits_discords_limits(name: str) -> None:
    options = COMMANDS[name]["options"]
    texts = [COMMANDS[name]["name"], COMMANDS[name]["description"]]
    for option in options:
        texts += [option["name"], option["description"]]
        choices = option.get("choices", [])
        assert len(choices) <= 25
        assert all(1 <= len(str(choice["name"])) <= 100 for choice in choices)
        texts += [str(choice[key]) for choice in choices for key in ("name", "value")]

    assert len(options) <= 25
    assert all(1 <= len(part["description"]) <= 100 for part in (COMMANDS[name], *options))
    assert all(part["name"] == part["name"].lower() and len(part["name"]) <= 32 for part in (COMMANDS[name], *options))
    assert sum(map(len, texts)) <= 8000
    json.dumps(COMMANDS[name])


@pytest.mark.parametrize("name", MODELS)
def test_every_field_is_an_option_and_every_option_a_field(name: str) -> None:
    extra = {"system"} if name in ("animate", "continue") else {"advanced"} if has_form(name) else set[str]()

    assert set(options_of(name)) == set(fields_of(name)) | extra


@pytest.mark.parametrize("name", [name for name in MODELS if has_form(name)])
def test_what_a_command_has_no_room_for_fits_a_form(name: str) -> None:
    left = set(all_fields_of(name)) - set(fields_of(name))

    assert left
    assert options_of(name)["advanced"]["type"] == 5
    assert all(not attached(all_fields_of(name)[key]) for key in left)


@pytest.mark.parametrize("name", MODELS)
def test_options_have_the_type_the_bounds_and_the_choices_of_their_fields(name: str) -> None:
    for key, field in fields_of(name).items():
        option = options_of(name)[key]
        annotation = discord.Attachment if attached(field) else plain_type(field)
        choices = get_args(annotation) if get_origin(annotation) is Literal else ()
        low, high = bounds(field)
        ends = ("min_length", "max_length") if annotation is str else ("min_value", "max_value")

        assert option["type"] == TYPES[type(choices[0]) if choices else annotation], key
        assert tuple(choice["value"] for choice in option.get("choices", ())) == choices
        if not attached(field):
            assert (option.get(ends[0]), option.get(ends[1])) == (low, high), key


def test_bounds_are_found_wherever_they_are_written() -> None:
    """Spot checks by hand, so that a mistake in `bounds` does not agree with itself."""
    animate, svd, parallax = (options_of(name) for name in ("animate", "svd", "parallax"))

    assert (animate["motion"]["min_value"], animate["motion"]["max_value"]) == (1, 255)
    assert (animate["seconds"]["type"], animate["seconds"]["min_value"], animate["seconds"]["max_value"]) == (
        10,
        0.5,
        10,
    )
    assert animate["prompt"]["max_length"] == 1000
    for options in (animate, svd, parallax):
        assert (options["seed"]["type"], options["seed"]["min_value"], options["seed"]["max_value"]) == (
            4,
            0,
            2**32 - 1,
        )
        assert [choice["value"] for choice in options["format"]["choices"]] == list(get_args(Format))
    assert (svd["num_frames"]["min_value"], svd["num_frames"]["max_value"]) == (2, 50)
    assert (svd["min_guidance_scale"]["type"], svd["min_guidance_scale"]["max_value"]) == (10, 10.0)
    assert [choice["value"] for choice in parallax["size"]["choices"]] == [360, 480, 720, 1080]
    assert parallax["loop"]["type"] == 5
    assert [choice["value"] for choice in animate["system"]["choices"]] == ["svd", "animatediff", "parallax"]


@pytest.mark.parametrize("name", MODELS)
def test_files_that_must_be_attached_come_first_and_others_stand_where_they_were_declared(name: str) -> None:
    files = {key: needed(field) for key, field in fields_of(name).items() if attached(field)}
    options = COMMANDS[name]["options"]
    first = sum(files.values())

    assert {option["name"]: option["required"] for option in options if option["type"] == 11} == files
    assert all(option["required"] and option["type"] == 11 for option in options[:first])
    assert not any(option["required"] for option in options[first:])


@pytest.mark.parametrize("name", BY_NAME)
def test_what_people_seldom_touch_is_listed_last(name: str) -> None:
    fields = fields_of(name)
    advanced = [key not in fields or marked(fields[key], Advanced) for key in options_of(name)]

    assert any(advanced) or name not in GENERATIONS
    assert advanced == sorted(advanced)
    assert "system" not in options_of(name), "the command's name says it"


def test_an_option_says_its_default() -> None:
    assert options_of("svd")["fps"]["description"].endswith("(default 6)")
    assert options_of("parallax")["loop"]["description"].endswith("(default yes)")
    assert "default" not in options_of("svd")["seed"]["description"]


def test_a_description_too_long_for_its_default_is_shown_without_it() -> None:
    class Wordy(BaseModel):
        length: int = Field(default=3, description="x" * 95)
        longer: int = Field(default=3, description="y" * 140)

    assert described("length", Wordy.model_fields["length"]) == "x" * 95
    assert described("longer", Wordy.model_fields["longer"]) == "y" * 100


@pytest.mark.parametrize("strange", [dict[str, int], list[int], bytes, complex])
def test_a_field_of_a_type_nobody_knows_stops_the_start(strange: Any) -> None:
    class Strange(BaseModel):
        field: strange

    with pytest.raises(TypeError, match="no slash option is known"):
        option_type(Strange.model_fields["field"])
    with pytest.raises(TypeError):
        made("strange", "Strange.", (Strange,), nothing)


def test_a_new_field_becomes_an_option_without_a_line_of_discord_code() -> None:
    class New(BaseModel):
        strength: Annotated[int | None, Advanced()] = Field(default=None, ge=-5, le=5, description="how strong")
        mood: Literal["calm", "wild"] = Field(default="calm", description="how it feels")
        share: Annotated[float, Ge(0), Le(1)] = Field(default=0.5, description="how much of it")

    strength = made("new", "New.", (New,), nothing).to_dict(TREE)["options"]
    by_name = {option["name"]: option for option in cast(list[Json], strength)}

    assert list(by_name) == ["mood", "share", "strength"]
    assert (by_name["strength"]["min_value"], by_name["strength"]["max_value"]) == (-5, 5)
    assert (by_name["share"]["type"], by_name["share"]["max_value"]) == (10, 1)


# Defaults and what does not fit


@pytest.mark.parametrize("kind", REQUESTS, ids=lambda kind: kind.name())
def test_every_default_lies_within_its_own_bounds(kind: type[Request]) -> None:
    request = kind.usual()

    assert kind.model_validate(request.model_dump()) == request
    assert kind.model_validate_json(request.model_dump_json()) == request
    for key, field in kind.model_fields.items():
        low, high = bounds(field)
        value = getattr(request, key)
        if value is not None and not isinstance(value, str | tuple):
            assert low is None or value >= low
            assert high is None or value <= high


@pytest.mark.parametrize("kind", GENERATIONS.values(), ids=lambda kind: kind.name())
def test_a_seed_nobody_chose_is_new_each_time(kind: type[Generation]) -> None:
    request = kind.usual()

    assert len({request.seed, kind.usual().seed, kind.usual().seed}) > 1
    assert request.again().seed != request.seed
    assert request.again().model_copy(update={"seed": request.seed}) == request


@pytest.mark.parametrize(
    ("model", "values", "option", "would_fit"),
    [
        (Brief, {"motion": "300"}, "motion", "1 to 255"),
        (Brief, {"motion": "much"}, "motion", "1 to 255"),
        (Brief, {"seconds": "0.1"}, "seconds", "0.5 to 10"),
        (Brief, {"seconds": "nan"}, "seconds", "0.5 to 10"),
        (Brief, {"seed": "-1"}, "seed", f"0 to {MAX_SEED}"),
        (Brief, {"seed": str(MAX_SEED + 1)}, "seed", f"0 to {MAX_SEED}"),
        (Output, {"format": "avi"}, "format", "mp4, gif, both"),
        (BY_NAME["svd"], {"num_frames": "1"}, "num_frames", "2 to 50"),
        (BY_NAME["svd"], {"model": "svd-2"}, "model", "svd, svd-xt, svd-xt-1-1"),
        (BY_NAME["parallax"], {"move": "jump"}, "move", "orbit, dolly in"),
        (BY_NAME["parallax"], {"size": 555}, "size", "360, 480, 720, 1080"),
    ],
)  # fmt: skip
def test_a_value_that_does_not_fit_is_answered_with_its_option_and_what_would(
    model: type[BaseModel], values: dict[str, Any], option: str, would_fit: str
) -> None:
    with pytest.raises(BadOption) as refused:
        parse(model, values)
    sentence = word(refused.value)

    assert f"`{option}`" in sentence
    assert would_fit in sentence


def test_what_is_typed_as_text_is_read_as_what_it_means() -> None:
    typed = {"amount": "70", "seconds": "2.5", "loop": "no", "move": "pan left", "motion": "not its own: left out"}
    request = parse(BY_NAME["parallax"], typed)

    assert request.model_dump(include={"amount", "seconds", "loop", "move"}) == {
        "amount": 70, "seconds": 2.5, "loop": False, "move": "pan left",
    }  # fmt: skip


def test_a_rule_over_two_options_is_answered_with_its_own_sentence() -> None:
    with pytest.raises(Refusal) as refused:
        parse(BY_NAME["svd"], {"min_guidance_scale": 3, "max_guidance_scale": 2})

    assert refused.value.code == "svd_guidance"
    assert word(refused.value)


def test_a_number_among_choices_may_be_typed() -> None:
    assert parse(BY_NAME["parallax"], {"size": "720"}).model_dump()["size"] == 720


briefs = st.builds(
    Brief,
    prompt=st.text(max_size=1000),
    motion=st.integers(1, 255),
    seconds=st.none() | st.floats(0.5, 10),
    seed=st.none() | st.integers(0, MAX_SEED),
)


@settings(max_examples=150, database=None, deadline=None)
@given(brief=briefs, kind=st.sampled_from(list(GENERATIONS.values())))
def test_any_brief_becomes_a_request_or_a_refusal(brief: Brief, kind: type[Generation]) -> None:
    try:
        request = kind.from_brief(brief)
    except Refusal as refusal:
        word(refusal)  # which has all its facts
        return
    assert kind.model_validate(request.model_dump()) == request
    assert brief.seed in (None, request.seed)


@pytest.mark.parametrize("kind", GENERATIONS.values(), ids=lambda kind: kind.name())
def test_more_motion_and_more_seconds_in_the_brief_never_mean_less(kind: type[Generation]) -> None:
    def measure(**said: Any) -> tuple[float, float]:
        asked = kind.from_brief(Brief(**said)).model_dump()
        motion = next(asked[name] for name in ("amount", "motion_scale", "motion") if name in asked)
        return float(motion), asked.get("seconds") or (asked.get("num_frames") or 25) / asked["fps"]

    motions = [measure(motion=motion)[0] for motion in range(1, 256)]
    lengths = [measure(seconds=tenths / 10)[1] for tenths in range(9, 100)]

    assert motions == sorted(motions)
    assert motions[0] < motions[-1]
    assert lengths == sorted(lengths)
    assert lengths[0] < lengths[-1]


def test_the_description_is_the_requests_own_first_line() -> None:
    for name, kind in BY_NAME.items():
        assert COMMANDS[name]["description"] == first_line(kind) == (kind.__doc__ or "").splitlines()[0]
