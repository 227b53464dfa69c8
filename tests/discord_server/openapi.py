"""Discord's published OpenAPI document as a judge of every request (and, in our own tests, of our answers)."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError, best_match
from jsonschema.validators import extend
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

Json = dict[str, Any]
DOCUMENT = Path(__file__).parents[2].parent / "shared/reference/discord-openapi.json"
HERE = "urn:discord"


def load() -> OpenApi | None:
    """The document named by ZOETROPE_OPENAPI, else the shared one; None where there is none."""
    path = Path(os.environ.get("ZOETROPE_OPENAPI") or DOCUMENT)
    return _load(path) if path.is_file() else None


@lru_cache
def _load(path: Path) -> OpenApi:
    return OpenApi(json.loads(path.read_text("utf-8")))


def _allow(document: Json) -> None:
    """What Discord takes although its document does not say so; each with its source."""
    schemas = document["components"]["schemas"]
    # Snowflakes "may also be sent as integers": docs' own examples (attachments[].id = 0) and discord.py throughout.
    schemas["SnowflakeType"] = {
        "anyOf": [schemas["SnowflakeType"], {"type": "integer", "minimum": 0}],
    }


class OpenApi:
    """Finds the operation of a request and says what does not fit."""

    def __init__(self, document: Json) -> None:
        _allow(document)
        resource = Resource.from_contents(document, default_specification=DRAFT202012)
        self._registry: Registry[Any] = Registry().with_resource(HERE, resource)
        self._schemas: Json = document["components"]["schemas"]
        self._paths = sorted(document["paths"].items(), key=lambda item: item[0].count("{"))
        self._patterns = [(_pattern(path), path, item) for path, item in self._paths]
        self._validators: dict[str, Any] = {}
        self._checker = extend(Draft202012Validator, {"oneOf": self._union("oneOf"), "anyOf": self._union("anyOf")})

    def address(self, method: str, path: str, query: dict[str, str]) -> list[str]:
        """What is wrong with where a request goes: one sentence each, empty when it fits."""
        found = self._operation(method, path)
        if found is None:
            return [f"{method} {path}: no such operation in Discord's OpenAPI document"]
        _, item, operation = found
        return [f"{method} {path}: {each}" for each in self._query(item, operation, query)]

    def body(self, method: str, path: str, body: Any) -> list[str]:
        """What is wrong with a request's JSON; Discord, too, would refuse that."""
        found = self._operation(method, path)
        if found is None:
            return []
        template, _, operation = found
        if "requestBody" not in operation:
            return [] if body in (None, {}) else [f"{method} {path}: a body where none is taken"]
        if body is None and not operation["requestBody"].get("required"):
            return []
        pointer = f"/paths/{_escape(template)}/{method.lower()}/requestBody/content/application~1json/schema"
        return [f"{method} {path}: {each}" for each in self._complaints(pointer, body)]

    def answer(self, method: str, path: str, status: int, body: Any) -> list[str]:
        """What is wrong with an answer of ours."""
        found = self._operation(method, path)
        if found is None:
            return []
        template, _, operation = found
        responses = operation["responses"]
        if str(status) not in responses:
            return [f"{method} {path}: answers {status}, the document knows {sorted(responses)}"]
        if "content" not in responses[str(status)]:
            return []
        pointer = f"/paths/{_escape(template)}/{method.lower()}/responses/{status}/content/application~1json/schema"
        return [f"{method} {path} → {each}" for each in self._complaints(pointer, body)]

    def _operation(self, method: str, path: str) -> tuple[str, Json, Json] | None:
        for pattern, template, item in self._patterns:
            if pattern.fullmatch(path) and method.lower() in item:
                return template, item, item[method.lower()]
        return None

    def _query(self, item: Json, operation: Json, query: dict[str, str]) -> Iterator[str]:
        known = {each["name"]: each for each in (*item.get("parameters", ()), *operation.get("parameters", ()))}
        places = {name: each for name, each in known.items() if each["in"] == "query"}
        yield from (f"unknown query parameter {name}={value}" for name, value in query.items() if name not in places)
        for name, each in places.items():
            if each.get("required") and name not in query:
                yield f"query parameter {name} is missing"
            kind = each["schema"].get("type")
            value = query.get(name, "")
            if name in query and kind == "integer" and not value.lstrip("-").isdigit():
                yield f"query parameter {name}={value} is no integer"
            if name in query and kind == "boolean" and value.lower() not in ("true", "false", "0", "1"):
                yield f"query parameter {name}={value} is no boolean"

    def _complaints(self, pointer: str, body: Any) -> list[str]:
        if pointer not in self._validators:
            self._validators[pointer] = self._checker({"$ref": f"{HERE}#{pointer}"}, registry=self._registry)
        return [_sentence(error) for error in self._validators[pointer].iter_errors(body)]

    def _union(self, keyword: str) -> Any:
        """Unions told apart by `type` are followed by it alone: quicker, and the complaint names the real fault."""
        usual = Draft202012Validator.VALIDATORS[keyword]

        def check(validator: Any, branches: list[Json], instance: Any, schema: Json) -> Iterator[ValidationError]:
            if instance is not None:
                branches = [branch for branch in branches if branch != {"type": "null"}]
            kind = instance.get("type") if isinstance(instance, dict) else None
            chosen = [branch for branch in branches if kind is not None and kind in self._kinds(branch)]
            likely = chosen or branches
            if len(likely) == 1:
                yield from validator.descend(instance, likely[0])
            else:
                yield from usual(validator, likely, instance, schema)

        return check

    def _kinds(self, branch: Json) -> list[Any]:
        """The values of `type` that a branch declares."""
        name = branch.get("$ref", "").removeprefix("#/components/schemas/")
        properties = self._schemas.get(name, {}).get("properties", {})
        return properties.get("type", {}).get("enum", []) if "type" in properties else []


def _pattern(template: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(template)))


def _escape(template: str) -> str:
    """A path as one part of a JSON pointer inside a URI fragment."""
    return template.replace("~", "~0").replace("/", "~1").replace("{", "%7B").replace("}", "%7D")


def _sentence(error: ValidationError) -> str:
    """The deepest reason, with where it stands in the body."""
    deepest = best_match(error.context) if error.context else error
    deepest = deepest or error
    where = ".".join(str(part) for part in deepest.absolute_path)
    return f"{where or 'body'}: {deepest.message[:300]}"
