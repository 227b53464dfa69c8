"""What can be wrong with a ControlNet beside its file."""

from jobs.errors import Failure


class ControlWrongBase(Failure):
    """A ControlNet for another family of image models, such as SD 2.1's on SD 1.5."""

    code = "animatediff_control_wrong_base"
