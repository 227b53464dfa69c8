"""`/zoetrope`: what moderators and the owner do to a server's line and settings, and what people notice of it."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from jobs.aside import Aside, SetAside
from jobs.queue import NoSuchJob
from jobs.record import Job, Lease, Rendered
from jobs.workers import Advert, Workers
from tests.discord_server import LocalDiscord
from tests.discord_server.model import Channel, Message, Role, User
from tests.discord_server.permissions import Permission
from tests.e2e.conftest import Room
from tests.queued import CLIP
from tests.stack import Stack, running

pytestmark = pytest.mark.asyncio(loop_scope="module")

SYSTEMS = {"parallax": (), "svd": ("svd-xt",)}
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
    """A bot, and a worker that is online and takes nothing by itself."""
    folder = tmp_path_factory.mktemp("stack")
    async with LocalDiscord(message_content=True) as server, running(server, folder, worker=False) as stack:
        online = asyncio.create_task(stay_online(stack))
        yield stack
        online.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await online


async def stay_online(stack: Stack) -> None:
    """Say again and again what there is."""
    advert = {"worker": "w1", "host": "attic", "device": "cuda:0", "device_name": "RTX 3060", "vram_bytes": 12 * 2**30}
    while True:
        await Workers(stack.redis).advertise(Advert.model_validate({**advert, "systems": SYSTEMS}))
        await asyncio.sleep(2)


@pytest_asyncio.fixture(loop_scope="module", autouse=True)
async def as_new(shared: Stack) -> None:
    """Each test begins with nothing in line, nothing set and nothing written down."""
    while not await shared.redis.exists("zoetrope:worker:w1"):
        await asyncio.sleep(0.02)
    for job_id in await shared.queue.open_jobs():
        with contextlib.suppress(NoSuchJob):
            if await shared.queue.cancel(job_id, "test", moderator=True) == "stopping":
                fence = (await shared.queue.job(job_id)).fence
                await shared.queue.settle(Lease(job_id=job_id, worker="w1", fence=fence), CLIP, gpu_ms=0)
    while await shared.queue.open_jobs():
        await asyncio.sleep(0.02)
    for pattern in ("rules", "audit", "spent", "aside", "paused"):
        for key in await shared.redis.keys(f"zoetrope:{pattern}*"):
            await shared.redis.delete(key)


@pytest.fixture
def moira(room: Room) -> User:
    """She manages the server."""
    found = [role for role in room.server.guild.roles if role.name == "managers"]
    return room.server.user("moira", found[0] if found else room.server.add_role("managers", "MANAGE_GUILD"))


@pytest.fixture
def owner(room: Room) -> User:
    """The application is theirs, and the servers as well."""
    return room.server.world.owner


async def told(room: Room, who: User, act: str, channel: Channel | None = None, **options: object) -> str:
    """What `/zoetrope …` answers, in private and to nobody else."""
    asked = await room.server.slash(f"zoetrope {act}", who, channel=channel or room.channel, **options)
    await asked.answered(20)
    [answer] = asked.responses
    assert answer.ephemeral
    assert answer.pinged == []
    return answer.text


async def asks(room: Room, who: User | None = None, channel: Channel | None = None, **options: object) -> str:
    """Somebody asks for a cheap clip; what they are told."""
    asked = await room.server.slash(
        "parallax", who or room.person, channel=channel or room.channel, image=room.picture((640, 360)), **options
    )
    return (await asked.answered(20)).text


async def queued(room: Room, who: User | None = None, channel: Channel | None = None, **options: object) -> Job:
    """The same, where it is accepted."""
    before = set(await room.stack.queue.open_jobs())
    said = await asks(room, who, channel, **options)
    assert said.startswith("Queued with **parallax**"), said
    [new] = set(await room.stack.queue.open_jobs()) - before
    return await room.stack.queue.job(new)


async def ends(room: Room, job: Job, gpu_ms: int = 1_000) -> None:
    """A worker renders it."""
    lease = await room.stack.queue.claim(job.id, "w1")
    assert lease is not None
    digest = await room.stack.store.put(b"nobody looks into this clip")
    file = CLIP.files[0].model_copy(update={"digest": digest})
    await room.stack.queue.settle(lease, Rendered(files=(file,), seconds=1.0, gpu_ms=gpu_ms), gpu_ms=gpu_ms)


def everybody_sees_it(room: Room) -> None:
    """As if an admin had shown the command to all in the server's settings."""
    room.server.command("zoetrope")["default_member_permissions"] = None


