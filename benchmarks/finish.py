"""What finishing brings: frames in between against blending, and steadied light against ffmpeg's filter.

    python -m benchmarks.finish

Both tables of `benchmarks.smooth` and `benchmarks.flicker`, which have options of their own.
"""

from benchmarks import flicker, smooth


def main() -> None:
    """Print both."""
    print("### Frames in between\n")
    smooth.main([])
    print("\n### Flicker\n")
    flicker.main([])


if __name__ == "__main__":
    main()
