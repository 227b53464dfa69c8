"""Motions: kept once under names, for a person or a server; their files stay as long as they do, and no longer."""
# pyright: reportPrivateUsage=false, reportUnknownMemberType=false, reportUnknownVariableType=false

import json
import struct
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from PIL import Image

from inference.finish import Finisher
from inference.learned import MOST_BYTES, MotionBroken, whole
from inference.messages import ClipBegins, Learned, OneFrame, Order, Setup, packed
from inference.renderer import RenderedClip
from inference.rendering import Renderer
from inference.settings import ModelSettings
from inference.systems.base import PLENTY, Clip, Sources, Thrift, Tick
from inference.systems.parallax.system import Parallax
from jobs.motions import Motion, Motions, NoSuchMotion, NotYourMotion, TooManyMotions, TooManySharedMotions
from jobs.owned import MOST, MOST_SHARED
from jobs.presets import Preset
from jobs.queue import JobQueue
from jobs.recipe import Recipe, Source, Value
from jobs.record import Job, Rendered
from jobs.requests.animatediff import AnimateDiffRequest
from jobs.requests.learnmotion import LearnMotionRequest
from jobs.requests.parallax import ParallaxRequest
from jobs.requests.trim import TrimRequest
from jobs.retention import Retention
from media.store import MediaStore, digest_of
from media.sweep import Sweeper
from tests.queued import ANN, CLIP, submission
from tests.test_retention import DAY, files_of, let_pass

BOB, GUILD = "8", "5"
MOTION = safetensors.numpy.save({"down": np.ones((2, 3), np.float16), "up": np.zeros((3, 2), np.float16)})


@pytest.fixture
def store() -> MediaStore:
    return MediaStore(f"memory://{uuid.uuid4()}")


@pytest.fixture
def sweeper(queue: JobQueue, store: MediaStore) -> Sweeper:
    return Sweeper(Retention(queue.redis), store, keep_seconds=DAY)


@pytest.fixture
async def motions(queue: JobQueue) -> Motions:
    return Motions(queue.redis)


async def rendered(
    queue: JobQueue, store: MediaStore, job_id: str, *, name: str = "spin", person: str = ANN, data: bytes = MOTION
) -> Job:
    """A job that learned a motion, as the worker leaves it: its end was not posted yet."""
    step = LearnMotionRequest(save_as=name, model="stable-diffusion-v1-5", module="v3")
    clip = Source(digest="1" * 64, kind="clip", width=64, height=48, num_frames=16, fps=8)  # type: ignore[arg-type]
    asked = submission(job_id, person=person)
    recipe = Recipe(sources={"clip": clip}, steps=(step,))
    await queue.enqueue(asked.model_copy(update={"recipe": recipe}))
    lease = await queue.claim(job_id, "w1")
    assert lease is not None
    await Retention(queue.redis).hold(job_id, digest_of(data))
    outcome = Rendered(files=CLIP.files, seconds=1.0, motion=await store.put(data), motion_bytes=len(data))
    await queue.settle(lease, outcome)
    return await queue.job(job_id)


async def learned(queue: JobQueue, store: MediaStore, job_id: str, **facts: Any) -> Job:
    """The same, posted and kept."""
    job = await rendered(queue, store, job_id, **facts)
    assert await Motions(queue.redis).keep(job) in ("kept", "replaced")
    assert await queue.close(job_id, "900")
    return job


# Kept once


async def test_a_delivery_that_is_tried_again_keeps_a_motion_once(
    queue: JobQueue, store: MediaStore, motions: Motions
) -> None:
    """Whatever the bot died of: what a second try does and says is what the first one did and said."""
    job = await rendered(queue, store, "1")
    assert [await motions.keep(job) for _ in range(2)] == ["kept", "kept"]
    [motion] = await motions.all(f"person:{ANN}")
    assert (motion.name, motion.digest, motion.module, motion.size_bytes) == (
        "spin",
        digest_of(MOTION),
        "v3",
        len(MOTION),
    )

    await motions.delete(f"person:{ANN}", "spin")
    assert await motions.keep(job) == "kept", "it was"
    assert await motions.all(f"person:{ANN}") == [], "and is not brought back"


