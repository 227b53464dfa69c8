"""A port for a server that has to be told its port before it starts."""

import random
import socket
from pathlib import Path

EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")
LOWEST = 15_000


def free_port() -> int:
    """A port of loopback on which nobody listens.

    It lies below those the kernel hands out to whoever binds port 0 or connects: between this answer and the
    server's start, the suite beside this one opens hundreds of them.
    """
    highest = int(EPHEMERAL.read_text().split()[0]) if EPHEMERAL.exists() else 32_768
    while True:
        port = random.randrange(LOWEST, highest)
        with socket.socket() as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if not _taken(tried, port):
                return port


def _taken(tried: socket.socket, port: int) -> bool:
    try:
        tried.bind(("127.0.0.1", port))
    except OSError:
        return True
    return False