# --- who may ---


async def test_discord_shows_it_to_those_who_manage_the_server(room: Room) -> None:
    command = room.server.command("zoetrope")

    assert command["default_member_permissions"] == str(int(Permission.MANAGE_GUILD))
    assert {part["name"] for part in command["options"]} == {"pause", "drain", "resume", "status", "settings"}


@pytest.mark.parametrize("act", ACTS)
async def test_who_does_not_manage_the_server_may_nothing_even_where_it_is_shown(room: Room, act: str) -> None:
    everybody_sees_it(room)
    said = await told(room, room.server.moderator("deletes_messages"), act, **ACTS[act])

    assert said == "Only members with **Manage Server** and the owner of the bot may do that."
    assert await room.stack.redis.keys("zoetrope:rules*") == await room.stack.redis.keys("zoetrope:audit*") == []
    assert await room.stack.queue.paused() == {}


@pytest.mark.parametrize("act", ["pause", "drain", "resume"])
async def test_what_concerns_all_servers_is_the_owners(room: Room, moira: User, owner: User, act: str) -> None:
    refused = await told(room, moira, act, where="everything")
    assert refused == "What concerns all servers is for the owner of the bot. Choose `this server` or `this channel`."
    assert "on all servers" in await told(room, owner, act, where="everything")


async def test_in_a_direct_message_there_is_no_server_but_the_owner_may_stop_everything(
    room: Room, owner: User
) -> None:
    everybody_sees_it(room)
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


# --- what follows from settings ---


async def test_a_system_that_is_not_allowed_is_refused_with_what_may_be_used(room: Room, moira: User) -> None:
    said = await told(room, moira, "settings edit", systems="svd")
    assert said.splitlines()[:2] == ["**Changed on this server:**", "- systems: not set → svd"]
    assert await asks(room) == "**parallax** may not be used here. You may use: svd."

    await told(room, moira, "settings edit", systems="/Parallax, svd", where="this channel")
    await queued(room)


async def test_a_name_that_is_no_systems_is_said(room: Room, moira: User) -> None:
    said = await told(room, moira, "settings edit", systems="svd sora")

    assert said == "There is no system `sora`. There are: svd, parallax; write their names with spaces between."


async def test_the_servers_format_holds_where_nobody_chooses_one(room: Room, moira: User) -> None:
    await told(room, moira, "settings edit", format="gif")

    assert (await queued(room)).submission.recipe.output.format == "gif"
    assert (await queued(room, format="mp4")).submission.recipe.output.format == "mp4"


async def test_the_longest_clip_is_refused_with_the_limit_and_a_threads_is_its_channels(
    room: Room, moira: User
) -> None:
    thread = room.server.add_thread("a thread", room.channel)
    await told(room, moira, "settings edit", seconds=2.0, where="this channel")
    said = await asks(room, channel=thread, seconds=3.0)

    assert said.startswith("That clip would last 3 seconds; here a clip may last 2. Ask for fewer seconds")
    await queued(room, channel=thread, seconds=2.0)


async def test_clips_go_to_the_channel_for_results_and_a_link_stands_where_they_were_asked_for(
    room: Room, moira: User
) -> None:
    gallery = room.server.add_channel("gallery")
    assert f"- clips are posted: not set → in <#{gallery.id}>" in await told(
        room, moira, "settings edit", results=gallery
    )
    await ends(room, await queued(room))
    await room.stack.until(lambda: room.server.clips(gallery))
    await room.settled()
    [clip] = room.server.clips(gallery)

    assert f"<@{room.person.id}>" in clip.text
    assert room.server.clips(room.channel) == []
    assert f"https://discord.com/channels/{room.server.guild.id}/{gallery.id}/{clip.id}" in room.status().text


