"""Every setting that some table declares, for the tests that hold files against them."""

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from console.settings import TABLES


def _fields(model: type[BaseModel], path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    defaults = model.model_construct().model_dump(mode="json")
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _fields(field.annotation, (*path, name))
        else:
            yield (*path, name), defaults[name]


DECLARED = dict(pair for table in TABLES for pair in _fields(table, (table.header,)))
"""The path of each setting, and its default as TOML would give it."""
VARIABLES = {"ZOETROPE_" + "__".join(path).upper() for path in DECLARED}
"""The name of each in the environment."""
