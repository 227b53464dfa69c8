"""Parallax: a camera move over a still picture. It needs no weights; with a depth network near things move more."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from PIL import Image

from inference.depth_weights import DEPTH
from inference.systems.base import PLENTY, Clip, Frame, Sources, System, Thrift, Tick
from inference.systems.parallax.camera import planar_path
from inference.systems.parallax.easing import instants
from inference.systems.parallax.layers import deep_frames
from inference.systems.parallax.planar import planar_frames
from inference.systems.parallax.relief import Field, normalised, pivot_of
from inference.systems.parallax.trip import deep_path
from inference.systems.parallax.window import Window, matrix_of, window_for
from jobs.errors import Note
from jobs.requests.parallax import DEEP_MOVES, SHORTEST_SIDE, ParallaxRequest, frame_count


class Parallax(System[ParallaxRequest]):
    """Every move, over a flat picture or through one with depth. Frames are made as they are read."""

    def render(self, request: ParallaxRequest, sources: Sources, tick: Tick, thrift: Thrift = PLENTY) -> Clip:
        """Plan the camera's way, look at the depth if it matters, and hand over the frames."""
        picture = sources.image(request.image)
        window = window_for(*picture.size, request.size)
        disparity, notes = self._disparity(request, picture, tick, thrift)
        if disparity is None:
            frames = flat(request, picture, window, tick)
        else:
            frames = deep(request, picture, disparity, window, tick)
        return Clip(
            width=window.out_width,
            height=window.out_height,
            num_frames=frame_count(request.seconds, request.fps),
            fps=Fraction(request.fps),
            frames=frames,
            notes=notes,
            weights=() if disparity is None else (DEPTH.name,),
            facts={} if disparity is None else {"model": DEPTH.name},
        )

    def _disparity(
        self, request: ParallaxRequest, picture: Image.Image, tick: Tick, thrift: Thrift
    ) -> tuple[Field | None, tuple[Note, ...]]:
        """The picture's depth, or None and what the person should hear about it."""
        if request.depth == "off" or request.move not in DEEP_MOVES or min(picture.size) < SHORTEST_SIDE:
            return None, ()
        if DEPTH.layout_in(self.place.models) is None:
            return None, (Note("parallax_planar"),)
        from inference.depth import Depth  # seconds of importing, which a flat move does without

        tick("depth", 0, 1)
        disparity = normalised(Depth(self.place).predict(picture, alone=thrift.offload))
        tick("depth", 1, 1)
        return disparity, (Note("parallax_flat"),) if disparity is None else ()


def flat(request: ParallaxRequest, picture: Image.Image, window: Window, tick: Tick) -> Iterator[Frame]:
    """The frames of a move over a flat picture."""
    path = planar_path(request, window)
    matrices = [matrix_of(path(t), window) for t in _instants(request)]
    return planar_frames(picture, window, matrices, tick)


def deep(
    request: ParallaxRequest, picture: Image.Image, disparity: Field, window: Window, tick: Tick
) -> Iterator[Frame]:
    """The frames of a move through a picture whose disparity is known."""
    path = deep_path(request, window, pivot_of(disparity))
    return deep_frames(picture, disparity, window, [path(t) for t in _instants(request)], tick)


def _instants(request: ParallaxRequest) -> list[float]:
    return instants(frame_count(request.seconds, request.fps), request.loop)
