"""How people name LoRAs: in the option, amid the prompt, and wrongly."""

import contextlib
from typing import Any

import pytest

from jobs.errors import Refusal
from jobs.requests.animatediff import AnimateDiffRequest
from jobs.requests.loras import out_of_prompt, suggest_loras
from jobs.requests.restyle import RestyleRequest
from jobs.texts import word

INSTALLED = (
    "toonyou", "sdxl-base", "animatediff-v3", "animatediff-sdxl", "animatediff-v15-v2", "motion-lora-zoom-in",
    "lora-ghibli", "lora-detail-v1.5", "lora-add_detail", "lora-sdxl-paper",
)  # fmt: skip


def asked(**fields: Any) -> AnimateDiffRequest:
    return AnimateDiffRequest(**{"prompt": "a cat", **fields})


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", []),
        ("ghibli", [("ghibli", 1.0)]),
        ("Ghibli 0.8", [("ghibli", 0.8)]),
        ("ghibli:0.8", [("ghibli", 0.8)]),
        (" ghibli : .5 , detail-v1.5 -1 ", [("ghibli", 0.5), ("detail-v1.5", -1.0)]),
        ("add_detail + ghibli 0.3", [("add_detail", 1.0), ("ghibli", 0.3)]),
        ("ghibli +0.8; add_detail", [("ghibli", 0.8), ("add_detail", 1.0)]),
        ("ghibli.safetensors 0.8", [("ghibli", 0.8)]),
        ("detail-v1.5", [("detail-v1.5", 1.0)]),
        ("ghibli 0, add_detail", [("add_detail", 1.0)]),
    ],
    ids=str,
)
def test_names_and_strengths_are_read(text: str, found: list[tuple[str, float]]) -> None:
    assert list(asked(lora=text).loras) == found


@pytest.mark.parametrize(
    ("prompt", "lora", "words", "listed"),
    [
        ("a cat <lora:ghibli:0.8>", "", "a cat", "ghibli 0.8"),
        ("<lora:Ghibli>, a cat, <LoRA:add_detail:1>, night", "", "a cat, night", "ghibli 1, add_detail 1"),
        ("a cat <lora:ghibli:+0.8>, sky", "", "a cat, sky", "ghibli 0.8"),
        ("a dog <lora:ghibli:0.3>", "ghibli 0.8, add_detail", "a dog", "add_detail, ghibli 0.3"),
        ("a cat", "<lora:ghibli:0.8>", "a cat", "ghibli 0.8"),
        ("a cat", "<lora:ghibli:0.8> <lora:add_detail:-1>", "a cat", "ghibli 0.8, add_detail -1"),
        ("a cat, <lora:ghibli:0.8:0.5>, night", "", "a cat, night", "ghibli 0.8"),
        ("a cat <lyco:ghibli:1>", "add_detail 0.5", "a cat", "add_detail 0.5, ghibli 1"),
        ("a <b> cat: <lora>", "", "a <b> cat: <lora>", ""),
    ],
    ids=str,
)
def test_tags_amid_a_prompt_are_taken_out_of_it(prompt: str, lora: str, words: str, listed: str) -> None:
    request = asked(prompt=prompt, lora=lora)

    assert (request.prompt, request.lora) == (words, listed)
    assert AnimateDiffRequest.model_validate(request.model_dump()) == request


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"lora": "two words here"}, "lora_unread"),
        ({"lora": "ghibli 0.8 0.9"}, "lora_unread"),
        ({"lora": "ghibli nan"}, "lora_unread"),
        ({"lora": "ghibli 1e9"}, "lora_unread"),
        ({"lora": "../../etc/passwd"}, "lora_unread"),
        ({"lora": "ghibli -2.5"}, "lora_strength"),
        ({"lora": "ghibli 0.5, ghibli"}, "lora_twice"),
        ({"prompt": "a cat <lora:ghibli:1> <lora:ghibli:0.2>"}, "lora_twice"),
        ({"schedule": "0: a cat <lora:ghibli:1> | 8: a dog"}, "lora_misplaced"),
        ({"negative": "bad <lora:ghibli:1>"}, "lora_misplaced"),
        ({"prompt": "a cat <lora:ghibli:0.8"}, "lora_unread"),
        ({"prompt": "a cat <lora:ghibli:0.8, a <b>"}, "lora_unread"),
        ({"prompt": "a cat <lora::0.8>"}, "lora_unread"),
        ({"prompt": "a cat <lora:ghibli 2>"}, "lora_unread"),
        ({"prompt": "a cat <lora:ghibli,conv:1>"}, "lora_unread"),
        ({"lora": "sdxl-paper", "image": "image"}, "lora_elsewhere"),
        ({"lora": "sdxl-paper", "camera": "zoom in"}, "lora_elsewhere"),
        ({"lora": "ghibly"}, "lora_unknown"),
        ({"prompt": "a cat <lora:somebody else's:1>"}, "lora_unread"),
        ({"lora": "sdxl-paper", "model": "toonyou"}, "lora_family"),
        ({"lora": "sdxl-paper", "module": "v3"}, "lora_elsewhere"),
        ({"lora": "ghibli", "module": "sdxl"}, "lora_elsewhere"),
        ({"lora": "sdxl-paper, ghibli"}, "lora_family"),
    ],
    ids=str,
)
def test_what_cannot_be_done_is_said(fields: dict[str, Any], code: str) -> None:
    def settled() -> object:
        return asked(**fields).settled(INSTALLED)

    with pytest.raises(Refusal) as refused:
        settled()
    assert refused.value.code == code
    assert word(refused.value)


