"""What can be wrong with a file of the AnimateDiff family, or with what is put together from several."""

from jobs.errors import Failure


class AnimateDiffNotInstalled(Failure):
    """A checkpoint's files are not all there."""

    code = "animatediff_not_installed"


class AnimateDiffUnreadable(Failure):
    """A file is missing, cut off, far too large, or holds something else than tensors."""

    code = "animatediff_unreadable"


class AnimateDiffForeign(Failure):
    """A file's names are none of the published layouts of the kind that is wanted."""

    code = "animatediff_foreign"


class AnimateDiffUnknownTensors(Failure):
    """A file of a known layout holds tensors that have no place in it."""

    code = "animatediff_unknown_tensors"


class AnimateDiffMissingTensors(Failure):
    """A file of a known layout lacks tensors that the network needs."""

    code = "animatediff_missing_tensors"


class AnimateDiffWrongShape(Failure):
    """A tensor has not the shape that the network needs."""

    code = "animatediff_wrong_shape"


class AnimateDiffWrongBase(Failure):
    """A motion module for another family of image models, such as SDXL's on SD 1.5."""

    code = "animatediff_wrong_base"


class AnimateDiffLoraDoesNotFit(Failure):
    """A LoRA that was made for other layers, such as a MotionLoRA of version 2 on version 3."""

    code = "animatediff_lora_does_not_fit"


class AnimateDiffLoraUnusable(Failure):
    """An owner's LoRA whose file is damaged, or holds something else than its header made believe."""

    code = "animatediff_lora_unusable"


class AnimateDiffNotFinite(Failure):
    """What was denoised holds numbers that are none: a LoRA or a strength that was too much."""

    code = "animatediff_not_finite"


class AnimateDiffLoraKind(Failure):
    """A LoRA of an image model with tensors that are neither a low-rank pair nor its alpha: LoHa, LoKr, DoRA."""

    code = "animatediff_lora_kind"


class AnimateDiffTooLong(Failure):
    """More frames at once than the motion module has positions for."""

    code = "animatediff_too_long"
