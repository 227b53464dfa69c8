"""What the Discord client checks before it sends: options of a command, fields of a modal, choices of a select.

A test that asks for what no client could send is wrong itself, so these raise AssertionError.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tests.discord_server import payloads
from tests.discord_server.components import (
    CHECKBOX,
    CHECKBOXES,
    FILE_UPLOAD,
    LABEL,
    RADIO,
    ROW,
    SELECTS,
    TEXT_INPUT,
)
from tests.discord_server.model import Attachment, Channel, Guild, Json, Message, Role, User
from tests.discord_server.permissions import in_channel

STRING, INTEGER, BOOLEAN, USER, CHANNEL, ROLE, MENTIONABLE, NUMBER, ATTACHMENT = range(3, 12)
SUBCOMMAND, SUBCOMMAND_GROUP = 1, 2
STRING_SELECT, USER_SELECT, ROLE_SELECT, MENTIONABLE_SELECT, CHANNEL_SELECT = SELECTS
PARTS: dict[type, str] = {
    User: "users",
    Role: "roles",
    Channel: "channels",
    Attachment: "attachments",
    Message: "messages",
}


class Resolved:
    """The `resolved` part of an interaction: whatever ids stand for."""

    def __init__(self, guild: Guild | None) -> None:
        self.guild = guild
        self.data: dict[str, Json] = {}

    def add(self, thing: User | Role | Channel | Attachment) -> str:
        """Note it; its id is the value."""
        key = str(thing.id)
        self._part(PARTS[type(thing)])[key] = self._wire(thing)
        if isinstance(thing, User) and self.guild and thing.id in self.guild.members:
            permissions = self.guild.everyone.permissions
            member = payloads.member(self.guild.members[thing.id], with_user=False, permissions=permissions)
            self._part("members")[key] = member
        return key

    def add_message(self, message: Json) -> str:
        """A message menu's target."""
        self._part("messages")[message["id"]] = message
        return message["id"]

    def _part(self, name: str) -> Json:
        return self.data.setdefault(name, {})

    def _wire(self, thing: User | Role | Channel | Attachment) -> Json:
        if isinstance(thing, User):
            return payloads.user(thing)
        if isinstance(thing, Role):
            return payloads.role(thing)
        if isinstance(thing, Channel):
            assert self.guild
            return payloads.channel(thing, permissions=in_channel(thing, self.guild.owner))
        return payloads.attachment(thing)


# --- slash commands ---


def leaf(command: Json, path: list[str]) -> tuple[Json, Callable[[list[Json]], list[Json]]]:
    """The (sub)command at the end of `path`, and how its options are wrapped on the wire."""
    here, wraps = command, []
    for name in path:
        here = next((each for each in here.get("options", ()) if each["name"] == name and each["type"] in (1, 2)), {})
        assert here, f"/{command['name']} has no subcommand {' '.join(path)}"
        wraps.append(here)
    groups = [each for each in here.get("options", ()) if each["type"] in (SUBCOMMAND, SUBCOMMAND_GROUP)]
    assert not groups, f"/{command['name']} needs one of its subcommands: {[each['name'] for each in groups]}"

    def wrap(options: list[Json]) -> list[Json]:
        for each in reversed(wraps):
            options = [{"name": each["name"], "type": each["type"], "options": options}]
        return options

    return here, wrap


def options(command: Json, given: Mapping[str, Any], resolved: Resolved) -> list[Json]:
    """The given options typed as declared; missing required, unknown or impossible ones are refused."""
    declared = {each["name"]: each for each in command.get("options", ())}
    unknown = set(given) - set(declared)
    assert not unknown, f"/{command['name']} has no option {sorted(unknown)}, only {sorted(declared)}"
    given = {name: value for name, value in given.items() if value is not None}
    missing = [name for name, each in declared.items() if each.get("required") and name not in given]
    assert not missing, f"/{command['name']} requires {missing}"
    return [
        {"name": name, "type": declared[name]["type"], "value": option_value(declared[name], value, resolved)}
        for name, value in given.items()
    ]


def option_value(option: Json, value: Any, resolved: Resolved) -> Any:
    """One value, checked by type, choices and bounds."""
    name, kind = option["name"], option["type"]
    if choices := option.get("choices"):
        return _choice(name, choices, value)
    if kind == BOOLEAN:
        assert isinstance(value, bool), f"{name} is on or off, not {value!r}"
        return value
    if kind == STRING:
        return _string(option, value)
    if kind in (INTEGER, NUMBER):
        return _number(option, value)
    wanted = {USER: User, CHANNEL: Channel, ROLE: Role, MENTIONABLE: (User, Role), ATTACHMENT: Attachment}[kind]
    assert isinstance(value, wanted), f"{name} takes {wanted}, not {value!r}"
    if kind == CHANNEL and option.get("channel_types"):
        assert value.type in option["channel_types"], f"{name} does not take channels of type {value.type}"
    return resolved.add(value)


def _choice(name: str, choices: list[Json], value: Any) -> Any:
    """By value or by the words that are shown."""
    for choice in choices:
        if value == choice["value"] and isinstance(value, bool) == isinstance(choice["value"], bool):
            return choice["value"]
        if value == choice["name"]:
            return choice["value"]
    raise AssertionError(f"{name} offers {[choice['name'] for choice in choices]}, not {value!r}")


def _string(option: Json, value: Any) -> str:
    assert isinstance(value, str), f"{option['name']} is text, not {value!r}"
    shortest, longest = option.get("min_length") or 0, option.get("max_length") or 6000
    assert shortest <= len(value) <= longest, f"{option['name']} takes {shortest} to {longest} characters"
    return value


