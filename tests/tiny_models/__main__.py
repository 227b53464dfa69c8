"""`python -m tests.tiny_models DIR`."""

import sys
from pathlib import Path

from tests.tiny_models import write_all

if len(sys.argv) != 2:
    sys.exit("usage: python -m tests.tiny_models DIR")
write_all(Path(sys.argv[1]))
