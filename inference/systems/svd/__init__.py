"""Stable Video Diffusion: facts and traps in README.md. Torch comes in with `system`, and not before."""
