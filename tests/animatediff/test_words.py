"""What becomes of an image model's words: tokens, chunks, embeddings and emphasis."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl import StableDiffusionXLPipeline
from hypothesis import given
from hypothesis import strategies as st

from inference.systems.animatediff import errors as room_errors
from inference.systems.animatediff.base import errors, words
from inference.systems.animatediff.base.emphasis import MOST, Piece, parse
from inference.systems.animatediff.base.kinds import Family
from inference.systems.animatediff.base.loader import open_base
from inference.systems.animatediff.base.model import Base
from inference.systems.animatediff.sampling import ddim
from tests.animatediff.opening import FAMILIES, opened
from tests.tiny_models.stable_diffusion import write_tokenizer

# -- words --


def test_a_folder_brings_its_own_words_and_a_file_is_given_them(shelf: Path, tmp_path: Path) -> None:
    folder = open_base("mine", shelf / "sdxl", tmp_path / "nowhere")
    file = open_base("mine", shelf / "sdxl.safetensors", tmp_path / "nowhere")

    first, second = folder.tokenizers()
    assert first.tokenize("Moon  of\nthe cat!") == ["moon</w>", "of</w>", "the</w>", "c", "at</w>", "!</w>"]
    assert (first.pad_token_id, second.pad_token_id) == (first.eos_token_id, 0)
    with pytest.raises(room_errors.AnimateDiffUnreadable) as refused:
        file.tokenizers()
    assert refused.value.facts["file"] == "vocab.json"


@pytest.mark.parametrize(("file", "held"), [("vocab.json", "{"), ("vocab.json", '{"a": 1}'), ("merges.txt", "q zzz z")])
def test_damaged_words_are_refused(file: str, held: str, shelf: Path, tmp_path: Path) -> None:
    folder = write_tokenizer(tmp_path / "words")
    (folder / file).write_text(held)

    with pytest.raises(room_errors.AnimateDiffUnreadable) as refused:
        open_base("mine", shelf / "sd15.safetensors", folder).tokenizers()
    assert refused.value.facts["file"] == file


def test_other_words_than_the_text_encoders_are_refused(shelf: Path, tmp_path: Path) -> None:
    folder = write_tokenizer(tmp_path / "words")
    vocabulary = json.loads((folder / "vocab.json").read_text("utf-8"))
    (folder / "vocab.json").write_text(json.dumps({**vocabulary, "newword</w>": len(vocabulary)}))

    with pytest.raises(errors.AnimateDiffWrongWords) as refused:
        open_base("mine", shelf / "sd15.safetensors", folder).tokenizers()
    assert refused.value.facts == {"model": "mine", "found": len(vocabulary) + 1, "wanted": len(vocabulary)}


def encoders(base: Base) -> list[Any]:
    return [base.load(name, torch.float32) for name in base.encoders]


@pytest.mark.parametrize("clip_skip", [0, 1, 2])
@pytest.mark.parametrize("family", FAMILIES)
def test_embeddings_are_those_of_diffusers_pipelines(family: Family, clip_skip: int, shelf: Path) -> None:
    """Where a prompt has neither length nor emphasis."""
    base = opened(shelf / f"{family}.safetensors", shelf)
    tokenizers, networks = base.tokenizers(), encoders(base)
    prompt = "a photo of the old city at night, masterpiece"

    ours = words.encode([prompt], tokenizers, networks, clip_skip=clip_skip)[prompt]

    theirs, pooled = by_diffusers(base, networks, prompt, clip_skip)
    assert ours.embeds.shape == theirs[0].shape == (77, base.configs["unet"]["cross_attention_dim"])
    assert torch.allclose(ours.embeds, theirs[0], atol=1e-5)
    if family == "sdxl":
        assert ours.pooled is not None
        assert torch.allclose(ours.pooled, pooled[0], atol=1e-5)
    else:
        assert ours.pooled is None


def by_diffusers(base: Base, networks: list[Any], prompt: str, clip_skip: int) -> tuple[Any, Any]:
    tokenizers = base.tokenizers()
    for tokenizer in tokenizers:
        tokenizer.model_max_length = 77
    parts: dict[str, Any] = {
        "vae": base.load("vae", torch.float32),
        "unet": base.load("unet", torch.float32),
        "scheduler": ddim(),
        "text_encoder": networks[0],
        "tokenizer": tokenizers[0],
    }
    asked = {"device": "cpu", "num_images_per_prompt": 1, "do_classifier_free_guidance": False}
    with torch.no_grad():
        if base.family == "sd15":
            pipe: Any = StableDiffusionPipeline(
                **parts, safety_checker=None, feature_extractor=None, requires_safety_checker=False
            )
            # Its own clip_skip stumbles over today's transformers; an encoder with fewer layers is the same.
            pipe.text_encoder = copy.deepcopy(networks[0])
            pipe.text_encoder.encoder.layers = networks[0].encoder.layers[: 4 - clip_skip]
            return pipe.encode_prompt(prompt, **asked)[0], None
        pipe = StableDiffusionXLPipeline(**parts, text_encoder_2=networks[1], tokenizer_2=tokenizers[1])
        made = pipe.encode_prompt(prompt, **asked, clip_skip=clip_skip or None)
        return made[0], made[2]


@pytest.fixture(scope="module")
def sd15(shelf: Path) -> tuple[Any, Any]:
    base = opened(shelf / "sd15.safetensors", shelf)
    return base.tokenizers(), encoders(base)


@pytest.mark.parametrize(
    ("prompt", "lengths"),
    [
        ("", [0]),
        ("sun " * 75, [75]),
        ("sun " * 76, [75, 1]),
        ("sun " * 160, [75, 75, 10]),
        ("sun " * 60 + ", " + "moon " * 30, [61, 30]),  # at the comma, 14 tokens back
        ("sun " * 54 + ", " + "moon " * 30, [75, 10]),  # too far back
        ("sun " * 55 + ", " + "moon " * 30, [56, 30]),  # as far as it may be
        ("sun " * 56 + ", " + "moon " * 3 + ", " + "star " * 30, [61, 30]),  # at the last of two
        ("sun " * 60 + ", " + "moon " * 14 + ", " + "star " * 9, [75, 10]),  # a comma comes next: nothing is torn
        ("sun " * 74 + ", " + "moon " * 5, [75, 5]),
    ],
)
def test_a_long_prompt_is_cut_at_75_tokens_or_at_a_comma(prompt: str, lengths: list[int], sd15: Any) -> None:
    [tokenizer], networks = sd15

    cut = words.chunked(prompt, tokenizer)

    assert [len(chunk.tokens) for chunk in cut] == lengths
    assert [one for chunk in cut for one in chunk.tokens] == tokenizer(prompt, add_special_tokens=False)["input_ids"]
    assert all(len(chunk.ids(tokenizer)) == len(chunk.factors()) == 77 for chunk in cut)
    assert words.chunks(prompt, tokenizer) == len(lengths)
    assert words.encode([prompt], [tokenizer], networks)[prompt].embeds.shape == (77 * len(lengths), 32)


def test_each_chunk_is_encoded_as_a_prompt_of_its_own(shelf: Path) -> None:
    base = opened(shelf / "sdxl.safetensors", shelf)
    first, second = "sun " * 60 + ",", "moon " * 30

    encoded = words.encode([first + second, first, second], base.tokenizers(), encoders(base))

    joined = torch.cat([encoded[first].embeds, encoded[second].embeds])
    assert torch.allclose(encoded[first + second].embeds, joined, atol=1e-5)
    assert encoded[first + second].pooled is not None
    assert torch.allclose(encoded[first + second].pooled, encoded[first].pooled, atol=1e-5)  # pyright: ignore[reportArgumentType]


def test_what_else_is_asked_changes_no_prompt(sd15: Any) -> None:
    tokenizers, networks = sd15
    alone = words.encode(["a cat"], tokenizers, networks)["a cat"].embeds

    among = words.encode(["sun " * 200, "a cat", "", "a cat"], tokenizers, networks)

    assert torch.equal(among["a cat"].embeds, alone)
    assert list(among) == ["sun " * 200, "a cat", ""]
    assert alone.dtype == torch.float32


@pytest.mark.parametrize("family", FAMILIES)
def test_emphasis_weighs_tokens_and_keeps_each_encoders_mean(family: Family, shelf: Path) -> None:
    base = opened(shelf / f"{family}.safetensors", shelf)
    prompt, plain = "a (red:1.3) cat", "a red cat"

    encoded = words.encode([prompt, plain], base.tokenizers(), encoders(base))

    factors = torch.ones(77)
    factors[2] = 1.3  # behind the beginning and "a"
    start = 0
    for width in (32,) if family == "sd15" else (32, 64):
        before = encoded[plain].embeds[:, start : start + width]
        after = encoded[prompt].embeds[:, start : start + width]
        weighted = before * factors[:, None]
        assert torch.allclose(after, weighted * (before.mean() / weighted.mean()), atol=1e-5)
        assert not torch.equal(after, before)
        assert float(after.mean()) == pytest.approx(float(before.mean()), rel=1e-3)
        start += width
    if family == "sdxl":  # emphasis is in the tokens, not in the pooled output
        assert torch.equal(encoded[prompt].pooled, encoded[plain].pooled)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("prompt", ["(cat:0)", "(cat:-1)", "(cat:9999) (dog:-9999)", "((((", "(" * 3000 + "a", ":1.2)"])
def test_no_weight_makes_numbers_run_away(prompt: str, sd15: Any) -> None:
    tokenizers, networks = sd15

    embeds = words.encode([prompt], tokenizers, networks)[prompt].embeds

    assert bool(torch.isfinite(embeds).all())
    assert float(embeds.abs().max()) < 1000


# -- emphasis --


@pytest.mark.parametrize(
    ("prompt", "pieces"),
    [
        ("a cat", [("a cat", 1)]),
        ("", []),
        ("(a cat)", [("a cat", 1.1)]),
        ("((a cat))", [("a cat", 1.21)]),
        ("[a cat]", [("a cat", 1 / 1.1)]),
        ("a (red:1.5) cat", [("a ", 1), ("red", 1.5), (" cat", 1)]),
        ("(red: .5 )", [("red", 0.5)]),
        ("(red:+2.)", [("red", 2)]),
        ("((red:1.5) cat)", [("red", 1.65), (" cat", 1.1)]),
        ("(unnecessary)(parens)", [("unnecessaryparens", 1.1)]),
        ("(an [important] word)", [("an ", 1.1), ("important", 1), (" word", 1.1)]),
        (
            "a (((house:1.3)) [on] a (hill:0.5), sun, (((sky))).",
            [("a ", 1), ("house", 1.573), (" ", 1.1), ("on", 1), (" a ", 1.1), ("hill", 0.55), (", sun, ", 1.1),
             ("sky", 1.4641), (".", 1.1)],
        ),
        (r"\(literal\]", [("(literal]", 1)]),
        (r"a cat \(tabby\), (red \[1\]:1.2)", [("a cat (tabby), ", 1), ("red [1]", 1.2)]),
        (r"back\slash \o/", [(r"back\slash \o/", 1)]),
        ("(never closed", [("never closed", 1.1)]),
        ("never opened) a]", [("never opened) a]", 1)]),
        ("no bracket:1.2)", [("no bracket:1.2)", 1)]),
        ("at 10:30, (a:b:2)", [("at 10:30, ", 1), ("a:b", 2)]),
        ("(1.2.3:1.2.3)", [("1.2.3:1.2.3", 1.1)]),
        ("([crossed)]", [("crossed", 1)]),
        ("()[]((:1.2))", []),
        ("(so:1e9) (much:1000)", [("so:1e9", 1.1), (" ", 1), ("much", 10)]),
    ],
)  # fmt: skip
def test_emphasis_is_read_as_people_know_it(prompt: str, pieces: list[tuple[str, float]]) -> None:
    read = parse(prompt)

    assert [piece.text for piece in read] == [text for text, _ in pieces]
    assert [piece.weight for piece in read] == pytest.approx([weight for _, weight in pieces])


@given(st.text(alphabet="()[]:\\.1a ,\n") | st.text())
def test_no_prompt_is_an_error_and_no_word_is_lost(prompt: str) -> None:
    read = parse(prompt)

    assert all(-MOST <= piece.weight <= MOST and piece.text for piece in read)
    letters = [letter for letter in prompt if letter not in "()[]:.\\0123456789+- \n\t\r\f\v"]
    assert [letter for piece in read for letter in piece.text if letter in set(letters)] == letters


@given(st.text(alphabet=st.characters(exclude_characters="()[]\\")))
def test_a_prompt_without_brackets_is_one_piece(prompt: str) -> None:
    assert parse(prompt) == ([Piece(prompt, 1.0)] if prompt else [])
