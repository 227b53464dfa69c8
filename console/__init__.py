"""What the owner types in a terminal, and the composition root: settings, queue, bot and worker are joined here."""
