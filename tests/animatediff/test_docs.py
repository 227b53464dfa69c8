"""docs/animatediff.md is true: its command lines can be sent, its names exist, its figures are the code's."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from bot.options import attached, offered, parse, plain_type
from bot.storyboard import MODELS as STORYBOARD
from bot.storyboard import starting
from commands.motions import MotionCog
from inference.depth_weights import DEPTH
from inference.residency import GIGABYTE, RESERVE_BYTES
from inference.settings import AnimateDiffOptions
from inference.systems.animatediff.engine import DECODE_BYTES, UNET_BYTES_PER_FRAME
from inference.systems.animatediff.installed import style_weights
from inference.systems.animatediff.learner import LEARNING_AREA, LEARNING_BYTES
from inference.systems.animatediff.weights import WEIGHTS
from jobs.errors import Refusal
from jobs.owned import MOST, MOST_SHARED
from jobs.recipe import Output
from jobs.requests import BY_SYSTEM, Generation, Request
from jobs.requests.animatediff import MOST_PICTURES
from jobs.requests.animatediff_modules import MODULES
from jobs.requests.finish import Smoothing
from jobs.schedules import preview

PAGE = (Path(__file__).parents[2] / "docs" / "animatediff.md").read_text("utf-8")
LINES = [line for block in re.findall(r"```text\n(.+?)```", PAGE, re.DOTALL) for line in block.splitlines()]
SIZES = {weights.name: weights.megabytes for weights in (*WEIGHTS, DEPTH)}
OPTION = re.compile(r"(?:^| )([a-z_]+):(?=[^ ])")
"""Words of a value may have a colon too, but a space after it, or something before that is no letter."""


# In float16, GB: twice the billions of numbers.
V3, V2, XL = 2 * (0.860 + 0.417), 2 * (0.860 + 0.453), 2 * (2.567 + 0.237)
SPARSE, CONTROL, LOOK, EYE, DEPTH_MAP = 2 * 0.496, 2 * 0.361, 0.1, 2 * 0.632, 0.05
WORDS, WORDS_XL, VAE_XL = 0.42, 2 * (0.123 + 0.695), 4 * 0.084
"""Text encoder and VAE of SD 1.5; SDXL's text encoders; its VAE in float32."""
DRIVER, CONTEXT = 0.4, 0.5
"""GB that are gone before the worker starts, and that CUDA takes of the reserve."""


def section(title: str) -> str:
    """The page from one heading to the next of its rank."""
    return PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]