def _number(option: Json, value: Any) -> float:
    name, whole = option["name"], option["type"] == INTEGER
    allowed = int if whole else (int, float)
    assert isinstance(value, allowed), f"{name} is a number, not {value!r}"
    assert not isinstance(value, bool), f"{name} is a number, not {value!r}"
    lowest, highest = option.get("min_value"), option.get("max_value")
    lowest, highest = -(2**53) if lowest is None else lowest, 2**53 if highest is None else highest
    assert lowest <= value <= highest, f"{name} takes {lowest} to {highest}, not {value}"
    return value


# --- modals ---


class ModalForm:
    """A modal filled in: the given values by custom_id or label, all else as it was preset."""

    def __init__(self, modal: Json, values: Mapping[str, Any], resolved: Resolved) -> None:
        self._values, self._resolved = dict(values), resolved
        self.components = [self._top(component) for component in modal["components"]]
        assert not self._values, f"the form has no field {sorted(self._values)}, only {self._names(modal)}"

    def _names(self, modal: Json) -> list[str]:
        return [each.get("label") or str(each.get("type")) for each in modal["components"]]

    def _top(self, component: Json) -> Json:
        body: Json = {"type": component["type"], "id": component["id"]}
        if component["type"] == LABEL:
            return body | {"component": self._field(component["component"], component["label"])}
        if component["type"] == ROW:
            inner = component["components"]
            return body | {"components": [self._field(each, each.get("label", "")) for each in inner]}
        return body

    def _field(self, field: Json, label: str) -> Json:
        custom_id = field["custom_id"]
        given = custom_id in self._values or label in self._values
        value = self._values.pop(custom_id, None) if custom_id in self._values else self._values.pop(label, None)
        fill = FIELDS[field["type"]]
        return {
            "type": field["type"],
            "id": field["id"],
            "custom_id": custom_id,
            **fill(field, given, value, self._resolved),
        }


def _text(field: Json, given: bool, value: Any, resolved: Resolved) -> Json:
    text = value if given else field.get("value") or ""
    required, shortest = field.get("required", True), field.get("min_length") or 0
    assert isinstance(text, str), f"{field['custom_id']} is text, not {text!r}"
    assert text or not required, f"{field['custom_id']} is required"
    assert not text or len(text) >= shortest, f"{field['custom_id']} needs {shortest} characters"
    assert len(text) <= (field.get("max_length") or 4000), (
        f"{field['custom_id']} takes {field['max_length']} characters"
    )
    return {"value": text}


def _picked(field: Json, given: bool, value: Any, resolved: Resolved) -> Json:
    """Several of some: selects and checkbox groups in forms."""
    preset = [each["value"] for each in field.get("options", ()) if each.get("default")]
    preset += [str(each["id"]) for each in field.get("default_values", ())]
    return {"values": picks(field, value, resolved) if given else _counted(field, preset)}


def picks(field: Json, value: Any, resolved: Resolved) -> list[str]:
    """The chosen values of a select, which a person could choose."""
    chosen = value if isinstance(value, (list, tuple)) else [value]
    if field["type"] in (STRING_SELECT, CHECKBOXES):
        offered = {key: each["value"] for each in field["options"] for key in (each["label"], each["value"])}
        wrong = [each for each in chosen if each not in offered]
        assert not wrong, f"{field['custom_id']} offers {sorted(offered)}, not {wrong}"
        return _counted(field, [offered[each] for each in chosen])
    wanted = {USER_SELECT: User, ROLE_SELECT: Role, MENTIONABLE_SELECT: (User, Role), CHANNEL_SELECT: Channel}
    assert all(isinstance(each, wanted[field["type"]]) for each in chosen), f"{field['custom_id']} got {chosen}"
    return _counted(field, [resolved.add(each) for each in chosen])


def _counted(field: Json, values: list[str]) -> list[str]:
    optional = field.get("required") is False and not values
    lowest = field.get("min_values")
    lowest = 1 if lowest is None else lowest
    highest = field.get("max_values") or (len(field.get("options", ())) if field["type"] == CHECKBOXES else 1)
    assert optional or lowest <= len(values) <= highest, f"{field['custom_id']} takes {lowest} to {highest}: {values}"
    return values


def _files(field: Json, given: bool, value: Any, resolved: Resolved) -> Json:
    files = (value if isinstance(value, (list, tuple)) else [value]) if given and value is not None else []
    assert all(isinstance(each, Attachment) for each in files), f"{field['custom_id']} takes files, not {files}"
    return {"values": _counted(field, [resolved.add(each) for each in files])}


def _radio(field: Json, given: bool, value: Any, resolved: Resolved) -> Json:
    preset = next((each["value"] for each in field["options"] if each.get("default")), None)
    offered = {key: each["value"] for each in field["options"] for key in (each["label"], each["value"])}
    assert not given or value in offered, f"{field['custom_id']} offers {sorted(offered)}, not {value!r}"
    chosen = offered[value] if given else preset
    assert chosen is not None or field.get("required") is False, f"{field['custom_id']} is required"
    return {"value": chosen}


def _checkbox(field: Json, given: bool, value: Any, resolved: Resolved) -> Json:
    return {"value": bool(value) if given else bool(field.get("default"))}


FIELDS: dict[int, Callable[[Json, bool, Any, Resolved], Json]] = {
    TEXT_INPUT: _text,
    FILE_UPLOAD: _files,
    RADIO: _radio,
    CHECKBOX: _checkbox,
    **dict.fromkeys((*SELECTS, CHECKBOXES), _picked),
}
