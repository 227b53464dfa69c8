"""Video out: whether PyAV can write what Discord plays."""

from console.checks import Check

NEEDED = ("libx264", "gif")


def codecs() -> list[Check]:
    """Whether each encoder is there."""
    try:
        import av
    except ImportError as error:
        return [Check("codec", "fail", f"PyAV does not load ({error})", "pip install -c constraints.txt av")]
    lacking: list[str] = []
    for name in NEEDED:
        try:
            av.Codec(name, "w")
        except ValueError:
            lacking.append(name)
    if lacking:
        advice = "Install PyAV from its wheel, which has both: pip install --force-reinstall --only-binary av av"
        return [Check("codec", "fail", f"PyAV {av.__version__} cannot write {', '.join(lacking)}", advice)]
    return [Check("codec", "ok", f"PyAV {av.__version__} writes {' and '.join(NEEDED)}")]
