"""What can be wrong with learning a motion, or with one that was learned."""

from jobs.errors import Failure


class LearningClipTooShort(Failure):
    """Too few frames to see a motion in."""

    code = "animatediff_learning_clip_too_short"


class LearningDiverged(Failure):
    """The loss, or what was learned, is no finite number any more."""

    code = "animatediff_learning_diverged"


class LearnedMotionDamaged(Failure):
    """The file of a learned motion is cut off, changed, too large, or none of ours."""

    code = "animatediff_learned_motion_damaged"


class LearnedMotionElsewhere(Failure):
    """A motion was learned on another motion module than the one it is asked for."""

    code = "animatediff_learned_motion_elsewhere"