async def test_a_motion_of_the_same_name_is_replaced_and_its_file_goes(
    queue: JobQueue, store: MediaStore, motions: Motions, sweeper: Sweeper
) -> None:
    await learned(queue, store, "1", data=MOTION)
    second = await rendered(queue, store, "2", name="Spin", data=MOTION + b"2")
    assert [await motions.keep(second) for _ in range(2)] == ["replaced", "replaced"]
    await queue.close("2", "900")
    await let_pass(queue, 2 * DAY)
    await sweeper.turn()

    assert [each.name for each in await motions.all(f"person:{ANN}")] == ["Spin"]
    assert await files_of(store) == {digest_of(MOTION + b"2")}


async def test_where_there_is_no_room_nothing_is_lost(queue: JobQueue, store: MediaStore, motions: Motions) -> None:
    for number in range(MOST):
        await learned(queue, store, f"1{number}", name=f"number {number}")
    with pytest.raises(TooManyMotions):
        await motions.check_room(ANN, "one more")
    await motions.check_room(ANN, "Number 3")
    job = await rendered(queue, store, "2", name="one more")  # it was asked for before there were so many
    assert await motions.keep(job) == "full"
    await motions.delete(f"person:{ANN}", "number 3")
    assert await motions.keep(job) == "full", "a second try of the same delivery says the same"

    assert await motions.keep(job, again=True) == "kept"
    assert len(await motions.all(f"person:{ANN}")) == MOST
    assert 0 < await queue.redis.ttl(f"zoetrope:motions:person:{ANN}") <= 365 * DAY


async def test_nothing_is_kept_of_a_job_that_learned_nothing_or_was_cancelled(
    queue: JobQueue, store: MediaStore, motions: Motions
) -> None:
    job = await rendered(queue, store, "1")
    assert isinstance(job.outcome, Rendered)
    without = job.model_copy(update={"outcome": job.outcome.model_copy(update={"motion": None})})
    assert await motions.keep(without) is None
    await queue.redis.delete("zoetrope:job:1")

    assert await motions.keep(job) == "gone"
    assert await motions.all(f"person:{ANN}") == []


# Found, shared


async def test_ones_own_goes_before_the_servers_and_a_wrong_name_is_answered_with_those_there_are(
    queue: JobQueue, store: MediaStore, motions: Motions
) -> None:
    await learned(queue, store, "1", name="my Spin", person=ANN)
    await learned(queue, store, "2", name="My  spin", person=BOB, data=MOTION + b"2")
    await motions.share("my spin", BOB, GUILD, moderates=False)

    assert (await motions.find(" MY spin ", ANN, GUILD)).job_id == "1"
    assert (await motions.find("my spin", "9", GUILD)).job_id == "2"
    assert [each.job_id for each in await motions.seen(ANN, GUILD)] == ["1"]
    with pytest.raises(NoSuchMotion) as refused:
        await motions.find("spin", "9", GUILD)
    assert refused.value.facts == {"name": "spin", "known": "My spin"}
    with pytest.raises(NoSuchMotion) as refused:
        await motions.find("my spin", "9", None)
    assert refused.value.facts["known"] == "none yet"


async def test_whoever_shared_a_motion_may_take_it_back_and_others_may_not(
    queue: JobQueue, store: MediaStore, motions: Motions
) -> None:
    await learned(queue, store, "1", person=ANN)
    await learned(queue, store, "2", person=BOB)
    await motions.share("spin", ANN, GUILD, moderates=False)
    await motions.share("SPIN", ANN, GUILD, moderates=False)
    with pytest.raises(NotYourMotion):
        await motions.share("spin", BOB, GUILD, moderates=False)
    with pytest.raises(NotYourMotion):
        await motions.unshare("spin", BOB, GUILD, moderates=False)
    await motions.delete(f"person:{ANN}", "spin")
    assert (await motions.find("spin", "9", GUILD)).by == ANN, "what was given stays"
    await motions.unshare("Spin", ANN, GUILD, moderates=False)

    assert await motions.all(f"guild:{GUILD}") == []
    with pytest.raises(NoSuchMotion):
        await motions.share("spin", ANN, GUILD, moderates=True)


