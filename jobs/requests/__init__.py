"""One `Request` class for each system: the list from which commands, validation, recipes and docs are derived."""

from jobs.requests.base import Brief, Finishing, Generation, Request
from jobs.requests.parallax import ParallaxRequest
from jobs.requests.svd import SvdRequest

REQUESTS: tuple[type[Request], ...] = (SvdRequest, ParallaxRequest)
AnyRequest = SvdRequest | ParallaxRequest
BY_SYSTEM: dict[str, type[Request]] = {request.name(): request for request in REQUESTS}
GENERATIONS: dict[str, type[Generation]] = {
    name: request for name, request in BY_SYSTEM.items() if issubclass(request, Generation)
}
"""What `/animate` and a mention may choose from."""

__all__ = ["BY_SYSTEM", "GENERATIONS", "REQUESTS", "AnyRequest", "Brief", "Finishing", "Generation", "Request"]
