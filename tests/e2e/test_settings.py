"""`/zoetrope settings`: what moderators set, what people then notice, and how it is looked up and taken back."""

import re
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from jobs.requests import BY_SYSTEM
from tests.discord_server.model import Role, User
from tests.e2e.advertised import emptied
from tests.e2e.conftest import Room
from tests.e2e.moderated import asks, ends, manager, queued, told, unserved
from tests.stack import Stack

pytestmark = pytest.mark.asyncio(loop_scope="module")


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


# --- what follows ---


async def test_a_system_that_is_not_allowed_is_refused_with_what_may_be_used(room: Room, moira: User) -> None:
    said = await told(room, moira, "settings edit", systems="svd")
    assert said.splitlines()[:2] == ["**Changed on this server:**", "- systems: not set → svd"]
    assert await asks(room) == "**parallax** may not be used here. You may use: svd."

    await told(room, moira, "settings edit", systems="/Parallax, svd", where="this channel")
    await queued(room)


async def test_a_name_that_is_no_systems_is_said(room: Room, moira: User) -> None:
    said = await told(room, moira, "settings edit", systems="svd sora")

    assert (
        said == f"There is no system `sora`. There are: {', '.join(BY_SYSTEM)}; write their names with spaces between."
    )


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


async def test_a_weight_is_bounded_by_discord_itself(room: Room, moira: User) -> None:
    with pytest.raises(AssertionError, match=r"weight takes 0\.01 to 100"):
        await told(room, moira, "settings share", weight=1e-308)


# --- show, undo, clear, audit ---


async def test_show_says_what_holds_here_and_where_each_of_it_was_set(room: Room, moira: User) -> None:
    role = helpers(room)
    await told(room, moira, "settings edit", systems="parallax", nsfw="spoiler", nsfw_systems="svd")
    await told(room, moira, "settings edit", where="this channel", seconds=2.5)
    await told(room, moira, "settings share", role=role, weight=2.0, waiting=0)
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
    olaf = manager(room, "olaf")
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


async def test_a_role_with_anything_but_shares_clears_nothing(room: Room, moira: User) -> None:
    await told(room, moira, "settings edit", format="gif")
    for what in ("everything", "format"):
        said = await told(room, moira, "settings clear", what=what, role=helpers(room))
        assert said.startswith("A role has shares and no other settings, so nothing was cleared.")

    assert (await queued(room)).submission.recipe.output.format == "gif"


async def test_what_nsfw_is_about_is_cleared_alone(room: Room, moira: User) -> None:
    await told(room, moira, "settings edit", nsfw="spoiler", nsfw_systems="svd")
    cleared = await told(room, moira, "settings clear", what="nsfw_systems")

    assert cleared.splitlines()[1:-1] == ["- nsfw is about: svd → not set"]


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
