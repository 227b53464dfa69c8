"""What the owner types in a terminal, and the composition root: it builds settings, queue, bot or worker and joins them."""
