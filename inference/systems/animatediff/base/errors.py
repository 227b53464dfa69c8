"""What can be wrong with an image model; for damaged files and tensors see the room's own `errors.py`."""

from jobs.errors import Failure


class AnimateDiffBaseForeign(Failure):
    """A file or folder that is no whole image model of SD 1.5 or SDXL, but something else."""

    code = "animatediff_base_foreign"


class AnimateDiffWrongWords(Failure):
    """A tokenizer with other words than the text encoder was trained on."""

    code = "animatediff_wrong_words"
