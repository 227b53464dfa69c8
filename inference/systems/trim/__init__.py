"""Trim: a part of a clip with the sound that belongs to it."""