def rows(title: str) -> Iterator[list[str]]:
    """Cells of the section's tables, without their heads."""
    for line in re.findall(r"^\|(?! ---|.*\n\| ---).*", section(title), re.MULTILINE):
        yield [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def styles() -> dict[str, str]:
    """The owner's image models of the page's example."""
    return dict(own().styles)


def own() -> AnimateDiffOptions:
    """What the page's examples say of the owner's own files."""
    examples = re.findall(r"```toml\n(.+?)```", PAGE, re.DOTALL)
    tables = [tomllib.loads(example)["systems"]["animatediff"] for example in examples]
    return AnimateDiffOptions.model_validate({key: value for table in tables for key, value in table.items()})


def everything() -> list[str]:
    """All that could be installed."""
    return [*styles(), *SIZES, *(f"lora-{name}" for name in own().loras)]


def typed(line: str, *models: type[BaseModel]) -> dict[str, Any]:
    """Options of a command line as Discord would send them: files as their names, choices only as they are offered."""
    fields = offered(*models)
    parts = OPTION.split(line.partition(" ")[2])
    assert not parts[0].strip(), line
    values: dict[str, Any] = {}
    for name, text in zip(parts[1::2], parts[2::2], strict=True):
        assert name in fields, f"{line}: there is no option {name}"
        values[name] = name if attached(fields[name]) else text.strip()
        if plain_type(fields[name]) is bool:
            values[name] = text.strip() == "true"
    missing = [name for name, field in fields.items() if attached(field) and field.default and name not in values]
    assert not missing, f"{line}: {missing} must be attached"
    return values


def asked(line: str) -> Request:
    """What a command line asks for, settled where everything is installed."""
    command = line.partition(" ")[0].removeprefix("/")
    kind = BY_SYSTEM[command]
    values = typed(line, *((Smoothing, kind, Output) if issubclass(kind, Generation) else (kind, Output)))
    parse(Smoothing, {name: value for name, value in values.items() if name not in kind.model_fields})
    parse(Output, values)
    return parse(kind, values).settled(everything())


@pytest.mark.parametrize("line", [line for line in LINES if not line.startswith(("/storyboard", "/motion "))])
def test_every_command_line_can_be_sent(line: str) -> None:
    request = asked(line)

    assert request.wanted <= set(everything())


def test_the_storyboard_can_be_begun() -> None:
    [line] = [line for line in LINES if line.startswith("/storyboard")]

    first, *_ = starting("1", 2, 3, typed(line, *STORYBOARD)).steps(yet_to_come=3)

    assert first.settled(everything()).wanted == {"animatediff-v3", "animatediff-v3-adapter", "sparsectrl-rgb"}


def test_the_verbs_of_motions_are_there() -> None:
    lines = [line.split(" ", 2) for line in LINES if line.startswith("/motion ")]

    assert lines
    for _, verb, *rest in lines:
        command = MotionCog.motion.get_command(verb)
        assert command is not None, verb
        assert set(OPTION.findall(" ".join(rest))) == {each.name for each in command.parameters}  # type: ignore[union-attr]


def test_what_is_said_not_to_go_together_is_refused_for_that_reason() -> None:
    codes: list[str] = []
    for row in rows("What does not go together"):
        with pytest.raises(Refusal) as refusal:
            asked(row[0].strip("`"))
        codes.append(refusal.value.code)

    assert codes == [
        *("camera_module", "pin_camera", "pin_module", "pia_pictures", "module_family", "step_count", "step_count_few"),
        *("distilled_guidance", "context_too_long", "context_overlap", "lora_family", "lora_unknown"),
        *("lora_misplaced", "animatediff_size", "restyle_family", "restyle_nothing"),
    ]


def test_schedules_are_as_long_as_their_clips() -> None:
    lines = [line for line in LINES if " schedule:" in line]

    assert len(lines) == 3
    for line in lines:
        request: Any = asked(line)
        schedule = request.prompts(request.frames, request.rate)
        assert all(0 <= key.frame < request.frames for key in schedule.keys), line
        assert preview(schedule, request.frames, request.rate)


def test_every_checkpoint_exists_and_is_as_large_as_said() -> None:
    table = list(rows("What to fetch for what"))

    assert {"animatediff-v3", "pia", "clip-vit-h", "controlnet-tile"} <= set(re.findall(r"`([^`]+)`", str(table)))
    for what, names, gigabytes in table:
        sizes = [SIZES[name] for name in re.findall(r"`([^`]+)`", names)]
        assert gigabytes == f"{sum(sizes) / 1000:.1f}", what


def test_every_pull_names_what_there_is() -> None:
    pulled = re.findall(r"models pull ([a-z0-9 .-]+)", PAGE)
    hub = {weights.name for weights in style_weights({"styles": styles()})}

    assert pulled
    assert hub, "one style of the example is the hub's"
    for names in pulled:
        assert set(names.split()) <= hub | set(SIZES)


def test_the_modules_are_described_as_they_are() -> None:
    written = [tuple(row) for row in rows("The modules and what each was made for")]

    assert written == [
        (
            name,
            " or ".join(map(str, profile.step_counts)) or str(profile.steps),
            f"{profile.guidance_scale:g}",
            profile.sampler,
            str(profile.num_frames),
            str(profile.positions),
            str(profile.side),
            "yes" if profile.camera else "",
        )
        for name, profile in MODULES.items()
    ]


def test_figures_are_the_codes() -> None:
    sizes = {cell[at]: cell[at + 1] for cell in rows("What is switched on at which card size") for at in (0, 3)}
    for words, gigabytes in (
        ("SD 1.5's UNet with v3", V3),
        ("SD 1.5's UNet with v15-v2, Lightning, AnimateLCM", V2),
        ("text encoder, VAE", WORDS),
        ("a SparseCtrl", SPARSE),
        ("a ControlNet", CONTROL),
        ("CLIP ViT-H, for looks, only while it looks", EYE),
        ("SDXL's UNet with its motion", XL),
        ("SDXL's text encoders", WORDS_XL),
        ("SDXL's VAE, in float32", VAE_XL),
        ("decoding a frame of 512 × 512", DECODE_BYTES / 2 / GIGABYTE),
        ("the same in float32, as SDXL's", DECODE_BYTES / GIGABYTE),
        ("decoding 1024 × 1024 in float32", 4 * DECODE_BYTES / GIGABYTE),
    ):
        assert sizes[words] == f"{gigabytes:.1f}", words
    assert f"{UNET_BYTES_PER_FRAME / 1e6:g} MB of working memory" in PAGE
    assert f"{MOST} motions a person; {MOST_SHARED} of them" in PAGE
    assert MOST_PICTURES == 8
    assert "up to eight pictures" in PAGE


def unet(frames: int, side: int = 512) -> float:
    """GB that a guided pass computes with."""
    return UNET_BYTES_PER_FRAME * frames * (side / 512) ** 2 / GIGABYTE


def planned(
    card: int, core: float, others: float, working: float, decoding: float = DECODE_BYTES / 2 / GIGABYTE
) -> str:
    """What becomes of networks on a card of so many GB: those that compute at once, and those that take their turn."""
    budget = card * 2**30 / GIGABYTE - DRIVER - RESERVE_BYTES / GIGABYTE
    most = budget + RESERVE_BYTES / GIGABYTE - CONTEXT
    if core + others + working <= budget:
        return "stays"
    if core + working <= most:
        return "turns"
    if working / 2 > most:
        return "no"
    return "layers" if decoding <= most else "tiles"


def test_the_plan_for_each_card_is_what_the_sums_say() -> None:
    table = [row for row in rows("What is switched on at which card size") if row[2]]
    learning = [LEARNING_BYTES * side**2 / LEARNING_AREA / GIGABYTE for side in (320, 384)]
    wide = DECODE_BYTES / GIGABYTE
    plan = {
        "words, 512 × 512": (V3, WORDS, unet(16)),
        "Lightning, 512 × 512 (no guidance)": (V2, WORDS, unet(16) / 2),
        "long clips and loops, 512 × 512, any length": (V3, WORDS, unet(16)),
        "a look, 512 × 512": (V3 + LOOK, WORDS + EYE, unet(16)),
        "pinned pictures, 512 × 512": (V3 + SPARSE, WORDS, unet(16)),
        "restyle with one hold, 512 × 512": (V3 + CONTROL, WORDS + DEPTH_MAP, unet(16)),
        "restyle with two holds and a look, 512 × 512": (V3 + 2 * CONTROL + LOOK, WORDS + EYE + DEPTH_MAP, unet(16)),
        "words, 768 × 768": (V3, WORDS, unet(16, 768), 2.25 * wide / 2),
        "learning a motion, `size` 320": (V3, WORDS, learning[0]),
        "learning a motion, `size` 384": (V3, WORDS, learning[1]),
        "Hotshot-XL, 8 frames of 512 × 512": (XL, WORDS_XL + VAE_XL, unet(8), wide + VAE_XL),
        "SDXL, 1024 × 1024": (XL, WORDS_XL + VAE_XL, unet(16, 1024), 4 * wide + VAE_XL),
    }

    assert [row[0] for row in table] == list(plan)
    for what, *cells in table:
        sums = [planned(card, *plan[what]) for card in (6, 8, 12, 24)]
        assert [cell.replace("8 frames at a time", "layers") for cell in cells] == sums, what
