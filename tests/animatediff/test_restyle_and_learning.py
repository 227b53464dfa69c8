"""What begins with somebody's clip: restyling it, and learning its motion for another one."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from inference.systems.animatediff.frames import filled
from inference.systems.animatediff.learner import LearnMotion
from inference.systems.animatediff.learning_errors import LearnedMotionElsewhere
from inference.systems.animatediff.restyle import Restyle
from inference.systems.animatediff.system import AnimateDiff
from inference.systems.base import Place, Sources
from jobs.requests.animatediff import AnimateDiffRequest
from jobs.requests.diffusion import Diffusion
from jobs.requests.holds import HOLDS
from jobs.requests.learnmotion import LearnMotionRequest
from jobs.requests.restyle import RestyleRequest
from media.frames import FrameSpool
from tests.animatediff.rendering import PICTURES, Frames, frames_of, pinned, render, request, untold

pytestmark = [
    # diffusers 0.42's EulerDiscreteScheduler hands tensors to numpy 2's `array` in a way that numpy means to end.
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"),
    pytest.mark.timeout(300),
]


# --- restyle ---


def footage(frames: int = 8) -> FrameSpool:
    spool = FrameSpool(96, 64, Fraction(8))
    for number in range(frames):
        frame = np.full((64, 96, 3), 200, np.uint8)
        frame[20:40, 5 + 6 * number : 25 + 6 * number] = (200, 40, 30)
        spool.append(frame)
    return spool


def restyled(place: Place, **fields: Any) -> Frames:
    usual: dict[str, Any] = {
        "prompt": "an oil painting", "seed": 5, "module": "lightning-2", "seconds": 0.5, "fps": 4, "size": 256,
        "hold": "none",
    }  # fmt: skip
    asked = RestyleRequest(**{**usual, **fields})
    images = {name: PICTURES.get(name) or mask() for _, name, kind in asked.named() if kind == "image"}
    with torch.inference_mode(), footage() as spool:
        return frames_of(Restyle(place).render(asked, Sources(images, {"clip": spool}), untold))


def mask() -> Image.Image:
    """The left half stays."""
    pixels = np.zeros((64, 96), np.uint8)
    pixels[:, :48] = 255
    return Image.fromarray(pixels).convert("RGB")


@pytest.mark.slow
@pytest.mark.parametrize("hold", [*HOLDS, "depth, tile 0.5"])
def test_a_clip_is_held_by_what_a_controlnet_sees(place: Place, hold: str) -> None:
    free, held = restyled(place), restyled(place, hold=hold)

    assert len(held) == 2
    assert not np.array_equal(free, held)


@pytest.mark.slow
def test_less_strength_stays_closer_to_the_clip(place: Place) -> None:
    """By the latents: what a random decoder makes of them says nothing about likeness."""
    asked: dict[str, Any] = {"num_inference_steps": 10, "module": "v3"}
    source, weak, strong = (restyled(place, strength=strength, **asked) for strength in (0.1, 0.2, 0.7))

    assert np.abs(weak.astype(int) - source).mean() < np.abs(strong.astype(int) - source).mean()


def test_what_is_white_in_the_mask_stays_as_it_is(place: Place) -> None:
    kept = restyled(place, keep="keep")
    with footage() as spool:
        left = np.asarray(filled(Image.fromarray(spool[0]), (kept.shape[2], kept.shape[1])))[:, : kept.shape[2] // 2]

    inside = kept[0][:, : kept.shape[2] // 2]
    assert np.abs(inside[:, :-16].astype(int) - left[:, :-16]).mean() < 3
    assert np.abs(kept[0][:, kept.shape[2] // 2 :].astype(int) - 200).mean() > 20


def test_a_restyled_clip_keeps_its_sound(place: Place) -> None:
    asked = RestyleRequest(prompt="oil", module="lightning-2", seconds=0.5, fps=8, size=256, hold="none")
    with torch.inference_mode(), footage() as spool:
        spool.sound = np.arange(2 * 48_000, dtype=np.int16).reshape(-1, 2)
        clip = Restyle(place).render(asked, Sources({}, {"clip": spool}), untold)
        assert clip.sound is not None
        assert np.array_equal(clip.sound, spool.sound[:24_000])
        clip.frames.close()  # type: ignore[attr-defined]


# --- learning a motion ---


@pytest.mark.slow
def test_a_motion_is_learned_and_moves_another_clip(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inference.systems.animatediff.learner.LOOK_STEPS", 5)
    monkeypatch.setattr("inference.systems.animatediff.learner.LOOK_FRAMES", 4)
    learned: list[int] = []

    def watch(stage: str, step: int, total: int) -> None:
        if stage == "learning":
            learned.append(step)

    asked = LearnMotionRequest(prompt="a red square", size=192, rank=4, seed=3)
    asked = asked.model_copy(update={"learning_steps": 4})  # fewer than anybody may ask for: each takes five seconds
    with torch.inference_mode(), footage(10) as spool:
        clip = LearnMotion(place).render(asked, Sources({}, {"clip": spool}), watch)
        assert clip.learned is not None
        frames_of(clip)
    assert learned == list(range(5)), "four steps, and that they begin"
    path = tmp_path / "spin.safetensors"
    path.write_bytes(clip.learned)

    def moved(asked: Diffusion) -> Frames:
        assert isinstance(asked, AnimateDiffRequest)
        with torch.inference_mode():
            return frames_of(AnimateDiff(place).render(asked, Sources({}, motions={"spin": path}), untold))

    plain = render(AnimateDiff(place), pinned())
    assert not np.array_equal(plain, moved(pinned(motion="spin")))
    assert np.array_equal(plain, moved(pinned(motion="spin", motion_strength=0.0)))
    assert np.array_equal(plain, render(AnimateDiff(place), pinned()))
    with pytest.raises(LearnedMotionElsewhere):
        moved(request(motion="spin", module="v15-v2", num_inference_steps=5))
