"""Frames of any colour space brought to sRGB: HDR and wide gamut through one table of 64³ colours.

PQ is SMPTE ST 2084, HLG is ITU-R BT.2100; diffuse white is 203 cd/m² (ITU-R BT.2408), highlights up to 1000 cd/m² are
rolled off by the knee of ITU-R BT.2390, on the largest of the three channels, so that hues stay.
"""

from fractions import Fraction
from functools import cache
from typing import Any, cast

import av
import numpy as np
from av.filter import Graph
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc, Interpolation, VideoReformatter
from numpy.typing import NDArray

WHITE_NITS = 203.0
PEAK_NITS = 1000.0
_LEVELS = 64
"""Colours along each axis; a Hald picture of level 8 holds 64³ in 512 × 512."""
_SMOOTH = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT
_UNTAGGED = {0, 2, 3}
"""RGB (which stands for nothing in YUV), unspecified, reserved: ISO/IEC 23091-2, table 4."""
_HD_SIDE = 720

Matrix = NDArray[np.float64]
Light = NDArray[np.float64]

# CIE xy of red, green and blue, and of the white that all three share (D65).
_BT709 = ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060))
_BT2020 = ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046))
_DISPLAY_P3 = ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060))
_D65 = (0.3127, 0.3290)
_WIDE = {int(ColorPrimaries.BT2020): _BT2020, int(ColorPrimaries.SMPTE432): _DISPLAY_P3}
_HDR = {int(ColorTrc.SMPTE2084), int(ColorTrc.ARIB_STD_B67)}


def is_hdr(frame: av.VideoFrame) -> bool:
    """Whether its values stand for light by PQ or HLG."""
    return frame.color_trc in _HDR


def is_special(frame: av.VideoFrame) -> bool:
    """Whether plain scaling would show it too dull: HDR or a wide gamut."""
    return is_hdr(frame) or frame.color_primaries in _WIDE


