"""Every sentence a person may read: each is there, each is used, and each can be filled by whoever raises it."""

import ast
import importlib
import pkgutil
import re
import string
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

import bot
import commands
import console
import inference
import jobs
import media
from jobs.errors import Failure, Refusal, UserError, new_incident
from jobs.texts import catalogue, say, word

ROOT = Path(__file__).resolve().parents[1]
ROOMS = (jobs, media, bot, commands, inference, console)
CARRIERS = {"CannotBeRendered"}
"""Errors that carry another one's code and facts."""
LONGEST = 1000
"""Discord's limit is 2000 characters; the result line and its mention need room too."""


class Use(NamedTuple):
    """A place that names a code, and the facts it gives; None where they are not written out there."""

    code: str
    facts: frozenset[str] | None
    where: str


def import_everything() -> None:
    """Every module of ours, so that every class is known."""
    for room in ROOMS:
        for module in pkgutil.walk_packages(room.__path__, f"{room.__name__}."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)


def below(kind: type[UserError]) -> Iterator[type[UserError]]:
    """Its subclasses, and theirs."""
    for child in kind.__subclasses__():
        yield child
        yield from below(child)


@cache
def errors() -> dict[str, type[UserError]]:
    """Every error that a person may read, by its class's name."""
    import_everything()
    return {
        kind.__name__: kind
        for kind in below(UserError)
        if kind not in (Refusal, Failure) and not kind.__module__.startswith("tests")
    }


def literal(node: ast.expr | None) -> str | None:
    """A string that is written out."""
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def keys_of(node: ast.expr | None) -> frozenset[str] | None:
    """The keys of a dict that is written out; a `**` in it, or anything else, is unknown."""
    if node is None:
        return frozenset()
    if not isinstance(node, ast.Dict):
        return None
    keys = [literal(key) for key in node.keys]
    return frozenset(key for key in keys if key) if all(keys) else None


def use_in(node: ast.Call, where: str) -> Use | None:
    """What a call says: `Note("code", {…})`, `say("code", {…})` or `SomeError(fact=…)`."""
    name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
    named = {keyword.arg: keyword.value for keyword in node.keywords}
    if name in ("Note", "say"):
        code = literal(node.args[0] if node.args else named.get("code"))
        return Use(code, keys_of(node.args[1] if len(node.args) > 1 else named.get("facts")), where) if code else None
    if name in errors() and name not in CARRIERS:
        facts = None if None in named or node.args else frozenset(filter(None, named))
        return Use(errors()[name].code, facts, where)
    return None


@cache
def uses() -> list[Use]:
    """Every place in the sources that names a code."""
    found: list[Use] = []
    for room in ROOMS:
        for path in sorted((ROOT / room.__name__).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.Call):
                    found.append(use) if (use := use_in(node, f"{path.relative_to(ROOT)}:{node.lineno}")) else None
    return found


def asked_for(sentence: str) -> dict[str, str]:
    """The facts in a sentence, each with its format."""
    return {name: form or "" for _, name, form, _ in string.Formatter().parse(sentence) if name is not None}


def test_every_error_has_a_code_of_its_own_and_its_sentence() -> None:
    codes = [kind.code for name, kind in errors().items() if name not in CARRIERS]

    assert len(codes) > 25
    assert set(codes) <= set(catalogue())
    assert sorted(codes) == sorted(set(codes)), "two classes share a sentence"


def test_every_code_that_is_named_in_the_sources_has_a_sentence() -> None:
    assert len(uses()) > 40
    assert [use for use in uses() if use.code not in catalogue()] == []


def test_every_sentence_is_used() -> None:
    used = {use.code for use in uses()} | {kind.code for kind in errors().values()}

    assert set(catalogue()) - used == set()


def test_every_error_class_is_raised_somewhere() -> None:
    named = {use.code for use in uses()}
    sources = "\n".join(path.read_text("utf-8") for room in ROOMS for path in (ROOT / room.__name__).rglob("*.py"))
    idle = [
        name
        for name, kind in errors().items()
        if kind.code not in named and len(re.findall(rf"\b{name}\b", sources)) < 2
    ]

    assert idle == []


@pytest.mark.parametrize("code", catalogue())
def test_whoever_says_a_sentence_gives_the_facts_it_asks_for(code: str) -> None:
    wanted = set(asked_for(catalogue()[code]))
    for use in uses():
        if use.code == code and use.facts is not None:
            assert wanted <= use.facts, f"{use.where} lacks {wanted - use.facts}"


@pytest.mark.parametrize("code", catalogue())
def test_a_sentence_is_a_sentence_and_fits_a_message(code: str) -> None:
    sentence = catalogue()[code]
    facts = {name: 1 if form else "x" * 20 for name, form in asked_for(sentence).items()}
    said = say(code, facts)

    ends = re.search(r"[.!?]( \(\S+\))?$", said) or sentence.endswith("}") or re.fullmatch(r"\*\*[^*]+:\*\*", said)
    assert ends, "a fact may bring its own full stop, and a heading has none"
    assert said[0].isupper() or not sentence[0].isalpha(), "a sign or a fact may stand before it"
    assert len(said) <= LONGEST
    assert said == " ".join(said.split()), "one line, single spaces"
    assert said.count("`") % 2 == 0
    assert said.count("**") % 2 == 0


def test_facts_are_plain_names() -> None:
    """No `{0}`, no `{option.__class__}`: what a fact may reach is the fact."""
    for sentence in catalogue().values():
        assert all(name.isidentifier() for name in asked_for(sentence))


def test_a_fact_is_shown_as_it_is_and_is_no_template_itself() -> None:
    said = say("missing_value", {"option": "{option.__class__} {0}"})

    assert "{option.__class__} {0}" in said


def test_an_error_crosses_the_queue_as_its_code_and_facts() -> None:
    for kind in errors().values():
        if kind.__name__ not in CARRIERS:
            facts = {name: 2.0 if form else "x" for name, form in asked_for(catalogue()[kind.code]).items()}
            error = kind(**facts)
            assert (error.note.code, dict(error.note.facts)) == (kind.code, facts)
            assert word(error) == say(kind.code, facts)


def test_incidents_are_short_readable_and_not_repeated() -> None:
    incidents = {new_incident() for _ in range(500)}

    assert len(incidents) > 495
    assert all(re.fullmatch(r"[2-9a-hjkmnp-z]{6}", incident) for incident in incidents)
