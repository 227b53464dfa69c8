"""Schedules that a person writes as text: prompts and numbers that change in the course of a clip.

Read and checked here alone, by the Discord side before a job is accepted and by the worker when it renders. Neither
torch nor `eval`: `expressions` knows arithmetic and nothing else.
"""

from jobs.schedules.preview import preview
from jobs.schedules.prompts import Frame, Key, Prompt, PromptSchedule, prompt_schedule
from jobs.schedules.values import value_schedule

__all__ = ["Frame", "Key", "Prompt", "PromptSchedule", "preview", "prompt_schedule", "value_schedule"]
