"""AnimateDiff: facts and traps in README.md. Torch comes in with the modules, and not before."""
