"""What moderators set is set whole, is written down, and can be taken back as long as nobody has changed it since."""

import asyncio
import json
import logging
from itertools import pairwise

import pytest

from jobs.policy import EVERYONE, EVERYWHERE, Place, Rules, Share, channel_scope, combined, guild_scope
from jobs.queue import JobQueue
from jobs.record import Person
from jobs.rulebook import (
    KEPT_CHANGES,
    KEPT_DAYS,
    Changed,
    Editor,
    NothingToUndo,
    Rulebook,
    audit_key,
    rules_key,
    share_name,
)

SERVER, CHANNEL = guild_scope("5"), channel_scope("55")
MOIRA = Editor(Person(id="7", name="moira"), "5")
OLAF = Editor(Person(id="8", name="olaf"), "5")
OWNER = Editor(Person(id="9", name="owner"), None)


@pytest.fixture
def book(queue: JobQueue) -> Rulebook:
    return Rulebook(queue.redis)


async def test_what_was_set_holds_in_its_scope_and_survives_a_restart(book: Rulebook, queue: JobQueue) -> None:
    await book.change(MOIRA, SERVER, {"format": "gif", "systems": ["svd", "parallax"], "seconds": 4.5})
    await book.change(MOIRA, CHANNEL, {"seconds": 2.0, share_name("71", "weight"): 2.0})
    again = Rulebook(queue.redis)

    assert await again.rules(SERVER) == Rules(format="gif", systems=("svd", "parallax"), seconds=4.5)
    assert combined(await again.layers(Place("66", "5", "55"))).seconds == 2.0
    assert (await again.rules(CHANNEL)).shares == {"71": Share(weight=2.0)}
    assert await again.rules(guild_scope("6")) == Rules()
    assert await queue.redis.ttl(rules_key(SERVER)) == -1, "settings stay until they are cleared"


async def test_every_change_says_who_and_from_what_to_what(book: Rulebook, queue: JobQueue) -> None:
    await book.change(MOIRA, SERVER, {"format": "gif"})
    await book.change(OLAF, CHANNEL, {"format": "mp4", "seconds": None})
    await book.change(OLAF, SERVER, {"format": "both", share_name(EVERYONE, "waiting"): 3})
    newest, middle, oldest = await book.history("5")

    assert (oldest.by, oldest.name, oldest.scope, oldest.via) == ("7", "moira", SERVER, "settings")
    assert oldest.changes == (Changed(name="format", old="", new='"gif"'),)
    assert middle.changes == (Changed(name="format", old="", new='"mp4"'),), "seconds were not set before, either"
    assert newest.changes == (
        Changed(name="format", old='"gif"', new='"both"'),
        Changed(name="share:everyone:waiting", old="", new="3"),
    )
    assert len({newest.id, middle.id, oldest.id}) == 3
    assert int(newest.at_ms) >= int(oldest.at_ms) > 1.7e12
    assert 0 < await queue.redis.ttl(audit_key("5")) <= KEPT_DAYS * 86_400


async def test_setting_what_is_set_changes_nothing_and_is_not_written_down(book: Rulebook) -> None:
    assert await book.change(MOIRA, SERVER, {"seconds": 4.0, "systems": ["svd"]})
    assert await book.change(OLAF, SERVER, {"systems": ["svd"], "seconds": 4.0}) is None
    assert await book.change(OLAF, SERVER, {"nsfw": None}) is None
    assert len(await book.history("5")) == 1


async def test_every_server_has_its_own_book_and_what_concerns_all_another(book: Rulebook) -> None:
    await book.change(OWNER, EVERYWHERE, {"drained": True}, via="drain")
    await book.change(MOIRA, SERVER, {"format": "gif"})

    assert [change.name for change in await book.history("5")] == ["moira"]
    assert [change.name for change in await book.history(None)] == ["owner"]
    assert await book.history("6") == []


