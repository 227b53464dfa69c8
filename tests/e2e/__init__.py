"""From Discord to the clip in the channel."""
