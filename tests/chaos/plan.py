"""How large a run is, and what it draws its dice from."""

from __future__ import annotations

import random
from dataclasses import dataclass


@dataclass(frozen=True)
class Plan:
    """One run. The same seed draws the same people, wishes and faults in the same order; their instants differ."""

    seed: int
    jobs: int = 300
    """So many jobs must be accepted."""
    people: int = 20
    channels: int = 5
    seconds: float = 600.0
    """All of it, from the first process to the verdict."""
    lease_seconds: int = 20
    fault_pause: tuple[float, float] = (1.5, 4.5)
    """Seconds between two faults."""
    faults: int = 0
    """Stop after so many; 0: go on as long as people ask."""

    def dice(self, who: str) -> random.Random:
        """Somebody's own dice, so that one who throws more often changes nobody else's luck."""
        return random.Random(f"{self.seed}/{who}")


LONG = {"jobs": 300, "people": 20, "channels": 5, "seconds": 600.0, "lease_seconds": 20, "fault_pause": (1.5, 4.5)}
"""The product's own lease."""
SHORT = {"jobs": 24, "people": 8, "channels": 3, "seconds": 170.0, "lease_seconds": 4, "fault_pause": (0.5, 1.5)}
"""A short lease, so that a worker that hangs is given up soon."""
