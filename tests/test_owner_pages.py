"""What moderators read fits one message however much there is to say, and nothing stored makes a page impossible."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis.strategies import builds, lists, sampled_from, text, tuples

from commands.owner_pages import (
    LABELS,
    LONGEST,
    MOST_IN_A_LINE,
    SHARE_LABELS,
    Shown,
    Standing,
    audit_page,
    change_in_words,
    settings_page,
    status_page,
)
from jobs.aside import SetAside
from jobs.costs import Row
from jobs.line import Line, Running
from jobs.policy import EVERYONE, ClipRules, Rules, Share, TermsSettings, combined
from jobs.rulebook import Change, Changed
from jobs.workers import Advert

SERVER, CHANNEL = "guild:5", "channel:55"
EMPTY = Line(0, 0.0, {}, (), ())


def change(number: int, *changes: tuple[str, str, str]) -> Change:
    """An entry of the book."""
    told = tuple(Changed(name=name, old=old, new=new) for name, old, new in changes)
    return Change(
        id=f"c{number}", at_ms="1795922709000", by="7", name="moira", scope=SERVER, via="settings", changes=told
    )


def shown(rules: Rules, here: tuple[str, ...] = (), **terms: object) -> str:
    layers = [(SERVER, rules)]
    table = TermsSettings.model_validate(terms)
    return settings_page(Shown("in <#55>", layers, combined(layers), table, here, paused=()))


def standing(**more: object) -> str:
    usual = {"workers": [], "line": EMPTY, "paused": (), "costs": [], "aside": [], "guild": "5", "owner": True}
    return status_page(Standing(**{**usual, **more}))  # type: ignore[arg-type]


def test_every_setting_and_every_value_of_a_share_has_its_name() -> None:
    assert set(ClipRules.model_fields) | {"systems", "nsfw_systems", "results", "drained", "paused"} == set(LABELS)
    assert set(SHARE_LABELS) == set(Share.model_fields)


def test_roles_of_another_server_that_config_toml_names_are_not_shown() -> None:
    page = shown(
        Rules(shares={"71": Share(weight=2)}), ("71", "72"), roles={"72": {"waiting": 0}, "99": {"weight": 50}}
    )

    assert "- <@&71>: weight 2" in page
    assert "- <@&72>: open jobs no limit" in page
    assert "99" not in page


def test_what_the_server_says_of_everyone_stands_instead_of_config_toml() -> None:
    page = shown(Rules(shares={EVERYONE: Share(waiting=3)}), waiting=20)

    assert "- everyone: weight 1 · open jobs 3 ·" in page


def test_a_machine_says_what_it_does_holds_and_can_run() -> None:
    advert = {"worker": "w1", "host": "attic", "device": "cpu", "systems": {"svd": ("svd-xt",)}, "warm": ("svd",)}
    running = Running("1", "5", "7", "55", "svd", 1, "w1", 0)
    busy = standing(workers=[Advert.model_validate(advert)], line=Line(0, 0.0, {}, (), (running,)))
    leaving = standing(workers=[Advert.model_validate({**advert, "leaving": True})])

    assert "- `w1` on attic (cpu): renders svd · holds svd · can run svd (svd-xt)" in busy
    assert "(cpu): leaving" in leaving
    assert standing().startswith("**Machines** · none is online")


def test_costs_say_how_sure_they_are() -> None:
    page = standing(costs=[Row("svd", "RTX 3060", 95_000, 21_000, 0.123, 1), Row("parallax", "", 4_000, 0, 1.0, 0)])

    assert "- svd on RTX 3060: 2 minutes ± 12% over 1 render, loads in 21 seconds" in page
    assert "- parallax: about 4 seconds, a guess: none was measured yet" in page


def test_a_page_with_too_much_to_say_ends_with_a_mark_and_fits() -> None:
    many = [SetAside(job_id=str(number), system="svd", incident="abc234", log="", at_ms=10**12) for number in range(50)]
    page = standing(aside=many)

    assert len(page) <= LONGEST
    assert page.endswith("\n…")
    assert (
        len(shown(Rules(shares={str(n): Share(weight=2) for n in range(100)}), tuple(map(str, range(100))))) <= LONGEST
    )


def test_one_change_of_a_hundred_settings_hides_no_other_in_the_book() -> None:
    cleared = change(2, *((f"share:{10**18 + number}:weight", "2.0", "") for number in range(100)))
    page = audit_page([cleared, change(1, ("format", "", '"gif"'))])

    assert f"; and {100 - MOST_IN_A_LINE} more" in page
    assert page.endswith("format: not set → gif")


@pytest.mark.parametrize(
    ("stored", "old", "new", "words"),
    [
        ("format", "", '"gif"', "format: not set → gif"),
        ("seconds", "2.5", "", "longest clip: 2.5 seconds → not set"),
        ("systems", '["svd"]', '["svd","parallax"]', "systems: svd → svd, parallax"),
        ("drained", "", "true", "new requests: taken → refused"),
        ("paused", "true", "false", "the line: paused → going on"),
        ("share:everyone:waiting", "", "0", "open jobs of everyone: not set → no limit"),
        ("share:71:weight", "2.0", "", "weight of <@&71>: 2 → not set"),
        ("seconds", '"soon"', "3.0", 'longest clip: "soon" → 3 seconds'),
        ("share:71:weight", "{", "2.0", "weight of <@&71>: { → 2"),
    ],
)
def test_a_change_in_words(stored: str, old: str, new: str, words: str) -> None:
    assert change_in_words(Changed(name=stored, old=old, new=new)) == words


names = sampled_from([*LABELS, "share:everyone:weight", "share:71:waiting", "share:71:", "from a newer version"])
documents = sampled_from(["", "1", "0", "-1.5", "true", "null", '"x"', "[]", "[1]", "{}", "{"]) | text(max_size=8)


@given(lists(builds(change, sampled_from(range(9)), tuples(names, documents, documents)), max_size=25))
def test_whatever_is_stored_the_book_can_be_read(changes: list[Change]) -> None:
    assert len(audit_page(changes)) <= LONGEST
