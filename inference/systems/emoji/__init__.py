"""Emoji: a clip as a square of 128 pixels."""
