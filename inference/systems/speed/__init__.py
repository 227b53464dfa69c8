"""Speed: frames by time, sound at its own pitch."""
