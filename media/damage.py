"""What Pillow and the libraries below it raise on damaged or hostile bytes, found by reading and by fuzzing."""

import struct
import zlib

from PIL import Image

DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    AssertionError,
    EOFError,
    ArithmeticError,
    RuntimeError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