async def test_where_results_cannot_go_the_clip_comes_here_and_says_why(room: Room, moira: User) -> None:
    gallery = room.server.add_channel("gallery")
    await told(room, moira, "settings edit", results=gallery)
    room.server.deny(gallery, "SEND_MESSAGES")
    said = await asks(room)

    assert f"I cannot post in <#{gallery.id}>, where clips should go, so yours comes here." in said


async def test_a_channel_where_the_bot_may_not_post_is_not_taken_for_results(room: Room, moira: User) -> None:
    closed = room.server.add_channel("closed", deny=("ATTACH_FILES",))
    said = await told(room, moira, "settings edit", results=closed)

    assert said.startswith(f"I may not post files in <#{closed.id}>.")
    assert await room.stack.redis.keys("zoetrope:rules*") == []


async def test_clips_stand_behind_a_spoiler_where_that_is_set(room: Room, moira: User) -> None:
    await told(room, moira, "settings edit", nsfw="spoiler")
    await ends(room, await queued(room))
    await room.stack.until(lambda: room.server.clips(room.channel))
    [clip] = room.server.clips(room.channel)

    assert [file.filename for file in clip.attachments] == ["SPOILER_clip.mp4"]


# --- shares ---


def helpers(room: Room) -> Role:
    return room.server.add_role(f"helpers-{room.channel.name}")


async def test_a_roles_share_gives_its_members_more_room(room: Room, moira: User) -> None:
    role = helpers(room)
    hanna = room.server.user(f"hanna-{room.channel.name}", role)
    await told(room, moira, "settings share", waiting=1)
    assert f"- open jobs of <@&{role.id}>: not set → 2" in await told(
        room, moira, "settings share", role=role, waiting=2
    )
    full = (
        "Your limit of open jobs (waiting or running) is {}, and it is reached. Wait for one to finish, or cancel one."
    )

    await queued(room)
    assert await asks(room) == full.format(1)
    for _ in range(2):
        await queued(room, hanna)
    assert await asks(room, hanna) == full.format(2)


async def test_a_days_gpu_seconds_are_refused_with_limit_rest_and_when_there_is_more(room: Room, moira: User) -> None:
    await told(room, moira, "settings share", gpu_seconds_per_day=30.0)
    await ends(room, await queued(room), gpu_ms=29_000)
    await room.settled()
    said = await asks(room)

    assert re.fullmatch(
        r"That needs about 3 GPU-seconds\. Left of your 30 for today: 1\."
        r" There are 30 again <t:\d+:R>, at midnight UTC\.",
        said,
    )
    [answer] = (await room.slash("me")).responses
    assert "1 of 30 GPU-seconds are left today" in answer.text


async def test_what_a_whole_day_does_not_suffice_for_is_not_put_off_to_tomorrow(room: Room, moira: User) -> None:
    await told(room, moira, "settings share", gpu_seconds_per_day=1.0)
    said = await asks(room, seconds=10.0)

    assert "and you may use 1 a day: it would be refused tomorrow, too." in said


async def test_a_weight_must_be_a_share(room: Room, moira: User) -> None:
    said = await told(room, moira, "settings share", weight=0.0)

    assert said.strip() == "`weight` does not fit: input should be greater than 0."


# --- show, undo, clear, audit ---


async def test_show_says_what_holds_here_and_where_each_of_it_was_set(room: Room, moira: User) -> None:
    role, far = helpers(room), helpers(room)
    await told(room, moira, "settings edit", systems="parallax", nsfw="spoiler", nsfw_systems="svd")
    await told(room, moira, "settings edit", where="this channel", seconds=2.5)
    await told(room, moira, "settings share", role=role, weight=2.0, waiting=0)
    await told(room, moira, "settings share", role=far, weight=3.0)
    room.server.guild.roles.remove(far)
    room.stack.bot.kill()  # it hears of roles on joining
    await room.stack.bot.ended()
    await room.stack.restart_bot()
    said = await told(room, moira, "settings show")

    assert said == "\n".join(
        [
            f"**Settings in <#{room.channel.id}>**",
            "- systems: **parallax** · set on this server",
            "- format: mp4",
            f"- longest clip: **2.5 seconds** · set in <#{room.channel.id}>",
            "- largest frame: no limit",
            "- nsfw: **spoiler** · set on this server",
            "- nsfw is about: **svd** · set on this server",
            "- clips are posted: where they were asked for",
            "**What one person may have**",
            "- everyone: weight 1 · open jobs 10 · running at once no limit · GPU seconds a day no limit"
            " · megapixel-seconds a clip no limit",
            f"- <@&{role.id}>: weight 2 · open jobs no limit",
        ]
    )


