"""What all tests share."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
for name in [
    name
    for name in os.environ
    if name.startswith(("ZOETROPE_", "DISCORD_")) and name not in ("ZOETROPE_GOLDENS", "ZOETROPE_OPENAPI")
]:
    del os.environ[name]  # a developer's own settings are not part of a test
