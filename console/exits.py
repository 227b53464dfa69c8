"""Exit codes."""

CANNOT_START = 78
"""EX_CONFIG of sysexits.h: starting again is no use before a person changed something (no token, a wrong key)."""
