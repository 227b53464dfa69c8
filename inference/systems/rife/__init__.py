"""Frames between frames: RIFE 4.x and FILM where their weights are installed, optical flow where none are."""
