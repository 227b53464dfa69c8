"""AnimateDiff: its files, its networks, and what people can ask of them."""
