"""One recorded case of an original implementation, and one comparison with it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor


@dataclass(frozen=True)
class Case:
    """A JSON file and the tensors beside it."""

    path: Path
    facts: Mapping[str, Any]

    @classmethod
    def read(cls, path: Path) -> Case:
        """From its JSON file."""
        return cls(path, json.loads(path.read_text("utf-8")))

    @property
    def piece(self) -> tuple[str, str]:
        """System and piece of code that must reproduce it."""
        return self.facts["system"], self.facts["piece"]

    @property
    def config(self) -> Any:
        """Sizes, in the original's own words."""
        return self.facts["config"]

    @property
    def tolerance(self) -> float:
        """For all outputs; where several are given, for implementations of several kinds, the strictest."""
        given = self.facts["tolerance"]
        return float(min(given.values()) if isinstance(given, dict) else given)

    @cached_property
    def _tensors(self) -> dict[str, Tensor]:
        beside = self.path.with_suffix(".safetensors")
        # Texts and lists of numbers have no tensors beside them: their adapter compares, and answers no output.
        return load_file(beside) if beside.exists() else {}

    def _below(self, prefix: str) -> dict[str, Tensor]:
        return {name.removeprefix(prefix): tensor for name, tensor in self._tensors.items() if name.startswith(prefix)}

    @cached_property
    def inputs(self) -> dict[str, Tensor]:
        """By name."""
        return self._below("input/")

    @cached_property
    def outputs(self) -> dict[str, Tensor]:
        """By name; every one of them has to be answered."""
        return self._below("output/")

    @cached_property
    def weights(self) -> dict[str, Tensor]:
        """Under the original's names, in float32 (they are exact in the float16 they are stored in)."""
        return {name: tensor.float() for name, tensor in self._below("weight/").items()}


@dataclass(frozen=True)
class Check:
    """Our answer to one of the recorded outputs."""

    output: str
    ours: Tensor
    tolerance: float
    relative: bool = True
    """Whether the tolerance is a part of the largest recorded value (of 1 at least), or absolute."""

    def error(self, recorded: Tensor) -> float:
        """The largest difference, on the tolerance's own scale."""
        if self.ours.shape != recorded.shape:
            return float("inf")
        scale = max(1.0, float(recorded.abs().max())) if self.relative else 1.0
        difference = float((self.ours.double() - recorded.double()).abs().max()) / scale
        return float("inf") if difference != difference else difference