async def test_clearing_takes_away_what_begins_so_or_all_but_a_drain(book: Rulebook) -> None:
    helpers = {share_name("71", "weight"): 2.0, share_name("71", "waiting"): 5, share_name("7", "weight"): 3.0}
    await book.change(MOIRA, SERVER, {"format": "gif", "seconds": 3.0, "drained": True, **helpers})
    await book.clear(MOIRA, SERVER, "share:71:")
    assert (await book.rules(SERVER)).shares == {"7": Share(weight=3.0)}
    await book.clear(MOIRA, SERVER, "format")
    assert (await book.rules(SERVER)).seconds == 3.0
    await book.clear(MOIRA, SERVER)

    assert await book.rules(SERVER) == Rules(drained=True)
    assert await book.clear(MOIRA, SERVER) is None


# --- undo ---


async def test_undo_takes_back_one_change_after_the_other_until_nothing_is_left(book: Rulebook) -> None:
    await book.change(MOIRA, SERVER, {"format": "gif", "seconds": 3.0})
    await book.change(OLAF, CHANNEL, {"seconds": 9.0})
    await book.change(MOIRA, SERVER, {"format": "both"})
    seen: list[tuple[str | None, float | None, float | None]] = []
    for _ in range(3):
        await book.undo(OLAF)
        server, channel = await book.rules(SERVER), await book.rules(CHANNEL)
        seen.append((server.format, server.seconds, channel.seconds))

    assert seen == [("gif", 3.0, 9.0), ("gif", 3.0, None), (None, None, None)]
    with pytest.raises(NothingToUndo):
        await book.undo(OLAF)


async def test_an_undo_is_written_down_as_one(book: Rulebook) -> None:
    change = await book.change(MOIRA, SERVER, {"format": "gif"})
    assert change is not None
    back = await book.undo(OLAF)

    assert (back.undoes, back.by) == (change.id, "8")
    assert back.changes == (Changed(name="format", old='"gif"', new=""),)
    assert await book.history("5") == [back, change]


async def test_clearing_everything_can_be_undone(book: Rulebook) -> None:
    before = {"format": "gif", "nsfw": "spoiler", share_name("71", "weight"): 2.0}
    await book.change(MOIRA, SERVER, before)
    rules = await book.rules(SERVER)
    await book.clear(MOIRA, SERVER)
    await book.undo(MOIRA)

    assert await book.rules(SERVER) == rules


async def test_what_has_changed_since_is_not_overwritten_by_an_undo(book: Rulebook, queue: JobQueue) -> None:
    """Nor any other setting of the same change: it is taken back whole or not at all."""
    await book.change(MOIRA, SERVER, {"format": "gif", "seconds": 3.0})
    await queue.redis.hset(rules_key(SERVER), "seconds", "5.0")  # as if at this very moment
    with pytest.raises(NothingToUndo):
        await book.undo(MOIRA)

    assert await book.rules(SERVER) == Rules(format="gif", seconds=5.0)


async def test_drains_and_pauses_are_not_undone_by_undo(book: Rulebook) -> None:
    await book.change(MOIRA, SERVER, {"format": "gif"})
    await book.change(MOIRA, SERVER, {"drained": True}, via="drain")
    await book.note(MOIRA, CHANNEL, paused=True)
    await book.undo(MOIRA)

    assert await book.rules(SERVER) == Rules(drained=True)
    assert [change.via for change in await book.history("5")] == ["settings", "pause", "drain", "settings"]
    with pytest.raises(NothingToUndo):
        await book.undo(MOIRA)


async def test_nobody_undoes_another_servers_changes(book: Rulebook) -> None:
    await book.change(MOIRA, SERVER, {"format": "gif"})
    with pytest.raises(NothingToUndo):
        await book.undo(Editor(OLAF.person, "6"))


# --- at once, for long, and from elsewhere ---


