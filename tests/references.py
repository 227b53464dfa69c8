"""Where the facts recorded from the originals are: the folder that ZOETROPE_GOLDENS names, else the one beside us."""

import os
from pathlib import Path

FOLDER = Path(os.environ.get("ZOETROPE_GOLDENS", Path(__file__).resolve().parents[2] / "shared" / "reference"))
