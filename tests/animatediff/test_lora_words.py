"""How people name LoRAs: in the option, amid the prompt, and wrongly."""

from typing import Any

import pytest

from jobs.errors import Refusal
from jobs.requests.animatediff import AnimateDiffRequest
from jobs.requests.loras import suggest_loras
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
        ("<lora:Ghibli>, a cat, <LoRA:add_detail:1>, night", "", "a cat, night", "Ghibli, add_detail 1"),
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
        ({"schedule": "0: a cat <lora:ghibli:1> | 8: a dog"}, "lora_in_schedule"),
        ({"lora": "ghibly"}, "lora_unknown"),
        ({"prompt": "a cat <lora:somebody else's:1>"}, "lora_unread"),
        ({"lora": "sdxl-paper", "model": "toonyou"}, "lora_family"),
        ({"lora": "sdxl-paper", "module": "v3"}, "lora_family"),
        ({"lora": "ghibli", "module": "sdxl"}, "lora_family"),
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
    assert "Installed: add_detail, detail-v1.5, ghibli, sdxl-paper." in word(refused.value)
    with pytest.raises(Refusal) as refused:
        asked(lora="ghibli").settled(INSTALLED[:4])
    assert "Installed: none." in word(refused.value)


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
