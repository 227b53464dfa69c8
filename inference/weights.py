"""Which published files a system needs: torch-free, so that worker, `doctor` and `models` can read it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Layout:
    """One published form of a checkpoint: the files that make it whole, by path in the hub repository.

    Each file's SHA-256 is the pinned one, or None where it is not known here: then the hub's own record at the pinned
    revision is used at the first pull and kept in `checksums.json` beside the files.
    """

    files: Mapping[str, str | None]

    def complete_in(self, folder: Path) -> bool:
        """Whether every file is there (not whether it is whole: `models verify` reads them)."""
        return all((folder / name).is_file() for name in self.files)


@dataclass(frozen=True)
class Weights:
    """One published checkpoint, in the folder `<models.dir>/<name>/`, in any one of its published layouts."""

    name: str
    repo: str
    revision: str
    layouts: tuple[Layout, ...]
    """Preferred first; the first is what `models pull` fetches."""
    licence: str
    licence_url: str
    commercial: bool = True
    gated: bool = False
    megabytes: int = 0
    """What `models pull` downloads, in MB (10⁶ bytes)."""
    purpose: str = ""
    facts: Mapping[str, int | float | str] = field(default_factory=dict[str, "int | float | str"])

    def layout_in(self, models: Path) -> Layout | None:
        """The published layout that is complete under `models`, or None where the checkpoint is not installed."""
        return next((layout for layout in self.layouts if layout.complete_in(models / self.name)), None)
