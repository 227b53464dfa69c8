"""Convert: the clip as it is."""