def test_an_unknown_one_is_answered_with_those_that_there_are() -> None:
    with pytest.raises(Refusal) as refused:
        asked(lora="ghibly").settled(INSTALLED)
    assert "Installed: ghibli, add_detail, detail-v1.5, sdxl-paper." in word(refused.value)
    with pytest.raises(Refusal) as refused:
        asked(lora="ghibli").settled(INSTALLED[:4])
    assert "Installed: none." in word(refused.value)


def test_of_many_some_are_named_the_closest_first() -> None:
    many = [f"lora-{'x' * 50}{number}" for number in range(200)]
    with pytest.raises(Refusal) as refused:
        asked(lora="ghibly").settled((*INSTALLED, *many))
    assert "Installed: ghibli, " in word(refused.value)
    assert " and 192 more." in word(refused.value)
    assert len(word(refused.value)) < 1000


@pytest.mark.parametrize("text", ["<lora:", "<lora:a", "<", "< ", "lora:", ", ", "<lora:a:", "<lora:a>"])
def test_no_prompt_takes_long_to_look_through(text: str) -> None:
    """In a thread that is not the bot's own this would be slow too: what people send must be read in one pass."""
    for filling in (text * 2000, text + " " * 8000 + "x", "<lora:" + " " * 4000 + text):
        with contextlib.suppress(Refusal):
            out_of_prompt({"prompt": filling, "lora": filling, "schedule": ""})


def test_the_image_model_is_one_that_it_goes_with() -> None:
    assert asked(lora="ghibli").settled(INSTALLED).model == "toonyou"
    assert asked(lora="sdxl-paper").settled(INSTALLED).model == "sdxl-base"
    settled = asked(lora="ghibli 0.5, detail-v1.5", camera="zoom in").settled(INSTALLED)
    assert {"lora-ghibli", "lora-detail-v1.5"} < settled.wanted
    restyle = RestyleRequest(clip="clip", prompt="clay", lora="ghibli", hold="none").settled(INSTALLED)
    assert "lora-ghibli" in restyle.wanted


def test_names_are_offered_while_somebody_types() -> None:
    assert list(suggest_loras("de", INSTALLED)) == ["detail-v1.5", "add_detail"]
    assert list(suggest_loras("ghibli 0.5, pa", INSTALLED)) == ["ghibli 0.5, sdxl-paper"]
    assert list(suggest_loras("detail-v1.5, de", (*INSTALLED, "lora-detail"))) == [
        "detail-v1.5, add_detail",
        "detail-v1.5, detail",
    ]
    assert list(suggest_loras("zebra", INSTALLED)) == []
