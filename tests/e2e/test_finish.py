"""From a picture to a smooth, looping sticker: chains, the form, and what travels with the files."""

import io
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from jobs.recipe import Recipe
from jobs.record import Rendered
from media.clip_limits import ClipLimits
from media.clips import decode_clip
from media.marks import read_mark, recipe_of
from tests.discord_server.model import Attachment, Message
from tests.e2e.conftest import Room

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(180)]


async def made(room: Room, message: Message) -> tuple[str, Rendered, Recipe]:
    """The job behind a final message: its id, its outcome and its recipe."""
    job = await room.stack.queue.job(message.nonce or "")
    assert isinstance(job.outcome, Rendered)
    return job.id, job.outcome, job.submission.recipe


def marked(room: Room, attachment: Attachment) -> Recipe:
    """The recipe that travels with a file."""
    recipe = recipe_of(read_mark(attachment.data))
    assert recipe is not None
    return recipe


async def frames(room: Room, digest: str) -> list[bytes]:
    """Every frame of a stored file, decoded as any input is."""
    path = await room.stack.store.fetch_to(digest, room.folder)
    with await decode_clip(path, ClipLimits(), None) as spool:
        return [frame.tobytes() for frame in spool]


async def test_animate_then_finish_then_a_sticker_and_each_again_from_its_file(room: Room) -> None:
    """Acceptance 1 of the issue: every result's recipe, fed back, gives the same frames."""
    await room.slash("parallax", image=room.picture(), seconds=0.5, fps=8, loop=False)
    [clip] = await room.clips(1)

    asked = await room.server.press(clip, room.person, "Finish…")
    form = {"smooth": "x4", "loop": "blend", "deflicker": "light", "format": "mp4"}
    await (await room.server.submit_modal(await asked.answered(20), room.person, form)).answered(30)
    finished = (await room.clips(2, 90))[-1]
    _, outcome, recipe = await made(room, finished)
    assert [step.name() for step in recipe.steps] == ["deflicker", "loop", "smooth"]
    assert outcome.files[0].num_frames == 3 * 4, (
        "one of four frames went into the seam; then four for each, round and round"
    )
    assert len(outcome.step_ms) == 3

    await room.slash("sticker", clip=room.server.upload("clip.mp4", finished.attachments[0].data))
    sticker = await room.final("**sticker** ·", 90)
    await room.settled()
    _, outcome, _ = await made(room, sticker)
    [file] = outcome.files
    assert (file.width, file.height) == (320, 320)
    assert file.size_bytes <= 512 * 1024

    for message in (clip, finished, sticker):
        await the_same_again(room, message)


async def the_same_again(room: Room, message: Message) -> None:
    """What the file's own recipe makes has the frames of the file."""
    job_id, outcome, recipe = await made(room, message)
    travelled = marked(room, message.attachments[0])
    assert travelled == recipe
    job = await room.stack.queue.job(job_id)
    once_more = job.submission.model_copy(update={"id": f"again-{job_id[-12:]}", "recipe": travelled})
    await room.stack.queue.enqueue(once_more)
    await room.stack.until(lambda: any(each.nonce == once_more.id for each in room.said("<@")), 90)
    await room.settled()
    repeated = await room.stack.queue.job(once_more.id)
    assert isinstance(repeated.outcome, Rendered)
    [old], [new] = outcome.files, repeated.outcome.files
    assert await frames(room, new.digest) == await frames(room, old.digest)


async def test_the_menu_finishes_what_anybody_posted(room: Room) -> None:
    data = io.BytesIO()
    frames = [Image.new("RGB", (48, 32), (40 * number, 0, 90)) for number in range(5)]
    frames[0].save(data, "GIF", save_all=True, append_images=frames[1:], duration=100)
    other = room.server.user("somebody")
    posted = await room.server.say(
        other, "look", attachments=[room.server.upload("dance.gif", data.getvalue())], channel=room.channel
    )

    asked = await (await room.server.message_menu("Finish…", room.person, posted)).answered(20)
    await (await room.server.submit_modal(asked, room.person, {"upscale": "x2", "format": "gif"})).answered(30)

    [clip] = await room.clips(1, 90)
    assert room.facts(clip).width == 96


async def test_a_form_sent_as_it_came_says_so(room: Room) -> None:
    await room.slash("parallax", image=room.picture(), seconds=0.5, fps=8)
    [clip] = await room.clips(1)
    asked = await (await room.server.press(clip, room.person, "Finish…")).answered(20)

    submitted = await (await room.server.submit_modal(asked, room.person)).answered(30)

    assert "would come back as it is" in submitted.text


