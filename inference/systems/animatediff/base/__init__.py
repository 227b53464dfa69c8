"""The image models that motion modules go into: SD 1.5 and SDXL, as people publish them, and what their words become.

`loader.open_base` opens one; `words.encode` makes embeddings of prompts; `emphasis.parse` reads `(word:1.2)`.
"""
