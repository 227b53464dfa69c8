"""Smooth: a clip at a higher rate. RIFE or FILM where one is installed, optical flow where none is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from fractions import Fraction

from inference.editing import clip_of, shape_of
from inference.systems.base import PLENTY, Clip, Sources, System, Thrift, Tick
from inference.systems.rife.driver import FilmMaker, Maker, RifeMaker, made
from inference.systems.rife.flow import FlowMaker
from inference.systems.rife.timeline import Look, instants, looked, plan
from inference.systems.rife.weights import FILM, RIFE
from inference.weights import Weights
from jobs.errors import Fact, Note
from jobs.requests.smooth import MOST_FPS, SmoothRequest
from media.tracks import cut, samples


class Smooth(System[SmoothRequest]):
    """Looks over the clip first: cuts are left as they are, frames that repeat others give way to motion."""

    def render(self, request: SmoothRequest, sources: Sources, tick: Tick, thrift: Thrift = PLENTY) -> Clip:
        """Plan every new frame, then make them as they are read."""
        clip = sources.clip(request.clip)
        shape = request.gives({request.clip: shape_of(clip)})
        count, rate = shape.num_frames, shape.fps
        tick("loading", 0, 1)
        maker, weights, notes = self._maker(request, thrift)
        look = looked(clip, tick)
        steps = plan(look, instants(clip.count, clip.fps, rate, request.loop), request.loop)
        sound = None if clip.sound is None else cut(clip.sound, 0, samples(count, rate))
        said = (*notes, *_remarks(look, request.loop), *_about_rate(request, clip.fps))
        whole = clip_of(shape, made(clip, steps, count, maker, tick), clip.channels, sound, said, weights)
        return replace(whole, facts=_facts(maker, look, request.loop))

    def thriftier(self, thrift: Thrift, stage: str) -> Thrift | None:
        """First motion is looked for in less at a time, then every other network makes way."""
        if thrift.decode_chunk_size is None:
            return replace(thrift, decode_chunk_size=1)
        return super().thriftier(thrift, stage)

    def holding(self) -> Iterable[str]:
        """Ready from the start: whatever is not loaded is loaded in a moment."""
        return (SmoothRequest.name(),)

    def _maker(self, request: SmoothRequest, thrift: Thrift) -> tuple[Maker, tuple[str, ...], tuple[Note, ...]]:
        """Who makes the frames, by which checkpoint, and what to say where that is not who was asked for."""
        rife = self._installed(RIFE) if request.method in ("auto", "rife") else None
        if rife:
            scale = None if request.scale == "auto" else float(request.scale)
            return RifeMaker(self.place, rife, thrift, scale), (rife.name,), ()
        film = self._installed((FILM,)) if request.method in ("auto", "film") else None
        if film:
            return FilmMaker(self.place, film, thrift), (film.name,), ()
        if request.method == "flow":
            return FlowMaker(), (), ()
        wanted = FILM if request.method == "film" else RIFE[0]
        return FlowMaker(), (), (Note("smooth_by_flow", {"model": wanted.name}),)

    def _installed(self, offered: Iterable[Weights]) -> Weights | None:
        chosen = self.place.options.get("checkpoints")
        return next(
            (
                weights
                for weights in offered
                if (chosen is None or weights.name in chosen) and weights.layout_in(self.place.models)
            ),
            None,
        )


def _remarks(look: Look, loop: bool) -> tuple[Note, ...]:
    if look.count == 1:
        return (Note("smooth_one_frame"),)
    if loop and look.count - 1 in look.cuts:
        return (Note("smooth_no_seam"),)
    return ()


def _about_rate(request: SmoothRequest, fps: Fraction) -> tuple[Note, ...]:
    """Where the rate is not higher, or the factor was too much: what was made of it."""
    wanted, made_of_it = request.asked(fps), request.rate(fps)
    if made_of_it <= fps:
        return (Note("smooth_no_more", {"had": float(fps), "fps": float(made_of_it)}),)
    if wanted == made_of_it:
        return ()
    return (Note("smooth_capped", {"asked": float(wanted), "fps": float(made_of_it), "limit": MOST_FPS}),)


def _facts(maker: Maker, look: Look, loop: bool) -> dict[str, Fact]:
    cuts = len(look.cuts if loop else look.cuts - {look.count - 1})
    return {"method": maker.label, **({"cuts": "1 cut" if cuts == 1 else f"{cuts} cuts"} if cuts else {})}
