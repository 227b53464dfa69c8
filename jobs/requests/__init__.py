"""One `Request` class for each system: the list from which commands, validation, recipes and docs are derived."""

from jobs.requests.animatediff import AnimateDiffRequest
from jobs.requests.base import Brief, Finishing, Generation, Request
from jobs.requests.convert import ConvertRequest
from jobs.requests.crop import CropRequest
from jobs.requests.deflicker import DeflickerRequest
from jobs.requests.emoji import EmojiRequest
from jobs.requests.learnmotion import LearnMotionRequest
from jobs.requests.loop import LoopRequest
from jobs.requests.parallax import ParallaxRequest
from jobs.requests.restyle import RestyleRequest
from jobs.requests.smooth import SmoothRequest
from jobs.requests.sound import SoundRequest
from jobs.requests.speed import SpeedRequest
from jobs.requests.sticker import StickerRequest
from jobs.requests.stitch import StitchRequest
from jobs.requests.svd import SvdRequest
from jobs.requests.trim import TrimRequest
from jobs.requests.upscale import UpscaleRequest

REQUESTS: tuple[type[Request], ...] = (
    SvdRequest,
    AnimateDiffRequest,
    RestyleRequest,
    LearnMotionRequest,
    ParallaxRequest,
    SmoothRequest,
    DeflickerRequest,
    LoopRequest,
    UpscaleRequest,
    TrimRequest,
    CropRequest,
    SpeedRequest,
    StitchRequest,
    SoundRequest,
    ConvertRequest,
    StickerRequest,
    EmojiRequest,
)
AnyRequest = (
    SvdRequest
    | AnimateDiffRequest
    | RestyleRequest
    | LearnMotionRequest
    | ParallaxRequest
    | SmoothRequest
    | DeflickerRequest
    | LoopRequest
    | UpscaleRequest
    | TrimRequest
    | CropRequest
    | SpeedRequest
    | StitchRequest
    | SoundRequest
    | ConvertRequest
    | StickerRequest
    | EmojiRequest
)
BY_SYSTEM: dict[str, type[Request]] = {request.name(): request for request in REQUESTS}
GENERATIONS: dict[str, type[Generation]] = {
    name: request for name, request in BY_SYSTEM.items() if issubclass(request, Generation)
}
"""What `/animate` and a mention may choose from."""

__all__ = ["BY_SYSTEM", "GENERATIONS", "REQUESTS", "AnyRequest", "Brief", "Finishing", "Generation", "Request"]