async def test_nobody_but_a_moderator_fills_a_servers_book(
    queue: JobQueue, store: MediaStore, motions: Motions
) -> None:
    for number in range(MOST_SHARED + 1):
        await learned(queue, store, f"1{number}", name=f"number {number}")
    for number in range(MOST_SHARED):
        await motions.share(f"number {number}", ANN, GUILD, moderates=False)
    with pytest.raises(TooManySharedMotions):
        await motions.share(f"number {MOST_SHARED}", ANN, GUILD, moderates=False)
    await motions.share(f"number {MOST_SHARED}", ANN, GUILD, moderates=True)

    assert len(await motions.all(f"guild:{GUILD}")) == MOST_SHARED + 1


async def test_a_motion_that_was_deleted_at_that_very_moment_is_not_shared(
    queue: JobQueue, store: MediaStore, motions: Motions
) -> None:
    """Between the look and the script: no server has a motion whose file is about to go."""
    job = await learned(queue, store, "1")
    motion = Motion.of(job)
    assert motion is not None
    await motions.delete(f"person:{ANN}", "spin")
    given = await motions._run("motion_share", ANN, f"guild:{GUILD}", "spin", motion.model_dump_json())

    assert given == 0
    assert await motions.all(f"guild:{GUILD}") == []


def test_a_preset_does_not_ask_for_a_motion_that_is_found_by_its_name() -> None:
    source = Source(digest="0" * 64, kind="motion", width=0, height=0, num_frames=0)
    step = AnimateDiffRequest(prompt="a sea", motion="spin", module="v3")

    assert Preset.of("spin", Recipe(sources={"spin": source}, steps=(step,))).wanted == {}


# Their files


async def test_a_motions_file_stays_while_there_is_the_motion_and_goes_with_it(
    queue: JobQueue, store: MediaStore, motions: Motions, sweeper: Sweeper
) -> None:
    await learned(queue, store, "1")
    await let_pass(queue, 200 * DAY)  # no bot need be up for it
    await sweeper.turn()
    assert await files_of(store) == {digest_of(MOTION)}
    await motions.find("spin", ANN, None)
    await let_pass(queue, 364 * DAY)
    await sweeper.turn()
    assert await files_of(store) == {digest_of(MOTION)}, "it was used meanwhile"

    await motions.delete(f"person:{ANN}", "spin")
    await sweeper.turn()
    assert await files_of(store) == set()
    assert await queue.redis.keys("zoetrope:refs:*" + digest_of(MOTION)) == []


async def test_no_name_outlives_its_file(
    queue: JobQueue, store: MediaStore, motions: Motions, sweeper: Sweeper
) -> None:
    await learned(queue, store, "1", name="old")
    await let_pass(queue, 300 * DAY)
    await learned(queue, store, "2", name="new", data=MOTION + b"2")  # and all names stay for another year
    await let_pass(queue, 300 * DAY)
    await sweeper.turn()

    assert await files_of(store) == {each.digest for each in await motions.all(f"person:{ANN}")}


async def test_a_motion_that_nobody_used_for_a_year_leaves_nothing(
    queue: JobQueue, store: MediaStore, sweeper: Sweeper
) -> None:
    await learned(queue, store, "1")
    await queue.redis.delete(f"zoetrope:motions:person:{ANN}")  # as it expires
    await let_pass(queue, 364 * DAY)
    await sweeper.turn()
    assert await files_of(store) == {digest_of(MOTION)}
    await let_pass(queue, 3 * DAY)
    await sweeper.turn()

    assert await files_of(store) == set()


