import pytest

from annotations.guards.shown import shown


def shared(depth):
    value = ["x"]
    for _ in range(depth):
        value = [value, value]
    return value


def nested(depth):
    value = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize("value", [7, "a text", [1.5, None], {"a": [1]}, (), b"x", float("nan")])
def test_a_short_value_is_shown_whole(value):
    assert shown(value) == repr(value)


@pytest.mark.parametrize(
    "make",
    [
        lambda: shared(200),
        lambda: nested(100_000),
        lambda: "x" * 10_000_000,
        lambda: 10**10_000,
        lambda: [10**10_000],
        lambda: object,
    ],
)
def test_any_value_is_shown_in_sixty_characters_at_once(make):
    assert 0 < len(shown(make())) <= 60
