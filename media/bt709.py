"""BT.709 as files of ours carry it: how RGB becomes limited-range 4:2:0, the tags that say so, and the weights of luma.

Recommendation ITU-R BT.709-6. Without the tags a player guesses by size, and small clips turn greenish.
"""

from typing import Any

import av
import numpy as np
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc, Interpolation, VideoReformatter

LUMA = np.array([0.2126, 0.7152, 0.0722], np.float32)
"""How much red, green and blue add to what is seen as light (3.2)."""
FINE = Interpolation.LANCZOS | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT | Interpolation.FULL_CHR_H_INP


def tag_bt709(codec: Any) -> None:
    """Say of an encoder's pictures what `to_bt709` makes of them."""
    codec.colorspace = Colorspace.ITU709
    codec.color_range = ColorRange.MPEG
    codec.color_primaries = ColorPrimaries.BT709
    codec.color_trc = ColorTrc.BT709


def to_bt709(
    converter: VideoReformatter, frame: av.VideoFrame, layout: str, width: int | None = None, height: int | None = None
) -> av.VideoFrame:
    """An RGB or RGBA frame as `yuv420p` or `yuva420p`, limited range, at another size where one is given."""
    return converter.reformat(
        frame,
        width,
        height,
        layout,
        src_color_range=ColorRange.JPEG,
        dst_colorspace=Colorspace.ITU709,
        dst_color_range=ColorRange.MPEG,
        interpolation=FINE,
    )
