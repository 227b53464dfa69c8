"""An S3-compatible server for tests: moto's, served from this process on whatever sockets it is given."""

import contextlib
import socket
import threading
import urllib.request
from collections.abc import Iterator

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import BaseWSGIServer, make_server

URL = "s3://clips/zoetrope"
KEYS = {"AWS_ACCESS_KEY_ID": "a-key", "AWS_SECRET_ACCESS_KEY": "a-secret", "AWS_DEFAULT_REGION": "us-east-1"}


@contextlib.contextmanager
def s3_server(*sockets: socket.socket) -> Iterator[None]:
    """Serve on these bound sockets for as long as the block runs; all show the same buckets."""
    app = DomainDispatcherApplication(create_backend_app)
    servers: list[BaseWSGIServer] = []
    for each in sockets:
        each.listen(64)
        servers.append(make_server(*each.getsockname()[:2], app, threaded=True, fd=each.fileno()))
    threads = [threading.Thread(target=server.serve_forever, daemon=True) for server in servers]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for server in servers:
            server.shutdown()
            server.server_close()
        for each in sockets:
            each.close()


def loopback() -> socket.socket:
    """A socket bound to a free port of this machine's own."""
    bound = socket.socket()
    bound.bind(("127.0.0.1", 0))
    return bound


def endpoint(bound: socket.socket) -> str:
    """The address under which a bound socket is reached."""
    host, port = bound.getsockname()[:2]
    return f"http://{host}:{port}"


def make_bucket(bound: socket.socket) -> None:
    """Zoetrope makes none: a bucket has an owner, a region, rules."""
    request = urllib.request.Request(f"{endpoint(bound)}/{URL.split('/')[2]}", method="PUT")
    with urllib.request.urlopen(request, timeout=10):
        pass
