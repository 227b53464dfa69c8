"""The samplers people know, set as a motion module was trained: diffusers' schedulers with the module's own noise."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from diffusers.schedulers.scheduling_euler_ancestral_discrete import EulerAncestralDiscreteScheduler
from diffusers.schedulers.scheduling_euler_discrete import EulerDiscreteScheduler
from diffusers.schedulers.scheduling_lcm import LCMScheduler

from jobs.requests.animatediff_modules import Profile, Sampler

SCHEDULERS: Mapping[Sampler, Callable[..., Any]] = {
    # The original's: what it clips and where it ends are not the class's own defaults.
    "ddim": lambda **noise: DDIMScheduler(clip_sample=False, set_alpha_to_one=True, **noise),
    "euler": EulerDiscreteScheduler,
    "euler a": EulerAncestralDiscreteScheduler,
    # The last step of second order makes noise of few steps; both as k-diffusion's users know it.
    "dpm++ 2m": lambda **noise: DPMSolverMultistepScheduler(
        algorithm_type="dpmsolver++", use_karras_sigmas=True, lower_order_final=True, **noise
    ),
    # Its alpha of the first step is SD's, not 1: as AnimateLCM's demo has it.
    "lcm": lambda **noise: LCMScheduler(clip_sample=False, set_alpha_to_one=False, **noise),
}


def scheduler_for(profile: Profile, sampler: Sampler | None = None, prediction_type: str = "epsilon") -> Any:
    """A fresh one: a scheduler counts its own steps.

    Args:
        profile: the motion module's; its betas are what it learned to move under, whatever the sampler.
        sampler: None: the module's own.
        prediction_type: of the image model, `epsilon` or `v_prediction`.
    """
    noise: dict[str, Any] = {
        "num_train_timesteps": 1000,
        "beta_start": 0.00085,
        "beta_end": profile.beta_end,
        "beta_schedule": profile.betas,
        "steps_offset": 1,
        "timestep_spacing": profile.spacing,
        "prediction_type": prediction_type,
    }
    return SCHEDULERS[sampler or profile.sampler](**noise)
