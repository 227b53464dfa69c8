"""Deflicker: brightness and colour that jump from frame to frame become steady."""
