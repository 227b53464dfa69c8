"""What can be wrong with a checkpoint, or with what was asked of it."""

from jobs.errors import Failure


class SvdNotInstalled(Failure):
    """The checkpoint's files are not all there."""

    code = "svd_not_installed"


class SvdNotOffered(Failure):
    """The owner's `[systems.svd] checkpoints` leaves this one out."""

    code = "svd_not_offered"


class SvdUnreadable(Failure):
    """A file is cut off, is no safetensors file, or its config is no JSON of the expected kind."""

    code = "svd_unreadable"


class SvdUnknownTensors(Failure):
    """A file holds tensors that the network has no place for, so it is not the published checkpoint."""

    code = "svd_unknown_tensors"


class SvdMissingTensors(Failure):
    """A file lacks tensors that the network needs."""

    code = "svd_missing_tensors"


class SvdWrongShape(Failure):
    """A tensor has not the shape that the network needs."""

    code = "svd_wrong_shape"
