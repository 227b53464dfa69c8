"""The seven promises of the design, each with somebody who tries to break it."""
