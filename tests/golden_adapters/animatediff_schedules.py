"""Our prompt and value schedules against texts that ComfyUI_FizzNodes read; no tensors, so all is compared here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pytest

from jobs.errors import Refusal
from jobs.schedules.prompts import PromptSchedule, between, prompt_schedule
from jobs.schedules.values import value_schedule
from tests.golden_adapters.case import Case, Check

PLAIN_ANYWAY = {
    "expression with a function that contains the letter t (sqrt) breaks",
    "spaces in key",
    "malformed: single quotes",
    "malformed: unquoted keys",
}
"""Prompt schedules that FizzNodes cannot read, and we can."""
HELD_ANYWAY = {"3:(2),7:(4)"}
"""Value schedules alike."""
RECORDED_DIGITS = 9


def prompt_schedules(case: Case) -> Iterable[Check]:
    """Every frame's two prompts and weight, to the last bit; what FizzNodes fails at is refused, or read after all."""
    for recorded in case.facts["cases"]:
        if "error" not in recorded["evaluated"]:
            _same_prompts(recorded)
        elif recorded["name"] in PLAIN_ANYWAY:
            read(recorded)
        else:
            with pytest.raises(Refusal):
                read(recorded)
    return ()


def value_schedules(case: Case) -> Iterable[Check]:
    """Every frame's number, in as many digits as were recorded."""
    for recorded in case.facts["cases"]:
        text, num_frames = recorded["text"], recorded["max_frames"]
        if "error" not in recorded:
            ours = value_schedule(text, num_frames)
            assert [round(value, RECORDED_DIGITS) for value in ours] == recorded["values"], text
            assert [int(value) for value in ours] == recorded["ints"], text
        elif text in HELD_ANYWAY:
            assert len(value_schedule(text, num_frames)) == num_frames
        else:
            with pytest.raises(Refusal):
                value_schedule(text, num_frames)
    return ()


def read(recorded: Mapping[str, Any]) -> PromptSchedule:
    """Our reading of a recorded text."""
    return prompt_schedule(
        recorded["text"],
        recorded["max_frames"],
        before=recorded["pre_text"],
        after=recorded["app_text"],
        weights=recorded["pw"],
    )


def _same_prompts(recorded: Mapping[str, Any]) -> None:
    """With expressions worked out, and as the batch node leaves them by default: as they were written."""
    schedule, name = read(recorded), recorded["name"]
    rows: Mapping[str, Sequence[list[Any]]] = recorded["evaluated"]
    unread: Mapping[str, Sequence[list[Any]]] = recorded["node_default_end_frame_0"]
    places = between([key.frame for key in schedule.keys], recorded["max_frames"])
    for half in ("positive", "negative"):
        ours = [[getattr(f.now, half), getattr(f.then, half), f.weight] for f in schedule.frames]
        assert ours == rows[half], name
        written = [getattr(key.prompt, half) for key in schedule.keys]
        assert [[written[p.now], written[p.then]] for p in places] == [row[:2] for row in unread[half]], name
