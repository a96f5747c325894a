"""What may have happened to a file: flips, cuts, inserts, other numbers, deep nesting, several of them at once."""

import re

from hypothesis import strategies as st

NUMBERS = [
    *("-1", "0", "1", "7", "255", "65536", "-2147483649", "4294967296", "9223372036854775808", "1e999", "-1e308"),
    *("NaN", "0.5", "1" * 400, "1" * 5000, "null", '"x"', "[]", "{}", "true", "[[1]]", '{"a": 1}'),
]
INTEGERS = [0, 1, 0x7FFFFFFF, 0xFFFFFFFF, 0x7FFFFFFFFFFFFFFF, 0xFFFFFFFFFFFFFFFF, 1 << 33, 1 << 20]
NESTS = [(b"[", b"]"), (b'{"a":', b"}"), (b"(", b"t")]

_NUMBER = re.compile(rb"-?\d+(?:\.\d+)?")
_VALUE = re.compile(rb'"[^"]*"|-?\d+(?:\.\d+)?|null|true|false|\[[^\[\]]*\]')


def _place(draw, content):
    return draw(st.integers(0, len(content)))


def _flip(draw, content):
    if not content:
        return b"\x00"
    at = draw(st.integers(0, len(content) - 1))
    return content[:at] + bytes([content[at] ^ 1 << draw(st.integers(0, 7))]) + content[at + 1 :]


def _cut(draw, content):
    return content[: _place(draw, content)]


def _replace(draw, content):
    at = _place(draw, content)
    return content[:at] + draw(st.binary(max_size=8)) + content[at + draw(st.integers(0, 16)) :]


def _repeat(draw, content):
    start = _place(draw, content)
    part = content[start : start + draw(st.integers(1, 64))]
    return content[:start] + part * draw(st.sampled_from([2, 3, 50])) + content[start:]


def _integer(draw, content):
    """Put an integer as binary formats have it, where they have one: often at a multiple of four."""
    at = _place(draw, content) & ~3
    size = draw(st.sampled_from([4, 8]))
    value = draw(st.sampled_from(INTEGERS)) & ((1 << 8 * size) - 1)
    return content[:at] + value.to_bytes(size, draw(st.sampled_from(["little", "big"]))) + content[at + size :]


def _other(pattern, values):
    def replaced(draw, content):
        found = list(pattern.finditer(content[: 1 << 16]))
        if not found:
            return _flip(draw, content)
        match = found[draw(st.integers(0, len(found) - 1))]
        return content[: match.start()] + draw(st.sampled_from(values)) + content[match.end() :]

    return replaced


_NESTED = [opening * depth + closing * depth for opening, closing in NESTS for depth in (70, 400, 100_000)]

MUTATIONS = [
    *(_flip, _cut, _replace, _repeat, _integer),
    _other(_NUMBER, [number.encode() for number in NUMBERS]),
    _other(_VALUE, [number.encode() for number in NUMBERS]),
    _other(_VALUE, _NESTED),
]


@st.composite
def damaged(draw, files):
    """Draw the name of one of the files and what became of its content."""
    name = draw(st.sampled_from(sorted(files)))
    content = files[name]
    for change in draw(st.lists(st.sampled_from(MUTATIONS), min_size=1, max_size=3)):
        content = change(draw, content)
    return name, content


def usual_damage(content):
    """Yield what every reader meets sooner or later in place of a file."""
    yield "empty", b""
    yield "zeros", bytes(1000)
    yield "ones", b"\xff" * 1000
    yield "with a byte-order mark", b"\xef\xbb\xbf" + content
    yield "as UTF-16", content.decode("latin1").encode("utf-16")
    yield "half", content[: len(content) // 2]
    yield "twice", content * 2
    yield "deep lists", b"[" * 100_000
    yield "deep objects", b'{"a":' * 100_000
    yield "one long line", b"a" * 300_000
    yield "a huge number", b"1" * 5000
    yield "a pickle of a loop", b"\x80\x02]q\x00h\x00a."
