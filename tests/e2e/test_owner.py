"""`/zoetrope`: what moderators and the owner do to the line, who may, and how things stand."""

import re
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from jobs.aside import Aside, SetAside
from tests.discord_server.model import Message, User
from tests.discord_server.permissions import Permission
from tests.e2e.advertised import emptied
from tests.e2e.conftest import Room
from tests.e2e.moderated import asks, manager, queued, told, unserved
from tests.stack import Stack

pytestmark = pytest.mark.asyncio(loop_scope="module")
ACTS: dict[str, dict[str, object]] = {
    "pause": {"where": "this server"},
    "drain": {"where": "this server"},
    "resume": {"where": "this server"},
    "status": {},
    "settings edit": {"format": "gif"},
    "settings share": {"waiting": 1},
    "settings clear": {"what": "everything"},
    "settings undo": {},
    "settings show": {},
    "settings audit": {},
}
"""Everything there is, each as a moderator would use it."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    async with unserved(tmp_path_factory.mktemp("stack")) as stack:
        yield stack


@pytest_asyncio.fixture(loop_scope="module", autouse=True)
async def as_new(shared: Stack) -> None:
    await emptied(shared)


@pytest.fixture
def moira(room: Room) -> User:
    """She manages the server."""
    return manager(room)


@pytest.fixture
def owner(room: Room) -> User:
    """The application is theirs, and the servers as well."""
    return room.server.world.owner


@pytest.fixture
def shown_to_all(room: Room) -> Iterator[None]:
    """An admin has shown the command to everybody, in the server's settings."""
    command = room.server.command("zoetrope")
    usual = command["default_member_permissions"]
    command["default_member_permissions"] = None
    yield
    command["default_member_permissions"] = usual


# --- who may ---


async def test_discord_shows_it_to_those_who_manage_the_server(room: Room) -> None:
    command = room.server.command("zoetrope")

    assert command["default_member_permissions"] == str(int(Permission.MANAGE_GUILD))
    assert {part["name"] for part in command["options"]} == {"pause", "drain", "resume", "status", "settings"}


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.usefixtures("shown_to_all")
async def test_who_does_not_manage_the_server_may_nothing_even_where_it_is_shown(room: Room, act: str) -> None:
    said = await told(room, room.server.moderator("deletes_messages"), act, **ACTS[act])

    assert said == "Only members with **Manage Server** and the owner of the bot may do that."
    assert await room.stack.redis.keys("zoetrope:rules*") == await room.stack.redis.keys("zoetrope:audit*") == []
    assert await room.stack.queue.paused() == {}


@pytest.mark.parametrize("act", ["pause", "drain", "resume"])
async def test_what_concerns_all_servers_is_the_owners(room: Room, moira: User, owner: User, act: str) -> None:
    refused = await told(room, moira, act, where="everything")
    assert refused == "What concerns all servers is for the owner of the bot. Choose `this server` or `this channel`."
    assert "on all servers" in await told(room, owner, act, where="everything")


@pytest.mark.usefixtures("shown_to_all")
async def test_in_a_direct_message_there_is_no_server_but_the_owner_may_stop_everything(
    room: Room, owner: User
) -> None:
    dm, other = room.server.dm(owner), room.server.dm(room.person)

    for who, channel, act in ((owner, dm, "settings show"), (owner, dm, "pause"), (room.person, other, "status")):
        said = await told(room, who, act, channel, **ACTS[act])
        assert said.startswith("There is no server here to do that to.")
    assert "**Paused on all servers.**" in await told(room, owner, "pause", dm, where="everything")
    assert "**Machines** · 1 online" in await told(room, owner, "status", dm)


# --- pause, drain, resume ---


async def test_a_pause_holds_what_waits_and_lets_run_what_runs_until_it_is_over(room: Room, moira: User) -> None:
    bob = room.server.user("bob")
    runs, waits = await queued(room, bob), await queued(room)
    lease = await room.stack.queue.claim(runs.id, "w1")
    assert lease is not None
    said = await told(room, moira, "pause", where="this channel")
    here = f"<#{room.channel.id}>"

    assert said == (
        f"⏸️ **Paused in {here}.** On hold, each at its place: 1 job. Running to the end: 1 job. "
        "New requests are accepted and wait as well. To go on: `/zoetrope resume` with `where: this channel`."
    )
    assert await room.stack.queue.take("w1", ["parallax"]) is None
    assert "was paused in" in await told(room, moira, "pause", where="this channel")
    later = await queued(room, bob)
    assert await told(room, moira, "resume", where="this channel") == (
        f"▶️ **The pause in {here} is over.** In line, each at its place: 2 jobs. "
        "To hold them again: `/zoetrope pause` with `where: this channel`."
    )
    taken = [await room.stack.queue.take("w1", ["parallax"]) for _ in range(2)]
    assert {each.job_id for each in taken if each} == {waits.id, later.id}


