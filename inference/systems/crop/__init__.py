"""Crop: a part of the picture."""
