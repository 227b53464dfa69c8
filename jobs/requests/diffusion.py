"""What every request to AnimateDiff's family has: words, an image model, a motion module, and how both are used."""

import math
from collections.abc import Collection, Iterable, Sequence
from fractions import Fraction
from functools import cached_property, lru_cache
from typing import Annotated, Any, Literal, Self, cast, get_args

from pydantic import Field, model_validator

from jobs.errors import Refusal
from jobs.requests.animatediff_modules import MODULES, Family, Module, Profile, Sampler, family_of
from jobs.requests.base import Advanced, MaybeImageRef, MaybeMotionRef, Seeded, Sources, Suggested
from jobs.requests.cameras import CAMERAS, Camera, cameras, suggest_cameras
from jobs.requests.image_models import (
    ADAPTER,
    ModelUnknown,
    ModuleMissing,
    image_models,
    kind_of,
    kinds_with,
    suggest_models,
)
from jobs.requests.loras import (
    FAMILIES,
    LoraElsewhere,
    LoraFamily,
    NamedLora,
    check_installed,
    loras,
    out_of_prompt,
    suggest_loras,
)
from jobs.requests.strengths import some
from jobs.schedules import PromptSchedule, preview, prompt_schedule, value_schedule
from jobs.schedules.passage import quoted

Context = Literal["auto", "static", "uniform", "looped", "batched", "in the module"]
LEAST_MOTION, MOST_MOTION = 0.0, 3.0
WINDOW = 16
"""Of all modules but one, while none is chosen."""
LCM_STEPS = 50
"""Of its teacher; the sampler takes some of these."""
LONGEST_PROMPT = 3000
"""Bytes in UTF-8: some ten chunks of 75 tokens, more of other scripts."""


class ModuleFamily(Refusal):
    """A motion module for SDXL with an image model of SD 1.5, or the other way round."""

    code = "module_family"


class CameraModule(Refusal):
    """A camera move with a motion module that it was not learned on."""

    code = "camera_module"


class StepCount(Refusal):
    """A distilled module with another number of steps than it was made for."""

    code = "step_count"


class StepCountFew(Refusal):
    """So few steps that only a distilled module could use them."""

    code = "step_count_few"


class DistilledGuidance(Refusal):
    """Strong guidance with a module that was made to do without."""

    code = "distilled_guidance"


class PromptLong(Refusal):
    """A prompt that would take more attention than the whole picture."""

    code = "prompt_long"


class LcmSteps(Refusal):
    """More steps than LCM's sampler knows."""

    code = "lcm_steps"


class ContextOverlap(Refusal):
    """Windows that overlap by all their length never come to an end."""

    code = "context_overlap"


class ContextTooLong(Refusal):
    """A window of more frames than the motion module can tell apart."""

    code = "context_too_long"