async def test_of_changes_at_the_same_moment_each_is_whole_and_the_book_tells_the_way(book: Rulebook) -> None:
    """Whoever came last has both values; every entry begins where the one before it ended."""
    edits = [{"seconds": float(number), "megapixels": float(number)} for number in range(1, 31)]
    await asyncio.gather(*(book.change(MOIRA, SERVER, edit) for edit in edits))
    rules, history = await book.rules(SERVER), await book.history("5")

    assert rules.seconds == rules.megapixels
    for later, earlier in pairwise(history):
        assert [each.old for each in later.changes] == [each.new for each in earlier.changes]
    assert json.loads(history[0].changes[0].new) == rules.seconds


async def test_of_two_undos_at_the_same_moment_no_change_is_taken_back_twice(book: Rulebook) -> None:
    await book.change(MOIRA, SERVER, {"format": "gif"})
    await book.change(MOIRA, SERVER, {"format": "both"})
    came = await asyncio.gather(*(book.undo(OLAF) for _ in range(4)), return_exceptions=True)
    undone = [change.undoes for change in await book.history("5") if change.undoes]

    assert len(undone) == len(set(undone)) >= 1
    assert len(undone) + sum(isinstance(each, NothingToUndo) for each in came) == 4


async def test_the_book_keeps_its_newest_pages(book: Rulebook, queue: JobQueue) -> None:
    for number in range(KEPT_CHANGES + 5):
        await book.change(MOIRA, SERVER, {"seconds": number + 1.0})
    await book.note(MOIRA, SERVER, paused=True)

    assert await queue.redis.llen(audit_key("5")) == KEPT_CHANGES
    assert (await book.history("5"))[1].changes[0].new == str(KEPT_CHANGES + 5.0)
    assert len(await book.history("5", 3)) == 3


@pytest.mark.parametrize(
    ("name", "document"),
    [
        ("format", '"avi"'), ("seconds", "-1"), ("seconds", "{"), ("systems", '"svd"'), ("results", '"general"'),
        ("from a newer version", "1"), ("share:71:weight", "0"), ("share:71:", "1"), ("share:", "1"), ("shares", "{}"),
        ("shares", "null"),
    ],
)  # fmt: skip
async def test_a_setting_that_cannot_be_read_is_left_out_and_said_in_the_log(
    book: Rulebook, queue: JobQueue, caplog: pytest.LogCaptureFixture, name: str, document: str
) -> None:
    await book.change(MOIRA, SERVER, {"nsfw": "spoiler", share_name("72", "waiting"): 3})
    await queue.redis.hset(rules_key(SERVER), name, document)
    with caplog.at_level(logging.WARNING):
        rules = await book.rules(SERVER)

    assert rules == Rules(nsfw="spoiler", shares={"72": Share(waiting=3)})
    assert name in caplog.text or name == "shares"
    await book.clear(MOIRA, SERVER)
    assert await queue.redis.hgetall(rules_key(SERVER)) == {}


@pytest.mark.parametrize("document", ["", "{", "[]", "{}", '{"changes": 1}', '{"changes": [["format", ""]]}', "null"])
async def test_an_entry_that_cannot_be_read_hides_no_other(book: Rulebook, queue: JobQueue, document: str) -> None:
    change = await book.change(MOIRA, SERVER, {"format": "gif"})
    await queue.redis.lpush(audit_key("5"), document)

    assert await book.history("5") == [change]
    await book.undo(MOIRA)
    assert await book.rules(SERVER) == Rules()


async def test_names_are_kept_letter_by_letter(book: Rulebook) -> None:
    """Through JSON, Lua and back; ids have more digits than a number in Lua."""
    name, room = 'Zoë "/\\\\ 🎞️ \x00', "9007199254740993001"
    await book.change(Editor(Person(id=room, name=name), "5"), SERVER, {"results": room})
    [change] = await book.history("5")

    assert (change.name, change.by) == (name, room)
    assert (await book.rules(SERVER)).results == room
