"""How to tell that memory ran out, on whichever device: each says it in its own way."""

from __future__ import annotations

import re

import torch

from inference.residency import NetworkTooLarge

SAYS_SO = re.compile(
    r"out of memory"  # CUDA and MPS, where they raise a plain RuntimeError
    r"|DefaultCPUAllocator: (can't allocate|not enough) memory"  # c10/core/impl/alloc_cpu.cpp
    r"|(CUDNN|CUBLAS)_STATUS_ALLOC_FAILED",
    re.IGNORECASE,
)


def ran_out(error: BaseException) -> bool:
    """Whether with more memory, or with thrift, there would have been no error."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError | NetworkTooLarge):
        return True
    return isinstance(error, RuntimeError) and SAYS_SO.search(str(error)) is not None
