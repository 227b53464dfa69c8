"""One `Request` class for each system: the list from which commands, validation, recipes and docs are derived."""

from jobs.requests.base import Brief, Request
from jobs.requests.parallax import ParallaxRequest
from jobs.requests.svd import SvdRequest

REQUESTS: tuple[type[Request], ...] = (SvdRequest, ParallaxRequest)
AnyRequest = SvdRequest | ParallaxRequest
BY_SYSTEM = {request.name(): request for request in REQUESTS}

__all__ = ["BY_SYSTEM", "REQUESTS", "AnyRequest", "Brief", "Request"]
