"""Stitch: two clips as one."""