class Diffusion(Seeded):
    """The common part. A subclass says how many frames there are."""

    prompt: str = Field(default="", max_length=2000, description="what the clip shows; (word:1.2) stresses a word")
    negative: str = Field(default="", max_length=2000, description="what it must not show")
    schedule: str = Field(
        default="", max_length=4000, description="prompts over time: 0s: spring | 2s: summer; prompt stands before each"
    )
    model: Annotated[str | None, Suggested(suggest_models)] = Field(
        default=None, max_length=60, description="the image model, which makes the style; empty: the first installed"
    )
    module: Module | None = Field(default=None, description="motion module; empty: the best one that is installed")
    lora: Annotated[str, Suggested(suggest_loras)] = Field(
        default="", max_length=1000, description="LoRAs of the owner's list with strengths: ghibli 0.8, detail 0.5"
    )
    camera: Annotated[str, Suggested(suggest_cameras)] = Field(
        default="", max_length=200, description="camera moves with strengths: zoom in, or: pan left 0.8, tilt up 0.5"
    )
    motion: MaybeMotionRef = Field(default=None, description="a motion that you or others taught with /learnmotion")
    look: MaybeImageRef = Field(default=None, description="a picture whose look the clip takes on (IP-Adapter)")
    motion_scale: str = Field(
        default="1", max_length=400, description="how much moves, 0.8 to 1.4; or over time: 0:(1), 8:(1.4)"
    )
    num_inference_steps: Annotated[int | None, Advanced()] = Field(
        default=None, ge=1, le=100, description="denoising steps; empty: what the module was made for"
    )
    guidance_scale: Annotated[float | None, Advanced()] = Field(
        default=None, ge=1, le=20, description="how closely the words are followed; empty: the module's own"
    )
    sampler: Annotated[Sampler | None, Advanced()] = Field(
        default=None, description="denoising method; empty: the module's own"
    )
    look_scale: Annotated[float, Advanced()] = Field(
        default=0.6, ge=0, le=1.5, description="how much of the look is taken on"
    )
    look_by: Annotated[Literal["plus", "plain"], Advanced()] = Field(
        default="plus", description="adapter for the look: plus sees detail, plain the gist"
    )
    motion_strength: Annotated[float, Advanced()] = Field(default=1.0, ge=0, le=2, description="of the learned motion")
    adapter: Annotated[float | None, Advanced()] = Field(
        default=None, ge=0, le=1.5, description="v3's domain adapter; empty: 1 with pinned pictures, else 0"
    )
    context: Annotated[Context, Advanced()] = Field(
        default="auto", description="how clips longer than a window are made"
    )
    context_length: Annotated[int | None, Advanced()] = Field(
        default=None, ge=4, le=32, description="frames of a window; empty: what the module is best at"
    )
    context_overlap: Annotated[int, Advanced()] = Field(default=4, ge=0, le=16, description="frames windows share")
    context_stride: Annotated[int, Advanced()] = Field(default=1, ge=1, le=4, description="levels of uniform windows")
    freenoise: Annotated[bool, Advanced()] = Field(
        default=True, description="windows start from the same noise, so that a long clip holds together"
    )
    clip_skip: Annotated[int, Advanced()] = Field(
        default=0, ge=0, le=4, description="last layers of the text encoder to leave out; drawn styles often want 1"
    )

    @model_validator(mode="before")
    @classmethod
    def _loras_apart(cls, fields: Any) -> Any:
        """`<lora:name:0.8>` amid a prompt is no word.

        Raises:
            LoraMisplaced, LoraUnread: it stands where it cannot be followed, or is not finished.
        """
        return out_of_prompt(cast(Any, fields)) if isinstance(fields, dict) else fields

    @model_validator(mode="after")
    def _reads(self) -> Self:
        """Everything that is written as text can be understood.

        Raises:
            Refusal: naming the place.
        """
        _ = self.cameras, self.loras
        self.check_texts(self.frames, self.rate)
        if self.module is not None:
            _check(self, self.module)
        window = self.window if self.module else self.context_length or WINDOW
        if self.context_overlap >= window:
            raise ContextOverlap(overlap=self.context_overlap, length=window)
        return self

    @property
    def frames(self) -> int:
        """Of the clip as it is denoised. A subclass says; where it cannot know yet, what is usual."""
        raise NotImplementedError

    @property
    def rate(self) -> float:
        """Frames a second."""
        raise NotImplementedError

    @cached_property
    def cameras(self) -> tuple[Camera, ...]:
        """What was said of the camera."""
        return cameras(self.camera)

    @cached_property
    def loras(self) -> tuple[NamedLora, ...]:
        """What was said of LoRAs, but for those at strength 0."""
        return tuple(lora for lora in loras(self.lora) if lora.strength)

    def prompts(self, num_frames: int, fps: float) -> PromptSchedule | None:
        """The prompts' schedule for so many frames; None where one prompt holds for all of them."""
        if not self.schedule.strip():
            return None
        before = f"{self.prompt} --neg {self.negative}" if self.negative else self.prompt
        return _prompts(self.schedule, num_frames, fps, before)

    def motion_scales(self, num_frames: int, fps: float) -> tuple[float, ...]:
        """One for each frame."""
        return _values(self.motion_scale, num_frames, fps)

    def check_texts(self, num_frames: int, fps: float) -> None:
        """Whether everything that is written as text can be understood for a clip of so many frames.

        Raises:
            Refusal: naming the place.
        """
        self.motion_scales(num_frames, fps)
        schedule = self.prompts(num_frames, fps)
        texts = (
            {self.prompt, self.negative}
            if schedule is None
            else {text for frame in schedule.frames for prompt in (frame.now, frame.then) for text in prompt}
        )
        longest = max(len(text.encode()) for text in texts)
        if longest > LONGEST_PROMPT:
            raise PromptLong(bytes=longest, most=LONGEST_PROMPT)

    @property
    def profile(self) -> Profile:
        """Of the module; while none was chosen, of the one that usually is."""
        return MODULES[self.module or self.candidates[0]]

    @property
    def candidates(self) -> tuple[Module, ...]:
        """Modules that can do what is asked for, the preferred one first. A subclass narrows them down."""
        fitting: tuple[Module, ...] = get_args(Module)
        return tuple(module for module in fitting if module != "pia" and (MODULES[module].camera or not self.cameras))

    @property
    def steps(self) -> int:
        """Denoising steps."""
        return self.num_inference_steps or self.profile.steps

    @property
    def guidance(self) -> float:
        """1: the negative prompt is not even computed."""
        return self.profile.guidance_scale if self.guidance_scale is None else self.guidance_scale

    @property
    def window(self) -> int:
        """Frames of a window."""
        return self.context_length or self.profile.num_frames

    @property
    def loops(self) -> bool:
        """Whether windows run on from the end to the beginning."""
        return self.context == "looped"

    def passes(self, num_frames: int) -> int:
        """Passes of the network over all frames: overlapping windows see some twice, and guidance doubles each."""
        seen = float(self.steps if self.guidance > 1 else self.steps / 2)
        if num_frames > self.window and (self.loops or self.context not in ("batched", "in the module")):
            levels = self.context_stride if self.loops or self.context == "uniform" else 1
            useful = math.ceil(math.log2(num_frames / self.window)) + 1
            reach = [self.window << level for level in range(min(levels, useful))]
            seen *= sum(self.window / (each - min(self.context_overlap, each - 1)) for each in reach)
        return max(1, math.ceil(seen))

    @property
    def look_adapter(self) -> str:
        """The checkpoint that a look needs; for SDXL there is one."""
        if self.profile.family == "sdxl":
            return "ip-adapter-sdxl"
        return "ip-adapter-plus-sd15" if self.look_by == "plus" else "ip-adapter-sd15"

    @property
    def kind(self) -> str:
        """By image model and motion module, which must be on one machine."""
        return kind_of(self.name(), self.model, self.module)

    @classmethod
    def kinds(cls, checkpoints: Iterable[str]) -> frozenset[str]:
        """Every image model with every motion module that goes with it."""
        return kinds_with(cls.name(), checkpoints)

    @property
    def wanted(self) -> frozenset[str]:
        """The module, and LoRAs: the chosen ones, and one for each camera move."""
        moves = {CAMERAS[camera.move] for camera in self.cameras if camera.strength}
        if self.adapter and self.module == "v3":
            moves.add(ADAPTER)
        moves |= {lora.checkpoint for lora in self.loras}
        return frozenset(moves) | ({self.profile.weights} if self.module else set[str]())

    def settled(self, installed: Collection[str]) -> Self:
        """With an image model and a motion module.

        Raises:
            Refusal: nothing that is installed can do it.
        """
        models = image_models(installed)
        check_installed(self.loras, installed)
        if self.model is not None and self.model not in models:
            raise ModelUnknown(model=quoted(self.model), installed=some(models))
        families = set[Family](map(family_of, [self.model] if self.model else models))
        if self.loras and not self.model:
            families = families & {self.loras[0].family} or families
        self._check_modules()
        module = self.module or self._best_module(installed, families)
        wanted = MODULES[module].family
        fitting = [model for model in ([self.model] if self.model else models) if family_of(model) == wanted]
        if not fitting:
            raise ModuleFamily(module=module, family=FAMILIES[wanted], model=self.model or some(models))
        if other := next((lora for lora in self.loras if lora.family != wanted), None):
            raise LoraFamily(name=other.name, family=FAMILIES[other.family], model=fitting[0])
        return self.model_copy(update={"model": fitting[0], "module": module}).checked()

    def _check_modules(self) -> None:
        """Whether there is a motion module for the LoRAs' family that can do the rest.

        Raises:
            LoraElsewhere: the first LoRA for which there is none.
        """
        could = {MODULES[module].family for module in ((self.module,) if self.module else self.candidates)}
        if lora := next((lora for lora in self.loras if lora.family not in could), None):
            what = self.module or "pictures at their frames, drawings and camera moves are for SD 1.5"
            raise LoraElsewhere(name=lora.name, family=FAMILIES[lora.family], what=what)

    def _best_module(self, installed: Collection[str], families: Collection[Family]) -> Module:
        for module in self.candidates:
            if MODULES[module].weights in installed and MODULES[module].family in families:
                return module
        able: list[Module] = [
            module for module in self.candidates if not families or MODULES[module].family in families
        ]
        if not able and self.cameras:
            raise CameraModule(module=FAMILIES[next(iter(families))], fitting=_listed(CAMERA_MODULES))
        able = able or list(self.candidates)
        raise ModuleMissing(fitting=_listed(able), weights=MODULES[able[0]].weights)

    def checked(self) -> Self:
        """The same, looked over once more: a copy was changed without it."""
        return type(self).model_validate(self.model_dump())

    def times(self, sources: Sources) -> tuple[int, Fraction]:
        """How many frames, and how many of them a second. A subclass that redraws a clip asks the clip."""
        return self.frames, Fraction(self.rate)

    def ahead(self, sources: Sources) -> str | None:
        """The schedule, line by line."""
        count, fps = self.times(sources)
        prompts = self.prompts(count, float(fps))
        return preview(prompts, count, float(fps)) if prompts else None


