"""A camera move over a still picture. Needs no weights; sees depth with Depth Anything V2."""
