"""What is allowed where: the nearest setting holds, and of a member's roles the best of each value counts."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis.strategies import builds, dictionaries, floats, integers, lists, none, sampled_from
from pydantic import ValidationError

from jobs.policy import (
    EVERYONE,
    EVERYWHERE,
    Place,
    Rules,
    Share,
    TermsSettings,
    combined,
    drained_in,
    holding_scopes,
    terms_of,
)
from jobs.requests.parallax import ParallaxRequest
from jobs.requests.svd import SvdRequest
from jobs.terms import Terms
from tests.queued import submission

GUILD, CHANNEL, THREAD = "guild:5", "channel:55", "channel:66"
HELPERS, BOOSTERS = "71", "72"


def layered(**by_scope: dict[str, Any]) -> list[tuple[str, Rules]]:
    """Layers as they are found for a thread, the widest first."""
    scopes = {"everywhere": EVERYWHERE, "server": GUILD, "channel": CHANNEL, "thread": THREAD}
    return [(scope, Rules(**by_scope.get(name, {}))) for name, scope in scopes.items()]


def table(**values: Any) -> TermsSettings:
    return TermsSettings.model_validate(values)


# --- layers ---


def test_settings_are_looked_for_from_the_widest_to_the_nearest() -> None:
    assert Place("66", "5", "55").scopes == (EVERYWHERE, GUILD, CHANNEL, THREAD)
    assert Place("55", "5").scopes == (EVERYWHERE, GUILD, CHANNEL)
    assert Place("900").scopes == (EVERYWHERE, "channel:900"), "a direct message has no server"


def test_the_nearest_value_holds_each_by_itself() -> None:
    layers = layered(
        server={"format": "gif", "seconds": 10, "systems": ("svd", "parallax")},
        channel={"seconds": 3},
        thread={"format": "both"},
    )
    rules = combined(layers)

    assert (rules.format, rules.seconds, rules.systems) == ("both", 3, ("svd", "parallax"))
    assert rules.megapixels is None


def test_a_thread_is_as_its_channel_where_nothing_is_set_for_it() -> None:
    assert combined(layered(channel={"nsfw": "spoiler"})).nsfw == "spoiler"


def test_a_servers_shares_are_not_lost_below_it() -> None:
    layers = layered(server={"shares": {EVERYONE: Share(waiting=3)}}, channel={"seconds": 3})

    assert combined(layers).shares == {EVERYONE: Share(waiting=3)}


def test_nothing_set_is_nothing_in_the_way() -> None:
    rules = combined(layered())

    assert rules == Rules()
    assert rules.allows("svd")
    assert rules.nsfw_of("svd") == "anywhere"


@pytest.mark.parametrize("drained", list(permutations([EVERYWHERE, GUILD, CHANNEL, THREAD], 2)))
def test_of_several_drains_the_widest_is_named(drained: tuple[str, ...]) -> None:
    """Whoever ends the nearer one alone would still be refused."""
    layers = [(scope, Rules(drained=scope in drained or None)) for scope, _ in layered()]

    assert drained_in(layers) == next(scope for scope, _ in layers if scope in drained)


def test_without_a_drain_there_is_none() -> None:
    assert drained_in(layered(server={"drained": False})) is None


def test_a_pause_reaches_a_job_by_its_server_and_by_the_very_channel() -> None:
    assert holding_scopes("5", "55") == {EVERYWHERE, GUILD, CHANNEL}
    assert holding_scopes("5", "66", "55") == {EVERYWHERE, GUILD, CHANNEL, THREAD}, "a thread is as its channel"


# --- systems and nsfw ---


def test_systems_that_are_not_named_may_not_be_used() -> None:
    rules = Rules(systems=("parallax",))

    assert (rules.allows("parallax"), rules.allows("svd")) == (True, False)


def test_nsfw_is_about_all_systems_or_about_those_that_are_named() -> None:
    every, some = Rules(nsfw="spoiler"), Rules(nsfw="age-restricted", nsfw_systems=("svd",))

    assert (every.nsfw_of("svd"), every.nsfw_of("parallax")) == ("spoiler", "spoiler")
    assert (some.nsfw_of("svd"), some.nsfw_of("parallax")) == ("age-restricted", "anywhere")
    assert Rules(nsfw_systems=("svd",)).nsfw_of("svd") == "anywhere", "named, but nothing is said of nsfw"


# --- shares ---


def test_without_settings_everyone_has_what_config_toml_says() -> None:
    assert terms_of(table(), Rules(), "5", []) == Terms()
    assert terms_of(table(waiting=3, gpu_seconds_per_day=60), Rules(), None, []) == Terms(
        waiting=3, gpu_seconds_per_day=60
    )


def test_the_best_of_everyones_and_of_all_roles_counts_value_by_value() -> None:
    rules = Rules(
        shares={
            HELPERS: Share(weight=3, waiting=5, running=1),
            BOOSTERS: Share(weight=2, waiting=40),
            "99": Share(weight=50),
        }
    )
    terms = terms_of(table(running=2), rules, "5", [HELPERS, BOOSTERS])

    assert (terms.weight, terms.waiting, terms.running) == (3, 40, 2)


def test_no_limit_is_better_than_any() -> None:
    rules = Rules(shares={HELPERS: Share(waiting=0, gpu_seconds_per_day=0), BOOSTERS: Share(waiting=900)})
    limited = table(waiting=10, gpu_seconds_per_day=60, megapixel_seconds=5)
    terms = terms_of(limited, rules, "5", [HELPERS, BOOSTERS])

    assert (terms.waiting, terms.gpu_seconds_per_day, terms.megapixel_seconds) == (0, 0, 5)


def test_a_role_cannot_take_away_what_everyone_has() -> None:
    assert terms_of(table(waiting=10), Rules(shares={HELPERS: Share(waiting=1)}), "5", [HELPERS]).waiting == 10


def test_a_servers_word_goes_before_config_toml_for_the_same_role_value_by_value() -> None:
    config = table(waiting=20, weight=2, roles={HELPERS: {"waiting": 50, "weight": 9}})
    rules = Rules(shares={EVERYONE: Share(waiting=2), HELPERS: Share(waiting=4)})

    assert terms_of(config, rules, "5", []).waiting == 2, "a server may give less than config.toml"
    assert terms_of(config, rules, "5", [HELPERS]).waiting == 4
    assert terms_of(config, rules, "5", [HELPERS]).weight == 9, "of which the server says nothing"


def test_a_server_has_its_own_share_of_the_gpus() -> None:
    config = table(guild_weights={"5": 3.0})

    assert [terms_of(config, Rules(), guild, []).guild_weight for guild in ("5", "6", None)] == [3.0, 1.0, 1.0]


shares = builds(
    Share,
    weight=none() | floats(0.1, 100),
    waiting=none() | integers(0, 1000),
    running=none() | integers(0, 100),
    gpu_seconds_per_day=none() | floats(0, 10**6),
    megapixel_seconds=none() | floats(0, 10**4),
)


def generosity(name: str, value: float) -> float:
    return float("inf") if value == 0 and name != "weight" else value


@given(
    dictionaries(sampled_from([EVERYONE, "1", "2", "3"]), shares),
    dictionaries(sampled_from(["1", "2", "3"]), shares),
    lists(sampled_from(["1", "2", "3"]), unique=True),
    sampled_from(["1", "2", "3"]),
)
def test_one_role_more_never_gives_less_and_the_order_of_roles_is_nothing(
    set_here: dict[str, Share], in_config: dict[str, Share], roles: list[str], another: str
) -> None:
    config, rules = table(roles=in_config), Rules(shares=set_here)
    before = terms_of(config, rules, "5", roles)
    after = terms_of(config, rules, "5", [another, *roles])

    assert terms_of(config, rules, "5", roles[::-1]) == before
    for name in Share.model_fields:
        assert generosity(name, getattr(after, name)) >= generosity(name, getattr(before, name))


@pytest.mark.parametrize(
    "wrong",
    [
        {"weight": 0}, {"weight": 101}, {"weight": 0.009}, {"weight": float("nan")}, {"weight": float("inf")},
        {"waiting": -1}, {"running": 1.5},
        {"roles": {"Helpers": {"waiting": 3}}}, {"roles": {"71": {"wating": 3}}}, {"guild_weights": {"5": 0}},
        {"guild_weights": {"5": 1e-308}}, {"roles": {"71": {"weight": 1e-308}}},
    ],
)  # fmt: skip
def test_what_config_toml_cannot_mean_stops_the_start(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        table(**wrong)


def test_a_weight_out_of_bounds_is_refused_with_the_bounds_in_words() -> None:
    with pytest.raises(ValidationError, match=r"greater than or equal to 0\.01"):
        Share(weight=1e-308)
    with pytest.raises(ValidationError, match="less than or equal to 100"):
        Share(weight=1e308)


@pytest.mark.parametrize(("stored", "read"), [(1e-308, 0.01), (0, 0.01), (1e308, 100), (2.5, 2.5)])
def test_a_record_of_an_older_version_is_read_with_its_weight_within_bounds(stored: float, read: float) -> None:
    terms = Terms.model_validate_json(f'{{"weight": {stored}, "guild_weight": {stored}}}')

    assert (terms.weight, terms.guild_weight) == (read, read)


def test_a_clip_lasts_its_frames_at_its_rate() -> None:
    svd, parallax = SvdRequest(num_frames=30, fps=6), ParallaxRequest(seconds=2.5, fps=20)

    assert svd.gives(submission().recipe.sources).seconds == 5
    assert parallax.gives(submission().recipe.sources).seconds == 2.5
