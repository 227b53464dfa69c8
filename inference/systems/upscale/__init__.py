"""Upscale: more pixels by Swin2SR, held steady in time; without it, Lanczos."""
