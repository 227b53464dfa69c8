"""Learn a motion: a clip in, and a file out that puts its motion into anything, with a clip that shows it."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import torch
from torch import Tensor

from inference.systems.animatediff.engine import Pair, decode_bytes
from inference.systems.animatediff.frames import Size
from inference.systems.animatediff.learning import Learning
from inference.systems.animatediff.learning_file import MotionFile
from inference.systems.animatediff.learning_windows import choose, encode
from inference.systems.animatediff.motiondirector import Recipe
from inference.systems.animatediff.rendering import DiffusionSystem, Job, digest, glimpsed, nothing
from inference.systems.animatediff.sampling import Words
from inference.systems.base import PLENTY, Clip, Frame, Place, Sources, Thrift, Tick
from jobs.requests.animatediff import AnimateDiffRequest
from jobs.requests.base import Shape
from jobs.requests.learnmotion import LOOK_FPS, LOOK_FRAMES, LOOK_STEPS, LearnMotionRequest
from media.frames import FrameSpool

LEARNING_BYTES = 4_000_000_000
"""Beside the weights, 16 frames of 384 × 384 in float16 with blocks computed twice; not measured on a GPU yet."""
LEARNING_AREA = 384 * 384
WINDOW = 16
"""Frames that are looked at together."""
FEWER_FRAMES = 8
"""Of a window, where memory is short."""
LOOKED_AT = 600
"""The noise level at which a preview shows what the network makes of the clip."""


class LearnMotion(DiffusionSystem[LearnMotionRequest]):
    """MotionDirector on AnimateDiff's motion modules."""

    name = "learnmotion"

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self._learned: tuple[object, MotionFile] | None = None
        """What was learned, if only the clip that shows it ran out of memory."""

    def render(self, request: LearnMotionRequest, sources: Sources, tick: Tick, thrift: Thrift = PLENTY) -> Clip:
        """Learn and denoise now; decode as the clip's frames are read."""
        request = self.engine.settled(request)
        pair = self.engine.pair(request)
        spool = sources.clip(request.clip)
        size = request.pixels({request.clip: Shape(spool.width, spool.height, len(spool), spool.fps)})
        key = request, pair.names, digest(sources), glimpsed(spool)
        kept, self._learned = self._learned, None
        file = kept[1] if kept and kept[0] == key else self._learn(request, pair, spool, size, tick, thrift)
        self._learned = key, file
        latents = self._look(request, pair, file, sources, size, tick, thrift)
        return Clip(
            width=size[0],
            height=size[1],
            num_frames=LOOK_FRAMES,
            fps=Fraction(LOOK_FPS),
            frames=self.undecoded.decoded(self.engine, pair.base, latents, key, tick, thrift),
            weights=pair.names,
            facts={"model": pair.base.name, "loss": f"loss {file.about.first_loss:.3f} → {file.about.last_loss:.3f}"},
            learned=file.to_bytes(),
        )

    def thriftier(self, thrift: Thrift, stage: str) -> Thrift | None:
        """While learning, fewer frames at a time; else as all of the family."""
        if stage == "learning":
            return replace(thrift, num_frames=FEWER_FRAMES) if thrift.num_frames is None else None
        return super().thriftier(thrift, stage)

    def _learn(
        self, request: LearnMotionRequest, pair: Pair, spool: FrameSpool, size: Size, tick: Tick, thrift: Thrift
    ) -> MotionFile:
        tick("loading", 0, 2)
        words = self._words(request.prompt, pair, tick, thrift)
        tick("loading", 1, 2)
        recipe = Recipe(
            rank=request.rank,
            num_steps=request.learning_steps,
            num_frames=thrift.num_frames or WINDOW,
        )
        latents = self._latents(request, pair, spool, size, recipe, tick, thrift)
        working = int(LEARNING_BYTES * size[0] * size[1] / LEARNING_AREA)
        with self.place.residency.on_device(self.engine.unet(pair), working) as unet:
            tick("loading", 2, 2)
            learning = Learning(unet, words, latents, recipe, request.seed, self.place.device)
            tick("learning", 0, request.learning_steps)
            for step in learning.steps():
                tick("learning", step.number, step.total)
                self.place.show(lambda: self._glance(learning, pair))
            return learning.file(pair.module)

    def _words(self, prompt: str, pair: Pair, tick: Tick, thrift: Thrift) -> Words:
        encoded = self.engine.encoded(list(dict.fromkeys((prompt, ""))), pair.base, 0, tick, thrift)
        return Words(encoded[prompt].embeds[None], encoded[""].embeds[None])

    def _latents(
        self,
        request: LearnMotionRequest,
        pair: Pair,
        spool: FrameSpool,
        size: Size,
        recipe: Recipe,
        tick: Tick,
        thrift: Thrift,
    ) -> Tensor:
        """Of the frames that are learned from, `[1, C, T, h, w]`."""
        chosen = choose(len(spool), spool.fps, window=recipe.num_frames)
        working = decode_bytes(size, pair.base.vae_dtype(self.place.dtype))
        with self.place.residency.on_device(self.engine.vae(pair.base), working, alone=thrift.offload) as vae:
            self.colours.fit(pair.base, vae)
            latents: list[Tensor] = []
            for frame in encode(vae, spool, chosen.indices, size, request.seed):
                latents.append(frame)
                tick("watching", len(latents), len(chosen.indices))
        return torch.cat(latents, dim=2)

    def _glance(self, learning: Learning, pair: Pair) -> Frame:
        """What the network makes of the clip under much noise, with what it has learned so far."""
        return self.colours.look(pair.base, learning.glance(LOOKED_AT))

    def _look(
        self,
        request: LearnMotionRequest,
        pair: Pair,
        file: MotionFile,
        sources: Sources,
        size: Size,
        tick: Tick,
        thrift: Thrift,
    ) -> Tensor:
        """A clip of the same words, with the motion on."""
        shown = AnimateDiffRequest(
            prompt=request.prompt.strip() or "best quality",
            model=pair.base.name,
            module=pair.module,
            num_frames=LOOK_FRAMES,
            fps=LOOK_FPS,
            num_inference_steps=LOOK_STEPS,
            seed=request.seed,
        )
        times = LOOK_FRAMES, Fraction(LOOK_FPS)
        words = self.engine.words(shown, pair, times, size, tick, thrift)
        lora = file.lora(pair.module, request.save_as)
        job = Job(pair, *times, size, words, sources, nothing, more=[(lora, 1.0)])
        return self.denoised(shown, job, tick, thrift)