async def test_remix_changes_somebody_elses_clip_and_info_tells_how_it_was_made(room: Room) -> None:
    await room.slash("parallax", image=room.picture(), seconds=0.5, fps=8, move="zoom in")
    [clip] = await room.clips(1)
    other = room.server.user("remixer")

    asked = await (await room.server.press(clip, other, "Remix…")).answered(20)
    assert asked.modal is not None
    await (await room.server.submit_modal(asked, other, {"move": "zoom out"})).answered(30)
    remixed = (await room.clips(2))[-1]
    _, _, recipe = await made(room, remixed)
    assert recipe.steps[0].move == "zoom out"  # type: ignore[union-attr]
    assert recipe.steps[0].fps == 8, "what stands in the last field is kept"  # type: ignore[union-attr]

    info = await (await room.server.press(remixed, other, "Info")).answered(20)
    assert "move `zoom out`" in info.text
    assert "SHA-256" in info.text
    shown = await room.slash("show", other, id=remixed.nonce)
    assert shown.text == info.text


async def test_two_people_with_a_form_open_each_get_what_they_asked_for(room: Room) -> None:
    await room.slash("parallax", image=room.picture(), seconds=0.5, fps=8, move="zoom in")
    await room.slash("parallax", image=room.picture(), seconds=0.5, fps=8, move="roll right")
    one, two = await room.clips(2)
    ann, ben = room.server.user("ann"), room.server.user("ben")
    first = await (await room.server.press(one, ann, "Remix…")).answered(20)
    second = await (await room.server.press(two, ben, "Remix…")).answered(20)

    await (await room.server.submit_modal(first, ann, {"amount": "30"})).answered(30)
    await (await room.server.submit_modal(second, ben, {"amount": "60"})).answered(30)

    remixed = [(await made(room, clip))[2].steps[0] for clip in (await room.clips(4))[2:]]
    before = {(await made(room, clip))[2].steps[0].move: clip for clip in (one, two)}  # type: ignore[union-attr]
    assert set(before) == {"zoom in", "roll right"}
    moves = {step.amount: step.move for step in remixed}  # type: ignore[union-attr]
    assert moves == {30: moved(before, one), 60: moved(before, two)}


def moved(clips: dict[str, Message], clip: Message) -> str:
    """The move of a clip."""
    return next(move for move, each in clips.items() if each is clip)


async def test_a_preset_is_kept_shared_and_used_by_another(room: Room) -> None:
    await room.slash("parallax", image=room.picture(), seconds=0.5, fps=8, move="roll left", smooth="x2")
    await room.clips(1)
    await room.slash("preset save", name="barrel")
    await room.slash("preset share", name="barrel")
    other = room.server.user("fan")

    missing = await room.slash("preset use", other, name="barrel")
    assert "takes a picture" in missing.text
    await room.slash("preset use", other, name="Barrel", image=room.picture((80, 80)))

    clip = (await room.clips(2, 90))[-1]
    _, _, recipe = await made(room, clip)
    assert recipe.title == "parallax → smooth"
    assert "barrel" in (await room.slash("preset list", other)).text
    assert "deleted" in (await room.slash("preset delete", name="barrel")).text


async def test_a_clip_goes_on_from_its_last_frame_by_command_and_by_its_button(room: Room) -> None:
    await room.slash("parallax", image=room.picture(), seconds=0.5, fps=8, move="zoom in", loop=False, format="gif")
    [clip] = await room.clips(1)
    asked = await (await room.server.press(clip, room.person, "Continue…")).answered(20)
    assert asked.modal is not None
    form = {"system": "parallax", "seconds": "1", "format": "gif"}
    await (await room.server.submit_modal(asked, room.person, form)).answered(30)
    longer = (await room.clips(2, 90))[-1]
    _, outcome, recipe = await made(room, longer)
    [file] = outcome.files

    assert [step.name() for step in recipe.steps] == ["parallax", "stitch"]
    assert recipe.sources["clip"].kind == "clip"
    assert file.num_frames / file.fps == pytest.approx(0.5 + 1, abs=0.15)
    shown = [np.frombuffer(frame, np.uint8).astype(int) for frame in await frames(room, file.digest)]
    jumps = [float(np.abs(after - before).mean()) for before, after in pairwise(shown)]
    assert max(jumps[9:]) < max(jumps[:9]), "where the two meet less changes than where the first one moves"

    again = room.server.upload("longer.gif", longer.attachments[0].data)
    await room.slash("continue", clip=again, seconds=0.5, system="parallax")
    longest = (await room.clips(3, 90))[-1]
    _, outcome, recipe = await made(room, longest)
    assert recipe.steps[0].seed is not None  # type: ignore[union-attr]
    assert outcome.files[0].num_frames > file.num_frames
    await the_same_again(room, longest)
