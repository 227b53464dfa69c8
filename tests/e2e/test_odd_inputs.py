"""A wrong input gets one sentence, in private, and nothing is queued; an odd one is animated."""

import pytest

from jobs.texts import catalogue
from tests.discord_server.interactions import Asked
from tests.e2e.conftest import Room
from tests.odd_pictures import ODD

pytestmark = pytest.mark.asyncio(loop_scope="module")

BAD = [name for name, odd in ODD.items() if odd.expectation != "ok"]
GOOD = [name for name, odd in ODD.items() if odd.expectation == "ok"]


def opening(code: str) -> str:
    """The sentence's words before its first fact."""
    return catalogue()[code].split("{")[0].strip()[:40]


async def assert_refused(room: Room, asked: Asked, words: str) -> None:
    """One private sentence, and no job."""
    assert words in asked.text, asked.text
    assert len(asked.shown) == 1
    assert all(answer.ephemeral for answer in asked.responses)
    assert "\n" not in asked.text
    assert await room.stack.redis.exists(f"zoetrope:job:{asked.id}") == 0
    assert room.server.bot_messages(room.channel) == []


@pytest.mark.parametrize("name", BAD)
async def test_a_bad_picture_is_refused_with_its_own_sentence(room: Room, name: str) -> None:
    odd = ODD[name]
    upload = room.server.upload(odd.filename, odd.data, odd.content_type or None)
    asked = await room.slash("parallax", image=upload, seconds=0.5)

    await assert_refused(room, asked, opening(odd.expectation))


@pytest.mark.slow
async def test_odd_but_good_pictures_are_animated(room: Room) -> None:
    people = [room.server.user(f"odd{number}") for number in range(len(GOOD))]
    for person, name in zip(people, GOOD, strict=True):
        odd = ODD[name]
        upload = room.server.upload(odd.filename, odd.data, odd.content_type or None)
        asked = await room.slash("parallax", person, image=upload, seconds=0.5, fps=5)
        assert "Queued" in asked.text, f"{name}: {asked.text}"
        assert ("first frame" in asked.text) == name.startswith("animated"), name

    assert len(await room.clips(len(GOOD), seconds=120)) == len(GOOD)


async def test_a_file_declared_too_large_is_not_even_fetched(room: Room) -> None:
    upload = room.server.upload("big.png", b"\x89PNG", declared_size=200 * 2**20)
    asked = await room.slash("parallax", image=upload)

    await assert_refused(room, asked, opening("picture_bytes"))
    assert upload.fetched == 0


async def test_a_video_is_not_even_fetched(room: Room) -> None:
    upload = room.server.upload("film.mp4", b"\0\0\0\x18ftypmp42", content_type="video/mp4")
    asked = await room.slash("parallax", image=upload)

    await assert_refused(room, asked, "")
    assert upload.fetched == 0


async def test_html_instead_of_a_picture(room: Room) -> None:
    upload = room.server.upload("gone.png", b"\x89PNG", content_type="image/png", serve="html")

    await assert_refused(room, await room.slash("parallax", image=upload), opening("picture_not"))


async def test_a_redirect_off_the_cdn_is_not_followed(room: Room) -> None:
    elsewhere = room.server.upload("bait.png", room.picture().data, evil=True)
    upload = room.server.upload("picture.png", b"", declared_size=300, serve="redirect", redirect_to=elsewhere.url)

    await assert_refused(room, await room.slash("parallax", image=upload), opening("not_from_discord"))
    assert elsewhere.fetched == 0


async def test_a_picture_from_elsewhere_is_not_fetched(room: Room) -> None:
    upload = room.server.upload("picture.png", room.picture().data, evil=True)

    await assert_refused(room, await room.slash("parallax", image=upload), opening("not_from_discord"))
    assert upload.fetched == 0


async def test_an_expired_address_is_told(room: Room) -> None:
    upload = room.server.upload("picture.png", room.picture().data, serve="missing")

    await assert_refused(room, await room.slash("parallax", image=upload), opening("download_failed"))


async def test_a_stream_without_end_is_cut_off(room: Room) -> None:
    upload = room.server.upload("picture.png", room.picture().data, serve="endless")

    await assert_refused(room, await room.slash("parallax", image=upload), opening("download_too_large"))


@pytest.mark.slow
async def test_a_checkpoint_that_is_not_installed_is_named_with_what_is(room: Room) -> None:
    models = room.stack.folder / "models"
    (models / "svd-xt-1-1").rename(models / "away")
    try:
        await room.stack.readvertised()
        asked = await room.slash("svd", image=room.picture(), model="svd-xt-1-1")
        await assert_refused(room, asked, "svd-xt-1-1** is not installed here. There is: svd, parallax")
    finally:
        (models / "away").rename(models / "svd-xt-1-1")
        await room.stack.readvertised()


async def test_guidance_that_falls_is_refused_before_anything_is_fetched(room: Room) -> None:
    picture = room.picture()
    asked = await room.slash("svd", image=picture, min_guidance_scale=3.0, max_guidance_scale=1.5)

    await assert_refused(room, asked, "last frame's guidance")
    assert picture.fetched == 0


async def test_where_the_bot_may_not_post_files_it_says_so_before_queueing(room: Room) -> None:
    room.server.deny(room.channel, "ATTACH_FILES")

    await assert_refused(room, await room.slash("parallax", image=room.picture()), opening("cannot_post_here"))
