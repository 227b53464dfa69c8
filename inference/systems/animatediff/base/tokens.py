"""CLIP's words: its tokenizer, built from the two published files and nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from transformers import CLIPTokenizer

from inference.systems.animatediff import errors

VOCABULARY = "vocab.json"
MERGES = "merges.txt"
BEGIN, END = "<|startoftext|>", "<|endoftext|>"
ZERO = "!"
"""The word with the id 0: OpenCLIP pads with zeros, so SDXL's second tokenizer is published with this to pad."""


def has_words(folder: Path) -> bool:
    """Whether a folder brings a vocabulary."""
    return (folder / VOCABULARY).is_file() and (folder / MERGES).is_file()


def tokenizer_in(folder: Path, model: str, *, pads_with_zero: bool) -> CLIPTokenizer:
    """From `vocab.json` and `merges.txt`. A folder's further files only repeat what is the same in all of them.

    Args:
        folder: where the two are.
        model: whose words they are, for whoever has to be told.
        pads_with_zero: for OpenCLIP; OpenAI's CLIP pads with its mark of the end.

    Raises:
        AnimateDiffUnreadable: one of them is missing or damaged.
    """
    file = VOCABULARY
    try:
        vocabulary: Any = json.loads((folder / VOCABULARY).read_text("utf-8"))
        if not isinstance(vocabulary, dict) or not {BEGIN, END, ZERO} <= vocabulary.keys():
            raise ValueError("no vocabulary of CLIP's")
        file = MERGES
        lines = (folder / MERGES).read_text("utf-8").splitlines()
        pairs = [tuple(line.split()) for line in lines if line and not line.startswith("#version")]
        return CLIPTokenizer(vocab=vocabulary, merges=pairs, pad_token=ZERO if pads_with_zero else END)  # pyright: ignore[reportArgumentType]
    except Exception as error:  # tokenizers raises this very class, for pairs that make no word
        raise errors.AnimateDiffUnreadable(model=model, file=file) from error