@lru_cache(256)
def _prompts(schedule: str, num_frames: int, fps: float, before: str) -> PromptSchedule:
    """A record is read each time something is said of its job; a schedule is worked out once."""
    return prompt_schedule(schedule, num_frames, fps=fps, before=before, option="schedule", around=("prompt", "after"))


@lru_cache(256)
def _values(text: str, num_frames: int, fps: float) -> tuple[float, ...]:
    return value_schedule(text, num_frames, fps=fps, low=LEAST_MOTION, high=MOST_MOTION, option="motion_scale")


CAMERA_MODULES: tuple[Module, ...] = tuple(module for module, profile in MODULES.items() if profile.camera)


def _check(request: Diffusion, module: Module) -> None:
    """Whether all that was chosen goes with the module.

    Raises:
        Refusal: what does not.
    """
    profile = MODULES[module]
    if request.cameras and not profile.camera:
        raise CameraModule(module=module, fitting=_listed(CAMERA_MODULES))
    steps = request.num_inference_steps
    if steps and profile.step_counts and steps not in profile.step_counts:
        raise StepCount(module=module, steps=steps, fitting=" or ".join(map(str, profile.step_counts)))
    if steps and not profile.distilled and steps < 5:
        raise StepCountFew(module=module, steps=steps)
    if (request.sampler or profile.sampler) == "lcm" and request.steps > LCM_STEPS:
        raise LcmSteps(steps=request.steps, most=LCM_STEPS)
    if profile.distilled and request.guidance > 3:
        raise DistilledGuidance(module=module, guidance=request.guidance, usual=profile.guidance_scale)
    if request.window > profile.positions:
        raise ContextTooLong(module=module, length=request.window, most=profile.positions)


def _listed(modules: Sequence[Module]) -> str:
    return ", ".join(modules)
