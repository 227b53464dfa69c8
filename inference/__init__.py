"""The GPU side: a torch-free worker that supervises a renderer child, and one room for each published system."""
