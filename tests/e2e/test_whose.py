"""**Who made this?** in a server whose worker signs: ours intact, ours stripped, ours altered, not ours."""

import io
from collections.abc import AsyncIterator
from pathlib import Path

import av
import pytest
import pytest_asyncio
from PIL import Image

from tests.discord_server import LocalDiscord
from tests.discord_server.model import Attachment, Message
from tests.e2e.conftest import Room
from tests.sealed import certified
from tests.stack import Stack, running
from tests.tiny_models import write_usual

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(120)]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """As everywhere, with a certificate."""
    folder = tmp_path_factory.mktemp("stack")
    write_usual(folder / "models")
    settings = {"ZOETROPE_LIMITS__CONFIRM_GPU_SECONDS": "0", **certified(folder / "provenance")}
    async with LocalDiscord(message_content=True) as server, running(server, folder, settings=settings) as stack:
        yield stack


async def asked(room: Room, file: Attachment) -> str:
    """What somebody else is told of a file that they post."""
    other = room.server.user(f"asker{file.id}")
    message: Message = await room.server.say(other, "who?", attachments=[file], channel=room.channel)
    return (await (await room.server.message_menu("Who made this?", other, message)).answered(40)).text


def remuxed(data: bytes, folder: Path) -> bytes:
    """The same pictures without anything that was said about them."""
    source, target = folder / "signed.mp4", folder / "stripped.mp4"
    source.write_bytes(data)
    with av.open(str(source)) as read, av.open(str(target), "w") as written:
        stream = written.add_stream_from_template(read.streams.video[0])
        for packet in read.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                written.mux(packet)
    return target.read_bytes()


async def test_the_four_cases(room: Room) -> None:
    await room.slash("parallax", image=room.noise((96, 64)), seconds=0.5, fps=8)
    [clip] = await room.clips(1)
    data = clip.attachments[0].data
    altered = bytearray(data)
    altered[data.rindex(b"mdat") + 40] ^= 1
    gif = io.BytesIO()
    frames = [Image.new("RGB", (64, 48), (30 * number, 90, 10)) for number in range(4)]
    frames[0].save(gif, "GIF", save_all=True, append_images=frames[1:], duration=100)
    upload = room.server.upload

    assert "its content credential holds" in await asked(room, upload("ours.mp4", data))
    stripped = await asked(room, upload("stripped.mp4", remuxed(data, room.folder)))
    assert f"Made here, by job {clip.nonce}. The pictures are the very ones I made" in stripped
    assert "This was altered" in await asked(room, upload("altered.mp4", bytes(altered)))
    assert "Not one of mine" in await asked(room, upload("other.gif", gif.getvalue()))


async def test_a_private_job_is_shown_to_nobody_else(room: Room) -> None:
    """Neither by its id, nor because somebody's own clip of the same picture looks like it."""
    server, ann, ben = room.server, room.server.user("ann"), room.server.user("ben")
    private, picture = server.dm(ann), room.noise((96, 64))
    await (await server.slash("parallax", ann, channel=private, image=picture, seconds=0.5, fps=8)).answered(20)
    await room.stack.until(lambda: server.clips(private), 60)
    [clip] = server.clips(private)

    alike = await asked(room, server.upload("own.mp4", remuxed(clip.attachments[0].data, room.folder)))
    assert "in a place that you cannot see" in alike
    assert (clip.nonce or "?") not in alike
    for command, options in (("show", {"id": clip.nonce}), ("preset save", {"name": "x", "job": clip.nonce})):
        refused = await room.slash(command, ben, **options)
        assert "no longer" in refused.text or "not know" in refused.text, refused.text
    shown = await (await server.slash("show", ann, channel=private, id=clip.nonce)).answered(20)
    assert "parallax" in shown.text


async def test_a_job_of_the_server_is_shown_to_who_sees_its_channel(room: Room) -> None:
    await room.slash("parallax", image=room.noise((96, 64)), seconds=0.5, fps=8)
    [clip] = await room.clips(1)

    assert "parallax" in (await room.slash("show", room.server.user("cleo"), id=clip.nonce)).text