async def test_a_servers_motion_keeps_its_file_when_the_persons_own_is_deleted(
    queue: JobQueue, store: MediaStore, motions: Motions, sweeper: Sweeper
) -> None:
    await learned(queue, store, "1")
    await motions.share("spin", ANN, GUILD, moderates=False)
    await motions.delete(f"person:{ANN}", "spin")
    await let_pass(queue, 30 * DAY)
    await sweeper.turn()

    assert await store.get((await motions.find("spin", BOB, GUILD)).digest) == MOTION


async def test_a_job_that_uses_a_motion_keeps_its_file_when_the_motion_is_deleted(
    queue: JobQueue, store: MediaStore, motions: Motions, sweeper: Sweeper
) -> None:
    await learned(queue, store, "1")
    step = AnimateDiffRequest(prompt="a sea", motion="spin", module="v3")
    source = Source(digest=digest_of(MOTION), kind="motion", width=0, height=0, num_frames=0)
    asked = submission("2")
    await queue.enqueue(asked.model_copy(update={"recipe": Recipe(sources={"spin": source}, steps=(step,))}))
    await motions.delete(f"person:{ANN}", "spin")
    await let_pass(queue, 200 * DAY)
    await sweeper.turn()

    assert await files_of(store) == {digest_of(MOTION)}


async def test_who_is_forgotten_leaves_no_motion_and_no_file_but_what_others_use(
    queue: JobQueue, store: MediaStore, motions: Motions, sweeper: Sweeper
) -> None:
    await learned(queue, store, "1", name="one", data=MOTION)
    await learned(queue, store, "2", name="two", data=MOTION + b"2")
    await learned(queue, store, "3", name="three", data=MOTION + b"2", person=BOB)
    late = await rendered(queue, store, "4", name="late", data=MOTION + b"4")  # posted after they were forgotten
    await motions.share("one", ANN, GUILD, moderates=False)
    await motions.share("three", BOB, GUILD, moderates=False)
    forgotten, _ = await sweeper.forget(ANN)

    assert forgotten.jobs == 2
    assert await files_of(store) == {digest_of(MOTION + b"2"), digest_of(MOTION + b"4")}
    assert [each.name for each in await motions.all(f"guild:{GUILD}")] == ["three"]
    assert await motions.keep(late) == "gone"
    assert await motions.keep(late, again=True) == "gone"
    assert await motions.all(f"person:{ANN}") == []
    assert [key async for key in queue.redis.scan_iter(f"zoetrope:motions:*:{ANN}")] == []
    await queue.close("4", "900")
    await sweeper.turn()
    assert await files_of(store) == {digest_of(MOTION + b"2")}


# From the renderer to the store


def header(tensors: dict[str, Any], data: bytes = b"") -> bytes:
    text = json.dumps(tensors).encode()
    return struct.pack("<Q", len(text)) + text + data


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"PK\x03\x04 a pickle in a zip",
        MOTION[:-1],
        MOTION + b"more",
        header({}),
        header({"a": {"dtype": "F16", "shape": [1], "data_offsets": [0, 9]}}, b"12"),
        header({"a": {"dtype": "F16", "shape": [1], "data_offsets": [2, 4]}}, b"1234"),
        header({"a": 7}),
        header({"a": {"data_offsets": [0, "2"]}}, b"12"),
        struct.pack("<Q", 2**63) + b"{}",
        struct.pack("<Q", 4) + b"[[[[",
    ],
    ids=range(11),
)
def test_what_is_no_whole_file_is_a_failure(data: bytes) -> None:
    with pytest.raises(MotionBroken):
        whole(data)


def test_a_whole_file_is_taken_and_one_that_is_too_large_is_not() -> None:
    assert whole(MOTION) is MOTION
    with_words = safetensors.numpy.save({"a": np.ones(3, np.float32)}, metadata={"zoetrope_motion": "{}"})
    assert whole(with_words) is with_words
    with pytest.raises(MotionBroken):
        whole(bytes(MOST_BYTES + 1))