class ToSrgb:
    """Scales frames of one clip to one size and to sRGB."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self._scaler = VideoReformatter()
        self._grades: dict[tuple[int, int], _Grade] = {}

    def scaled(self, frame: av.VideoFrame, width: int, height: int, layout: str) -> av.VideoFrame:
        """`frame` in another size and an RGB layout, by the matrix and range it is tagged with or likely means."""
        return self._scaler.reformat(
            frame, width, height, layout, src_colorspace=_matrix_of(frame), interpolation=_SMOOTH
        )

    def rgb(self, frame: av.VideoFrame) -> NDArray[np.uint8]:
        """uint8 `[height, width, 3]`."""
        if not is_special(frame):
            return _array(self.scaled(frame, self.width, self.height, "rgb24"))
        key = (int(frame.color_trc), int(frame.color_primaries))
        if key not in self._grades:
            self._grades[key] = _Grade(self.width, self.height, hald(*key))
        graded = self._grades[key].apply(self.scaled(frame, self.width, self.height, "gbrp16le"))
        return _array(self._scaler.reformat(graded, format="rgb24"))


def _array(frame: av.VideoFrame) -> NDArray[np.uint8]:
    return cast("NDArray[np.uint8]", frame.to_ndarray())


def _matrix_of(frame: av.VideoFrame) -> int | None:
    """Untagged YUV means BT.709 where it is HD and BT.601 below, as players have it."""
    if frame.colorspace not in _UNTAGGED or frame.format.is_rgb:
        return None
    hd = min(frame.width, frame.height) >= _HD_SIDE
    return int(Colorspace.ITU709 if hd else Colorspace.ITU601)


class _Grade:
    """A filter that looks colours up in a table, between them by tetrahedra."""

    def __init__(self, width: int, height: int, table: NDArray[np.uint16]) -> None:
        graph = cast(Any, Graph())
        size, beat = f"{width}x{height}", "time_base=1/1000"
        self._in = graph.add("buffer", f"video_size={size}:pix_fmt=gbrp16le:{beat}")
        side = _LEVELS * 8
        colours = graph.add("buffer", f"video_size={side}x{side}:pix_fmt=rgb48le:{beat}")
        look_up, self._out = graph.add("haldclut", "interp=tetrahedral"), graph.add("buffersink")
        self._in.link_to(look_up, 0, 0)
        colours.link_to(look_up, 0, 1)
        look_up.link_to(self._out)
        graph.configure()
        colours.push(_timed(av.VideoFrame.from_ndarray(table, format="rgb48le"), 0))
        colours.push(None)
        self._graph, self._count = graph, 0

    def apply(self, frame: av.VideoFrame) -> av.VideoFrame:
        self._in.push(_timed(frame, self._count))
        self._count += 1
        return cast(av.VideoFrame, self._out.pull())


def _timed(frame: av.VideoFrame, pts: int) -> av.VideoFrame:
    # What the frame is tagged with is dealt with by the table; a filter that minds tags must not see them change.
    frame.pts, frame.time_base = pts, Fraction(1, 1000)
    frame.colorspace, frame.color_range = 0, int(ColorRange.JPEG)
    frame.color_trc, frame.color_primaries = int(ColorTrc.UNSPECIFIED), int(ColorPrimaries.UNSPECIFIED)
    return frame


@cache
def hald(trc: int, primaries: int) -> NDArray[np.uint16]:
    """The table for one transfer curve and gamut (numbers of ISO/IEC 23091-2), uint16 `[512, 512, 3]`, red fastest."""
    axis = np.linspace(0.0, 1.0, _LEVELS)
    blue, green, red = np.meshgrid(axis, axis, axis, indexing="ij")
    values = np.stack([red, green, blue], axis=-1).reshape(-1, 3)
    gamut = _WIDE.get(primaries, _BT2020 if trc in _HDR else _BT709)
    if trc in _HDR:
        nits = _pq_nits(values) if trc == ColorTrc.SMPTE2084 else _hlg_nits(values)
        light = _rolled_off(np.maximum(nits @ between(gamut, _BT709).T, 0.0)) / WHITE_NITS
    else:
        light = _linear(values) @ between(gamut, _BT709).T
    table = np.round(_encoded(light) * 65535).astype(np.uint16)
    return table.reshape(_LEVELS * 8, _LEVELS * 8, 3)


def between(source: tuple[tuple[float, float], ...], target: tuple[tuple[float, float], ...]) -> Matrix:
    """`[3, 3]`: linear light in the primaries of `source` to those of `target`."""
    return np.linalg.inv(_to_xyz(target)) @ _to_xyz(source)


def _to_xyz(primaries: tuple[tuple[float, float], ...]) -> Matrix:
    columns = np.array([[x / y, 1.0, (1 - x - y) / y] for x, y in (*primaries, _D65)]).T
    return columns[:, :3] * np.linalg.solve(columns[:, :3], columns[:, 3])


_M1, _M2 = 2610 / 16384, 2523 / 4096 * 128
_C1, _C2, _C3 = 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32


def _pq_nits(values: Light) -> Light:
    """SMPTE ST 2084, equation 4.1."""
    root = values ** (1 / _M2)
    return 10_000 * (np.maximum(root - _C1, 0) / (_C2 - _C3 * root)) ** (1 / _M1)


def _pq_values(nits: Light) -> Light:
    """Its inverse, equation 5.2."""
    power = (nits / 10_000) ** _M1
    return ((_C1 + _C2 * power) / (1 + _C3 * power)) ** _M2


def _hlg_nits(values: Light) -> Light:
    """BT.2100, table 5, on a display of 1000 cd/m²: the inverse OETF, then a system gamma of 1.2 on luminance."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    scene = np.where(values <= 0.5, values**2 / 3, (np.exp((values - c) / a) + b) / 12)
    luminance = scene @ np.array([0.2627, 0.6780, 0.0593])
    return PEAK_NITS * scene * luminance[:, None] ** 0.2


def _rolled_off(nits: Light) -> Light:
    """Light up to `PEAK_NITS` brought below `WHITE_NITS`: unchanged up to the knee, above it by a Hermite spline.

    BT.2390, 5.4.1, with the black level left where it is.
    """
    brightest = nits.max(axis=-1, keepdims=True)
    peak, target = (float(_pq_values(np.array(level))) for level in (PEAK_NITS, WHITE_NITS))
    top = target / peak
    knee = 1.5 * top - 0.5
    level = np.minimum(_pq_values(brightest) / peak, 1.0)
    t = np.maximum(level - knee, 0.0) / (1 - knee)
    spline = (2 * t**3 - 3 * t**2 + 1) * knee + (t**3 - 2 * t**2 + t) * (1 - knee) + (3 * t**2 - 2 * t**3) * top
    bent = _pq_nits(np.where(level < knee, level, spline) * peak)
    return np.minimum(nits * (bent / np.maximum(brightest, 1e-6)), WHITE_NITS)


def _linear(values: Light) -> Light:
    """IEC 61966-2-1; SDR video is shown by the same curve as pictures are."""
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def _encoded(light: Light) -> Light:
    light = np.clip(light, 0.0, 1.0)
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
