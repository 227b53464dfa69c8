"""Answers to interactions: the callback, and the webhook that lives for 15 minutes."""

from __future__ import annotations

from tests.discord_server import announce, payloads
from tests.discord_server.errors import Json, unknown
from tests.discord_server.interactions import Asked, asked_by_token
from tests.discord_server.rest import Call, Reply, Routes, open_token

routes = Routes()
MESSAGE = "/webhooks/{webhook_id}/{token}/messages/{message_id}"


@routes("POST", "/interactions/{interaction_id}/{token}/callback", open=True)
def callback(call: Call) -> Reply:
    """The first response."""
    asked = call.world.asked.get(call.params["token"])
    if asked is None or asked.id != call.params["interaction_id"]:
        raise unknown("Interaction")
    answer = asked.callback(call.body, call.files)
    wanted = call.query.get("with_response", "").lower() in ("1", "true")
    return Reply(200, answer) if wanted else Reply(204)


def _asked(call: Call) -> Asked:
    open_token(call)
    asked = asked_by_token(call.world, call.params["token"])
    asked.check_token()
    return asked


@routes("POST", "/webhooks/{webhook_id}/{token}", open=True)
def follow_up(call: Call) -> Json:
    """A further message; for interactions `wait` is always true."""
    message = _asked(call).follow_up(call.body, call.files)
    return payloads.message(call.world, message)


@routes("GET", MESSAGE, open=True)
def get(call: Call) -> Json:
    """`@original` or one of the follow-ups."""
    return payloads.message(call.world, _asked(call).find(call.params["message_id"]))


@routes("PATCH", MESSAGE, open=True)
def edit(call: Call) -> Json:
    """`@original` or one of the follow-ups."""
    return payloads.message(call.world, _asked(call).edit(call.params["message_id"], call.body, call.files))


@routes("DELETE", MESSAGE, open=True)
def delete(call: Call) -> None:
    """`@original` or one of the follow-ups."""
    message = _asked(call).find(call.params["message_id"])
    message.deleted = True
    announce.message_deleted(call.world, message)
