"""Sticker: a clip as a square of 320 pixels."""
