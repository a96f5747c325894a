"""What a terminal is shown of names that somebody else chose."""

import pytest

from stores.programs.terminal import printable


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("a.jpg\nregions: 9 images in 1 shards; nothing to do", r"a.jpg\nregions: 9 images in 1 shards; nothing to do"),
        ("\x1b[2K\x1b[1Adone", r"\x1b[2K\x1b[1Adone"),
        ("a\rb\x9bc\x7f", r"a\rb\x9bc\x7f"),
        ("gpj.\u202ecod", r"gpj.\u202ecod"),
        ("a\u2028b\udcff", r"a\u2028b\udcff"),
        ("Straße 図.jpg", "Straße 図.jpg"),
    ],
)
def test_a_name_is_one_line_without_control_characters(name, shown):
    assert printable(name) == shown
