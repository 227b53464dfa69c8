"""Slash options, derived from pydantic models: one command for each `Request`, no parameter written twice."""

import inspect
import types
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin

import annotated_types
import discord
from discord import app_commands
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from jobs.errors import Refusal
from jobs.requests.base import Advanced, Attached, Collected, Request, Suggested

M = TypeVar("M", bound=BaseModel)
Options = Mapping[str, Any]
Handler = Callable[[discord.Interaction, Options], Awaitable[None]]
Suggest = Callable[[discord.Interaction, str, str], Awaitable[Sequence[str]]]
"""An option's name and what is typed there → texts to choose from."""
DESCRIPTION = 100
"""Discord's limit for a description, in characters."""
MOST_OPTIONS = 25
"""Discord's limit for a command; and for choices that are offered while somebody types."""
CHOICE = 100
"""Discord's limit for a choice, in characters."""
ADVANCED = "advanced"


class BadOption(Refusal):
    """A value that no client of Discord could have sent, but a person can type into a form or a message."""

    code = "bad_option"


def offered(*models: type[BaseModel]) -> dict[str, FieldInfo]:
    """The fields a person may set: what must be attached, the usual ones, the seed, the advanced; never the
    discriminator.
    """

    def order(name: str, field: FieldInfo) -> int:
        return 0 if needed(field) else 3 if marked(field, Advanced) else 2 if name == "seed" else 1

    fields = {
        name: field
        for model in models
        for name, field in model.model_fields.items()
        if name != "system" and not marked(field, Collected)
    }
    return dict(sorted(fields.items(), key=lambda item: order(*item)))


def shown_at_once(fields: Mapping[str, FieldInfo], others: int = 0) -> dict[str, FieldInfo]:
    """Those that a slash command shows: all, or where they and `others` are too many, all but the advanced."""
    if len(fields) + others <= MOST_OPTIONS:
        return dict(fields)
    return {name: field for name, field in fields.items() if not marked(field, Advanced)}


def first_line(request: type[Request]) -> str:
    """The first line of the class docstring: what people read under the command's name."""
    return (request.__doc__ or request.name()).splitlines()[0]


def marked(field: FieldInfo, kind: type) -> bool:
    """Whether the field bears such a mark."""
    return any(isinstance(mark, kind) for mark in field.metadata)


def attached(field: FieldInfo) -> bool:
    """Whether the field is an attachment in Discord. A motion is a source as well, but people name it."""
    return any(isinstance(mark, Attached) and mark.kind != "motion" for mark in field.metadata)


def needed(field: FieldInfo) -> bool:
    """Whether it must be attached."""
    return attached(field) and field.default is not None


def suggested(field: FieldInfo) -> bool:
    """Whether choices are offered while somebody types."""
    return marked(field, Suggested) or (marked(field, Attached) and not attached(field))


def plain_type(field: FieldInfo) -> Any:
    """The field's type without `| None`."""
    annotation: Any = field.annotation
    if get_origin(annotation) in (types.UnionType, Union):
        [annotation] = [part for part in get_args(annotation) if part is not type(None)]
    while hasattr(annotation, "__metadata__"):
        annotation = annotation.__origin__
    return annotation


def wordy(field: FieldInfo) -> bool:
    """Whether a value may be several words: any text, and choices such as `zoom in`."""
    kind = plain_type(field)
    return kind is str or any(" " in str(choice) for choice in get_args(kind))


def bounds(field: FieldInfo) -> tuple[Any, Any]:
    """The field's least and greatest value (for text: length), None where open."""
    low = high = None
    for mark in _marks(field):
        match mark:
            case annotated_types.Ge(ge=value) | annotated_types.MinLen(min_length=value):
                low = value
            case annotated_types.Le(le=value) | annotated_types.MaxLen(max_length=value):
                high = value
            case _:
                pass
    return low, high


def _marks(field: FieldInfo) -> Iterator[Any]:
    """The field's constraints, those of an `Annotated` inside `| None` included."""
    yield from field.metadata
    for part in get_args(field.annotation):
        for mark in getattr(part, "__metadata__", ()):
            yield from mark.metadata if isinstance(mark, FieldInfo) else (mark,)


def option_type(field: FieldInfo) -> Any:
    """The annotation from which discord.py makes the option."""
    if attached(field):
        return discord.Attachment
    annotation = plain_type(field)
    low, high = bounds(field)
    if annotation in (int, float, str) and (low is not None or high is not None):
        unit = float if annotation is float else int
        return app_commands.Range[annotation, *(None if end is None else unit(end) for end in (low, high))]
    if get_origin(annotation) is Literal or annotation in (int, float, str, bool):
        return annotation
    raise TypeError(f"no slash option is known for {annotation!r}")


