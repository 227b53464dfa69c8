"""What a file says of itself rules it out as a clip, a sound or a picture only where that cannot be wrong."""

import pytest

from jobs.errors import Refusal
from jobs.texts import word
from media.clip_limits import ClipLimits, declared_clip_refusal, declared_sound_refusal
from media.limits import PictureLimits, declared_refusal

LIMITS = ClipLimits()


@pytest.mark.parametrize(
    ("name", "content_type", "size", "code"),
    [
        ("a.png", "image/jpeg", 10, "clip_still"),
        ("a.jpg", None, 10, "clip_still"),
        ("a.mp3", "audio/mpeg", 10, "clip_not"),
        ("a.txt", "text/plain; charset=utf-8", 10, "clip_not"),
        ("a.mp4", "video/mp4", 101 * 2**20, "clip_bytes"),
        ("a.mp4", "video/mp4", 0, "clip_empty"),
    ],
)
def test_a_declaration_can_rule_a_clip_out(name: str, content_type: str | None, size: int, code: str) -> None:
    with pytest.raises(Refusal) as refusal:
        declared_clip_refusal(name, content_type, size, LIMITS)

    assert refusal.value.code == code
    assert word(refusal.value)


@pytest.mark.parametrize("content_type", ["video/mp4", "video/quicktime", "image/gif", "image/png", None, "odd"])
def test_a_declaration_that_may_move_passes(content_type: str | None) -> None:
    declared_clip_refusal("a.bin", content_type, 1000, LIMITS)


@pytest.mark.parametrize(
    ("name", "content_type", "code"), [("a.png", "image/png", "sound_not"), ("a.pdf", None, "sound_not")]
)
def test_a_declaration_can_rule_a_sound_out(name: str, content_type: str | None, code: str) -> None:
    with pytest.raises(Refusal) as refusal:
        declared_sound_refusal(name, content_type, 10, LIMITS)

    assert refusal.value.code == code


def test_a_name_that_may_mean_several_kinds_rules_only_the_others_out() -> None:
    declared_clip_refusal("a.ogg", None, 10, LIMITS)
    declared_sound_refusal("a.ogg", None, 10, LIMITS)
    declared_refusal("a.heic", None, 10, PictureLimits())  # as phones call many a JPEG
    for name, content_type in (("a.ogg", None), ("a.jpg", "image/heic")):
        with pytest.raises(Refusal):
            declared_refusal(name, content_type, 10, PictureLimits())
