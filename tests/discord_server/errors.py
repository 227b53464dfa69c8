"""Discord's refusals: one line each, in the body shape that real clients parse."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]


class ApiError(Exception):
    """An answer other than success. Codes: discord-api-docs, topics/opcodes-and-status-codes."""

    def __init__(self, status: int, code: int, message: str, errors: Json | None = None) -> None:
        super().__init__(f"{status} {code} {message}")
        self.status, self.code, self.message, self.errors = status, code, message, errors

    def body(self) -> Json:
        """The JSON that goes over the wire."""
        extra = {"errors": self.errors} if self.errors else {}
        return {"message": self.message, "code": self.code, **extra}


def unauthorized() -> ApiError:
    """No token, or not the bot's."""
    return ApiError(401, 0, "401: Unauthorized")


def unknown(thing: str) -> ApiError:
    """404 with the code that belongs to this kind of thing."""
    return ApiError(404, UNKNOWN[thing], f"Unknown {thing}")


def invalid_form(field: str, code: str, message: str) -> ApiError:
    """50035; `field` is dotted (`attachments.0.filename`) and becomes the nested `errors` object."""
    nested: Json = {"_errors": [{"code": code, "message": message}]}
    for part in reversed(field.split(".")):
        nested = {part: nested}
    return ApiError(400, 50035, "Invalid Form Body", nested)


def too_long(field: str, limit: int) -> ApiError:
    """A string over its limit of characters."""
    return invalid_form(field, "BASE_TYPE_MAX_LENGTH", f"Must be {limit} or fewer in length.")


def too_large() -> ApiError:
    """A file over the limit of this place."""
    return ApiError(413, 40005, "Request entity too large")


def missing_access() -> ApiError:
    """The bot cannot even see the channel."""
    return ApiError(403, 50001, "Missing Access")


def missing_permissions() -> ApiError:
    """The bot sees it but may not do this."""
    return ApiError(403, 50013, "Missing Permissions")


def already_acknowledged() -> ApiError:
    """A second first answer to one interaction."""
    return ApiError(400, 40060, "Interaction has already been acknowledged.")


def dead_token() -> ApiError:
    """The interaction's token is older than 15 minutes, or was never given out."""
    return ApiError(401, 50027, "Invalid Webhook Token")


UNKNOWN = {
    "Application": 10002,
    "Channel": 10003,
    "Guild": 10004,
    "Member": 10007,
    "Message": 10008,
    "User": 10013,
    "Webhook": 10015,
    "Interaction": 10062,
    "Application Command": 10063,
}
