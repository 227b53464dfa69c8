"""Rules for components in messages and modals, and attachment:// references (developers/components/reference)."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from tests.discord_server.errors import invalid_form, too_long
from tests.discord_server.model import Attachment, Json, walk
from tests.discord_server.payloads import attachment as wire

ROW, BUTTON, TEXT_INPUT, SECTION, TEXT, THUMBNAIL, GALLERY, FILE = 1, 2, 4, 9, 10, 11, 12, 13
SELECTS = (3, 5, 6, 7, 8)
LABEL, FILE_UPLOAD, RADIO, CHECKBOXES, CHECKBOX = 18, 19, 21, 22, 23
SEPARATOR, CONTAINER = 14, 17
PRESETS: dict[int, Json] = {
    THUMBNAIL: {"description": None, "spoiler": False},
    FILE: {"spoiler": False},
    SEPARATOR: {"spacing": 1, "divider": True},
    CONTAINER: {"accent_color": None, "spoiler": False},
    **{select: {"min_values": 1, "max_values": 1} for select in SELECTS},
}
"""What Discord says back of fields that were not sent."""
MAX_COMPONENTS, MAX_TEXT, MAX_ROWS, MAX_CUSTOM_ID = 40, 4000, 5, 100


def settle(components: list[Json] | None, attachments: Sequence[Attachment], *, v2: bool) -> list[Json]:
    """Check a message's components and return them as Discord gives them back: numbered, with real media."""
    settled = copy.deepcopy(components or [])
    everything = list(walk(settled))
    _check_kinds(settled, everything, v2=v2)
    _check_custom_ids(everything)
    _number(everything)
    for component in everything:
        component |= {**PRESETS.get(component["type"], {}), **component}
        _resolve(component, attachments)
    return settled


def settle_modal(data: Json) -> Json:
    """Check a modal and number its components."""
    modal = copy.deepcopy(data)
    if len(modal.get("title", "")) > 45:
        raise too_long("data.title", 45)
    if len(modal.get("custom_id", "")) > MAX_CUSTOM_ID:
        raise too_long("data.custom_id", MAX_CUSTOM_ID)
    if not 1 <= len(modal.get("components", [])) <= 5:
        raise invalid_form("data.components", "BASE_TYPE_BAD_LENGTH", "Must be between 1 and 5 in length.")
    everything = list(walk(modal["components"]))
    _check_custom_ids(everything)
    _number(everything)
    return modal


def _check_kinds(top: list[Json], everything: list[Json], *, v2: bool) -> None:
    if v2:
        if len(everything) > MAX_COMPONENTS:
            raise invalid_form("components", "COMPONENT_MAX_TOTAL_COMPONENTS_EXCEEDED", "More than 40 components.")
        if sum(len(each["content"]) for each in everything if each["type"] == TEXT) > MAX_TEXT:
            raise invalid_form("components", "COMPONENT_DISPLAYABLE_TEXT_SIZE_EXCEEDED", "More than 4000 characters.")
        return
    if any(each["type"] != ROW for each in top):
        raise invalid_form("components.0.type", "UNION_TYPE_CHOICES", "Value of field 'type' must be one of (1,).")
    if len(top) > MAX_ROWS:
        raise invalid_form("components", "BASE_TYPE_BAD_LENGTH", "Must be 5 or fewer in length.")
    for row in top:
        width = sum(5 if each["type"] in SELECTS else 1 for each in row["components"])
        if not 1 <= width <= 5:
            raise invalid_form("components.0", "COMPONENT_LAYOUT_WIDTH_EXCEEDED", "An action row holds 1 to 5 buttons.")


def _check_custom_ids(everything: list[Json]) -> None:
    seen: set[str] = set()
    for component in everything:
        custom_id = component.get("custom_id")
        if custom_id is None:
            continue
        if not 1 <= len(custom_id) <= MAX_CUSTOM_ID:
            raise too_long("components.0.custom_id", MAX_CUSTOM_ID)
        if custom_id in seen:
            message = "Component custom id cannot be duplicated"
            raise invalid_form("components.0.custom_id", "COMPONENT_CUSTOM_ID_DUPLICATED", message)
        seen.add(custom_id)


def _number(everything: list[Json]) -> None:
    """Discord gives every component without an `id` the next free one."""
    taken = {component["id"] for component in everything if component.get("id")}
    number = 0
    for component in everything:
        if not component.get("id"):
            number = next(n for n in range(number + 1, 10_000) if n not in taken)
            component["id"] = number


def _resolve(component: Json, attachments: Sequence[Attachment]) -> None:
    if component["type"] == THUMBNAIL:
        component["media"] = _media(component["media"], attachments)
    if component["type"] == GALLERY:
        component["items"] = [
            {"description": None, "spoiler": False, **item, "media": _media(item["media"], attachments)}
            for item in component["items"]
        ]
    if component["type"] == FILE:
        name = component["file"]["url"].removeprefix("attachment://")
        size = next((each.size for each in attachments if each.filename == name), 0)
        component |= {"file": _media(component["file"], attachments), "name": name, "size": size}


def _media(media: Json, attachments: Sequence[Attachment]) -> Json:
    """attachment://name → that attachment's address and size."""
    name = media["url"].removeprefix("attachment://")
    loaded: dict[str, Any] = {"id": "0", "loading_state": 2, "flags": 0, "placeholder": "", "placeholder_version": 1}
    if name == media["url"]:
        return loaded | {"url": name, "proxy_url": name}
    found = next((each for each in attachments if each.filename == name), None)
    if found is None:
        code = "UNFURLED_MEDIA_ITEM_REFERENCED_ATTACHMENT_NOT_FOUND"
        raise invalid_form("components", code, f"The referenced attachment was not found: {name}")
    body = wire(found)
    kept = {key: body[key] for key in ("url", "proxy_url", "width", "height", "content_type") if key in body}
    return loaded | kept | {"attachment_id": body["id"]}
