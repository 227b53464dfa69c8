"""From prompts to embeddings: any length, any emphasis, for SD 1.5's one text encoder or SDXL's two.

SD 1.5 sees CLIP's last layer after the final norm (Rombach et al. 2022, `FrozenCLIPEmbedder`). SDXL sees the last layer
but one of both encoders, without the norm, side by side, and the second one's pooled output (Podell et al. 2023). Long
prompts and weights are as in AUTOMATIC1111's web UI, whose people's prompts are written for it (its wiki, "Features":
"Infinite prompt length", "Attention/emphasis"; `modules/sd_hijack_clip.py`, `modules/sd_emphasis.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import CLIPTokenizer

from inference.systems.animatediff.base.emphasis import parse
from inference.systems.animatediff.blending import Encoded

LENGTH = 75
"""Tokens of a prompt that go into one chunk of 77; a mark of the beginning and one of the end go around them."""
COMMA = ",</w>"
REACH = 20
"""So far back from a chunk's end a comma is looked for, to break there."""
MOST_RATIO = 10.0
"""Of a chunk's means without and with weights, either way round: beyond it they are next to nothing."""


@dataclass(frozen=True)
class Chunk:
    """At most 75 tokens, each with its weight."""

    tokens: tuple[int, ...] = ()
    weights: tuple[float, ...] = ()

    def ids(self, tokenizer: CLIPTokenizer) -> list[int]:
        """Its 77: begin, tokens, end, and the tokenizer's padding."""
        begin, end, padding = (_id(tokenizer, kind) for kind in ("bos_token_id", "eos_token_id", "pad_token_id"))
        return [begin, *self.tokens, end, *[padding] * (LENGTH - len(self.tokens))]

    def factors(self) -> list[float]:
        """Its 77 weights; what is around the tokens weighs 1."""
        return [1.0, *self.weights, *[1.0] * (LENGTH - len(self.weights) + 1)]

    @property
    def even(self) -> bool:
        """Whether nothing in it is emphasised."""
        return all(weight == 1.0 for weight in self.weights)


def chunked(text: str, tokenizer: CLIPTokenizer) -> list[Chunk]:
    """A prompt in chunks of up to 75 tokens; an empty one is one empty chunk.

    Where a chunk is full, it ends behind its last comma, if that is at most 20 tokens back, so that no phrase is torn.
    """
    comma = tokenizer.get_vocab().get(COMMA)
    rest = [
        (token, piece.weight)
        for piece in parse(text)
        for token in _plain(tokenizer(piece.text, add_special_tokens=False)["input_ids"])
    ]
    chunks: list[Chunk] = []
    while rest or not chunks:
        end = min(LENGTH, len(rest))
        if len(rest) > LENGTH and rest[LENGTH][0] != comma:
            near = [place for place in range(LENGTH - REACH, LENGTH) if rest[place][0] == comma]
            end = near[-1] + 1 if near else end
        tokens, weights = zip(*rest[:end], strict=True) if end else ((), ())
        chunks.append(Chunk(tokens, weights))
        rest = rest[end:]
    return chunks


def chunks(text: str, tokenizer: CLIPTokenizer) -> int:
    """How many times 77 tokens a prompt becomes."""
    return len(chunked(text, tokenizer))


@torch.no_grad()
def encode(
    texts: Sequence[str], tokenizers: Sequence[CLIPTokenizer], encoders: Sequence[nn.Module], *, clip_skip: int = 0
) -> dict[str, Encoded]:
    """Each prompt's embeddings, `[77 · chunks, D]`, and SDXL's pooled output, `[D']`; float32 on the CPU.

    Each prompt is encoded by itself and stays as long as it is; `blending.blend` makes them equally long. The pooled
    output is that of the first chunk.

    Args:
        texts: prompts, positive and negative.
        tokenizers: `Base.tokenizers()`.
        encoders: one for SD 1.5, two for SDXL, in the order of `Base.encoders`, each on its device.
        clip_skip: so many layers earlier than usual; what others call "clip skip 2" is 1 here.
    """
    encoded: dict[str, Encoded] = {}
    for text in dict.fromkeys(texts):
        parts = chunked(text, tokenizers[0])  # all have the same words, and differ in how they pad
        each = [
            _hidden(parts, tokenizer, encoder, clip_skip, pairs=len(encoders) > 1)
            for tokenizer, encoder in zip(tokenizers, encoders, strict=True)
        ]
        embeds = torch.cat([hidden for hidden, _ in each], dim=-1)
        encoded[text] = Encoded(embeds.flatten(0, 1), each[-1][1])
    return encoded


def _hidden(
    parts: Sequence[Chunk], tokenizer: CLIPTokenizer, encoder: nn.Module, clip_skip: int, *, pairs: bool
) -> tuple[Tensor, Tensor | None]:
    """One encoder's `[chunks, 77, D]` float32, weighted, and its pooled output if it has one."""
    device = next(encoder.parameters()).device
    ids = torch.tensor([part.ids(tokenizer) for part in parts], device=device)
    output: Any = encoder(input_ids=ids, output_hidden_states=True)
    if pairs:
        hidden: Tensor = output.hidden_states[-2 - clip_skip]
    elif clip_skip:
        norm: Any = encoder.final_layer_norm
        hidden = norm(output.hidden_states[-1 - clip_skip])
    else:
        hidden = output.last_hidden_state
    weighted = [_weighted(one, part) for one, part in zip(hidden.float().cpu(), parts, strict=True)]
    pooled: Tensor | None = getattr(output, "text_embeds", None)
    return torch.stack(weighted), None if pooled is None else pooled[0].float().cpu()


def _weighted(hidden: Tensor, part: Chunk) -> Tensor:
    """Each token times its weight, then all of the chunk times one number that gives it back its mean.

    Where the mean is next to nothing or has changed its sign, that number would blow the chunk up or turn it round (the
    web UI lets it); then the mean is left alone.
    """
    if part.even:
        return hidden
    weighted = hidden * torch.tensor(part.factors())[:, None]
    before, after = float(hidden.mean()), float(weighted.mean())
    ratio = before / after if after else 0.0
    return weighted * ratio if 1 / MOST_RATIO <= ratio <= MOST_RATIO else weighted


def _id(tokenizer: CLIPTokenizer, kind: str) -> int:
    return int(getattr(tokenizer, kind))


def _plain(ids: Any) -> list[int]:
    return [int(one) for one in ids]
