"""Sound: a clip with a track of its own or another."""