async def test_a_drain_refuses_what_is_new_and_finishes_what_waits(room: Room, moira: User) -> None:
    job = await queued(room)
    said = await told(room, moira, "drain", where="this server")

    assert said == (
        "🚰 **Draining on this server.** New requests are refused. Still to be finished: 1 job waiting, "
        "nothing running. To take new ones again: `/zoetrope resume` with `where: this server`."
    )
    refused = "New requests are refused on this server right now; what waits already is still rendered."
    assert (await asks(room)).startswith(refused)
    assert "were refused on this server already" in await told(room, moira, "drain", where="this server")
    taken = await room.stack.queue.take("w1", ["parallax"])
    assert taken is not None
    assert taken.job_id == job.id
    again = await told(room, moira, "resume", where="this server")
    assert again.startswith("▶️ **New requests are taken on this server again.**")
    await queued(room)


async def test_a_drained_channels_threads_take_nothing_either(room: Room, moira: User) -> None:
    thread = room.server.add_thread("a thread", room.channel)
    await told(room, moira, "drain", where="this channel")

    assert f"refused in <#{room.channel.id}>" in await asks(room, channel=thread)
    await queued(room, channel=room.server.add_channel("elsewhere"))


async def test_what_is_paused_besides_is_said(room: Room, moira: User, owner: User) -> None:
    """Else a line that is drained never runs empty, or goes on only half, and nobody knows why."""
    await told(room, owner, "pause", where="everything")
    await told(room, moira, "pause", where="this server")
    drained = await told(room, moira, "drain", where="this server")

    assert "It is paused on this server as well; that ends with `/zoetrope resume` and `where: this server`." in drained
    resumed = await told(room, moira, "resume", where="this server")
    assert "**The pause on this server is over.**" in resumed
    assert "**New requests are taken on this server again.**" in resumed
    assert "It is paused on all servers as well; that ends with" in resumed
    assert (await told(room, moira, "resume", where="this server")).startswith(
        "It was neither paused nor drained on this server."
    )


async def test_pauses_drains_and_settings_survive_the_bot(room: Room, moira: User) -> None:
    await told(room, moira, "pause", where="this channel")
    await told(room, moira, "drain", where="this server")
    await told(room, moira, "settings edit", format="gif")
    room.stack.bot.kill()
    await room.stack.bot.ended()
    await room.stack.restart_bot()
    shown = await told(room, moira, "settings show")

    assert "refused on this server" in await asks(room)
    assert "- format: **gif** · set on this server" in shown
    assert "- 🚰 no new requests on this server" in shown
    assert f"- ⏸️ paused in <#{room.channel.id}>" in shown


# --- status ---


async def test_the_owner_sees_machines_costs_and_what_was_set_aside_with_its_log(room: Room, owner: User) -> None:
    await queued(room)
    await Aside(room.stack.redis).put(SetAside(job_id="77", system="svd", incident="abc234", log="CUDA error: bang"))
    asked = await room.server.slash("zoetrope status", owner, channel=room.channel)
    [answer] = (await asked.answered(20)).responses
    lines = answer.text.splitlines()

    assert lines[:2] == [
        "**Machines** · 1 online",
        "- `w1` on attic (RTX 3060, 12 GiB): idle · can run parallax, svd (svd-xt)",
    ]
    assert re.fullmatch(r"\*\*Line\*\* · 1 waiting \(about \d+ seconds? of GPU\), 0 running", lines[2])
    assert lines[3] == "- of this server: 1 waiting, 0 running"
    assert re.fullmatch(r"- svd: about \d+ \w+, a guess: none was measured yet", lines[5])
    assert lines[-2] == "**Set aside** · 1 job took the renderer down; logs attached"
    assert re.fullmatch(r"- `77` svd, <t:\d+:R>, abc234", lines[-1])
    assert [(file.filename, file.data) for file in answer.attachments] == [("set-aside-77.txt", b"CUDA error: bang")]


async def test_a_moderator_sees_what_concerns_their_server(room: Room, moira: User, owner: User) -> None:
    far = room.server.add_guild("far")
    there = room.server.add_channel("there", far)
    await queued(room, room.server.user("stranger", guild=far), there)
    await told(room, owner, "pause", there, where="this channel")
    await told(room, owner, "pause", there, where="this server")
    await told(room, moira, "pause", where="this channel")
    await Aside(room.stack.redis).put(SetAside(job_id="77", system="svd", incident="abc234", log="CUDA error: bang"))
    said = await told(room, moira, "status")

    assert said.splitlines()[1] == "- a machine (RTX 3060, 12 GiB): idle · can run parallax, svd (svd-xt)"
    assert "- of this server: 0 waiting, 0 running" in said
    assert [line for line in said.splitlines() if "⏸️" in line] == [f"- ⏸️ paused in <#{room.channel.id}>"]
    assert not re.search(r"attic|What jobs cost|Set aside|stranger", said)
    assert f"- ⏸️ paused on the server {far.id}" in await told(room, owner, "status")


async def test_the_channel_sees_nothing_of_all_this(room: Room, moira: User) -> None:
    for act, options in ACTS.items():
        await told(room, moira, act, **options)
    seen: list[Message] = room.server.bot_messages(room.channel)

    assert seen == []
