"""What can be wrong with a checkpoint of the room."""

from jobs.errors import Failure


class SmoothUnreadable(Failure):
    """A file is cut off, far too large, or none of the published kinds."""

    code = "smooth_unreadable"


class SmoothForeign(Failure):
    """A file's tensors are not those of any network that is known here."""

    code = "smooth_foreign"