class Heard:
    """The parent's end of the wire."""

    def __init__(self) -> None:
        self.heard: list[tuple[Value, bytes]] = []

    def send(self, message: Value, payload: bytes = b"") -> None:
        """A message."""
        assert len(packed(message, payload)) > 8
        self.heard.append((message, payload))


class NobodyStops:
    """No cancel comes."""

    def stopped(self, _: str) -> bool:
        """Never."""
        return False


class Teaching(Parallax):
    """A system that learns something by the way."""

    taught = MOTION

    def render(self, request: ParallaxRequest, sources: Sources, tick: Tick, thrift: Thrift = PLENTY) -> Clip:
        """The usual clip."""
        return replace(super().render(request, sources, tick, thrift), learned=self.taught)


def child(folder: Path, taught: bytes = MOTION) -> tuple[Renderer, Heard]:
    heard: Any = Heard()
    nobody: Any = NobodyStops()
    setup = Setup(models=folder, device="cpu", dtype="auto", vram_bytes=None, ram_bytes=None, threads=1, options={})
    renderer = Renderer(setup, heard, nobody)
    teaching = Teaching(renderer.system("parallax").place)
    teaching.taught = taught
    renderer._systems["parallax"] = teaching
    return renderer, heard


def order(folder: Path, *after: TrimRequest) -> Order:
    path = folder / "picture.png"
    Image.radial_gradient("L").resize((96, 64)).convert("RGB").save(path)
    first = ParallaxRequest(move="zoom in", seconds=0.5, size=360, fps=5, seed=7)
    recipe = Recipe(sources={"image": Source(digest="0" * 64, width=96, height=64)}, steps=(first, *after))
    return Order(job_id="1", recipe=recipe, sources={"image": path})


@pytest.mark.parametrize("after", [(), (TrimRequest(clip="previous", start=0, end=0.4),)], ids=["alone", "in a chain"])
def test_what_a_step_learned_goes_over_the_wire_before_the_frames(tmp_path: Path, after: Any) -> None:
    renderer, heard = child(tmp_path)
    end = renderer.answer(order(tmp_path, *after))
    words = [message.kind for message, _ in heard.heard if isinstance(message, ClipBegins | Learned | OneFrame)]

    assert end.kind == "done", end  # type: ignore[attr-defined]
    assert words[:3] == ["clip", "learned", "frame"]
    assert [payload for message, payload in heard.heard if isinstance(message, Learned)] == [MOTION]


def test_a_broken_motion_is_a_failure_in_words_and_no_clip(tmp_path: Path) -> None:
    renderer, _ = child(tmp_path, MOTION[:-1])
    end: Any = renderer.answer(order(tmp_path))

    assert (end.kind, end.reason.code) == ("cannot", "motion_broken")


async def test_the_worker_holds_a_motion_before_it_stores_it_and_a_broken_one_it_does_not_take(
    queue: JobQueue, store: MediaStore, tmp_path: Path
) -> None:
    retention = Retention(queue.redis)
    settings = ModelSettings(cache=tmp_path)
    finisher = Finisher(store, retention, settings, encode_seconds=9, keep_seconds=9)
    clip = RenderedClip(ClipBegins(width=2, height=2, num_frames=1, fps=(8, 1)), tmp_path, lambda _: None)
    await queue.enqueue(submission("1"))
    job = await queue.job("1")
    with clip.spool:
        assert await finisher.keep_learned(job, clip) is None
        with pytest.raises(MotionBroken):
            clip.takes(Learned(), MOTION + b"x")
        clip.takes(Learned(), MOTION)
        assert await finisher.keep_learned(job, clip) == digest_of(MOTION)

    assert await store.get(digest_of(MOTION)) == MOTION
    assert await retention.known(digest_of(MOTION)) == [True]