def described(name: str, field: FieldInfo) -> str:
    """The option's description with its default, as far as 100 characters go."""
    text = field.description or name
    default = field.default
    if not attached(field) and not field.is_required() and default not in (None, "") and field.default_factory is None:
        shown = {True: "yes", False: "no"}.get(default, default) if isinstance(default, bool) else default
        with_default = f"{text} (default {shown})"
        text = with_default if len(with_default) <= DESCRIPTION else text
    return text[:DESCRIPTION]


def slash_command(
    name: str,
    description: str,
    models: Sequence[type[BaseModel]],
    handler: Handler,
    extra: Mapping[str, tuple[Any, str]] = types.MappingProxyType({}),
    suggest: Suggest | None = None,
) -> app_commands.Command[Any, ..., None]:
    """A command whose options are the models' fields, and `extra` ones (name → annotation, description).

    Where that is more than Discord takes, the advanced fields are left to a form, and `advanced` opens it.
    discord.py reads the callback's signature; this one is made, not written.
    """
    everything = offered(*models)
    fields = shown_at_once(everything, len(extra))
    if len(fields) < len(everything):
        extra = {**extra, ADVANCED: (bool, "show a form with the other options before it is queued")}

    async def callback(interaction: discord.Interaction, **options: Any) -> None:
        await handler(interaction, {key: value for key, value in options.items() if value is not None})

    annotations = {key: option_type(field) for key, field in fields.items()}
    annotations |= {key: annotation for key, (annotation, _) in extra.items()}
    required = {key for key, field in fields.items() if needed(field)}
    first = inspect.Parameter("interaction", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=discord.Interaction)
    rest = [
        inspect.Parameter(
            key,
            inspect.Parameter.POSITIONAL_OR_KEYWORD,
            default=inspect.Parameter.empty if key in required else None,
            annotation=annotation,
        )
        for key, annotation in annotations.items()
    ]
    callback.__signature__ = inspect.Signature([first, *rest])  # type: ignore[attr-defined]
    callback.__annotations__ = {"interaction": discord.Interaction, **annotations}
    descriptions = {key: described(key, field) for key, field in fields.items()}
    descriptions |= {key: text[:DESCRIPTION] for key, (_, text) in extra.items()}
    app_commands.describe(**descriptions)(callback)
    command = app_commands.Command[Any, ..., None](
        name=name, description=description[:DESCRIPTION], callback=cast(Any, callback)
    )
    for key, field in fields.items():
        if suggest and suggested(field):
            command.autocomplete(key)(_choices(suggest, key))
    return command


def _choices(suggest: Suggest, option: str) -> Any:
    """discord.py's form of it."""

    async def complete(interaction: discord.Interaction, typed: str) -> list[app_commands.Choice[str]]:
        texts = [text for text in await suggest(interaction, option, typed) if len(text) <= CHOICE]
        return [app_commands.Choice(name=text, value=text) for text in texts[:MOST_OPTIONS]]

    return complete


def parse(model: type[M], values: Mapping[str, Any]) -> M:
    """The model from what was given; fields that are not its own are left out.

    Raises:
        BadOption: a value does not fit, named with the reason.
    """
    own = {key: _chosen(model.model_fields[key], value) for key, value in values.items() if key in model.model_fields}
    try:
        return model.model_validate(own)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        option = str(first["loc"][0]) if first["loc"] else "options"
        field = model.model_fields.get(option)
        reason = first["msg"][:1].lower() + first["msg"][1:]
        raise BadOption(option=option, reason=reason, hint=hint(field) if field else "") from None


def _chosen(field: FieldInfo, value: Any) -> Any:
    """A typed choice as the choice it names: "720" is 720 where 720 may be chosen."""
    if get_origin(plain_type(field)) is not Literal:
        return value
    return next((choice for choice in get_args(plain_type(field)) if str(choice) == str(value).lower()), value)


def hint(field: FieldInfo) -> str:
    """What would fit: the choices or the range."""
    annotation = plain_type(field)
    if get_origin(annotation) is Literal:
        return "It may be " + ", ".join(str(choice) for choice in get_args(annotation)) + "."
    low, high = bounds(field)
    if annotation in (int, float) and low is not None and high is not None:
        return f"It may be {low} to {high}."
    return ""