async def test_undo_takes_back_the_last_change_and_says_so_and_the_book_knows(room: Room, moira: User) -> None:
    olaf = room.server.user("olaf", *room.server.guild.members[moira.id].roles)
    await told(room, moira, "settings edit", format="gif", seconds=3.0)
    await told(room, olaf, "settings edit", format="both")
    assert await told(room, olaf, "settings undo") == "**Taken back on this server:**\n- format: both → gif"
    assert (await told(room, olaf, "settings undo")).splitlines()[1:] == [
        "- format: gif → not set",
        "- longest clip: 3 seconds → not set",
    ]
    assert (await told(room, olaf, "settings undo")).startswith("There is no change of these settings to take back")
    head, *lines = (await told(room, moira, "settings audit")).splitlines()

    assert head == "**Changes, the newest first**"
    assert [re.sub(r"<t:\d+:R>", "<when>", line) for line in lines[1:]] == [
        f"- <when> **Olaf** (<@{olaf.id}>) on this server: format: both → gif *(undo)*",
        f"- <when> **Olaf** (<@{olaf.id}>) on this server: format: gif → both *(undone)*",
        f"- <when> **Moira** (<@{moira.id}>) on this server: format: not set → gif; longest clip: not set → 3 seconds"
        " *(undone)*",
    ]


async def test_clear_takes_away_one_setting_a_roles_share_or_everything(room: Room, moira: User) -> None:
    role = helpers(room)
    await told(room, moira, "settings edit", format="gif", systems="svd")
    await told(room, moira, "settings share", role=role, weight=2.0)
    await told(room, moira, "settings share", waiting=3)
    assert "- systems: svd → not set" in await told(room, moira, "settings clear", what="systems")
    await queued(room)
    cleared = await told(room, moira, "settings clear", what="shares", role=role)

    assert cleared.splitlines()[1] == f"- weight of <@&{role.id}>: 2 → not set"
    assert "open jobs of everyone: 3 → not set" in await told(room, moira, "settings clear", what="everything")
    assert (await told(room, moira, "settings clear", what="everything")).startswith("Nothing changed")
    await told(room, moira, "settings undo")
    assert (await queued(room)).submission.recipe.output.format == "gif"


async def test_everything_done_is_written_down_and_another_servers_is_not_shown(
    room: Room, moira: User, owner: User
) -> None:
    far = room.server.add_guild("far")
    there = room.server.add_channel("there", far)
    assert await told(room, moira, "settings audit") == "Nothing was changed yet."
    await told(room, owner, "settings edit", there, format="gif")
    await told(room, owner, "drain", where="everything")
    await told(room, moira, "pause", where="this channel")
    await told(room, moira, "resume", where="this channel")
    await told(room, moira, "drain", where="this server")
    moiras, owners = (await told(room, moira, "settings audit")), (await told(room, owner, "settings audit"))

    assert [line.rpartition(") ")[2] for line in moiras.splitlines()[1:]] == [
        "on this server: new requests: taken → refused",
        f"in <#{room.channel.id}>: the line: paused → going on",
        f"in <#{room.channel.id}>: the line: going on → paused",
    ]
    assert owners.splitlines()[-1].endswith("on all servers: new requests: taken → refused")
    assert len(owners.splitlines()) == 5


async def test_an_edit_without_a_value_says_what_to_do(room: Room, moira: User) -> None:
    assert (await told(room, moira, "settings edit", where="this channel")).startswith("Nothing was given to change.")
    assert (await told(room, moira, "settings share")).startswith("Nothing was given to change.")


async def test_the_channel_sees_nothing_of_all_this(room: Room, moira: User) -> None:
    for act, options in ACTS.items():
        await told(room, moira, act, **options)
    seen: list[Message] = room.server.bot_messages(room.channel)

    assert seen == []
