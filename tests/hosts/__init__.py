"""Promises between machines: a host that is cut off, an object store, Redis' users and its TLS."""
