"""Files that are JSON but for a byte-order mark, and NaN and Infinity, which Python and pandas write for numbers."""

import re
from typing import IO

_MARK = b"\xef\xbb\xbf"
_TOKEN = re.compile(rb'\\.|"|-?Infinity|NaN', re.DOTALL)
_ESCAPED = re.compile(rb"\\.", re.DOTALL)
_ENDS = tuple(sorted({word[:length] for word in (b"-Infinity", b"Infinity", b"NaN") for length in range(1, len(word))}))
"""What a number that is none begins with; a block is not left in its middle."""


class StandardJson:
    """A file's bytes as a JSON parser wants them: without the mark, and with `null` for what is no number."""

    def __init__(self, file: IO[bytes]) -> None:
        """`file` is at its beginning."""
        self._file = file
        self._in_text = False
        start = file.read(len(_MARK))
        self._left = b"" if start == _MARK else start

    def read(self, size: int = -1) -> bytes:
        """Return about so many bytes; none at the end."""
        if size == 0:
            return b""
        block, self._left = self._left + self._file.read(size), b""
        while block.endswith(_ENDS) or _ends_in_escape(block):
            more = self._file.read(1)
            if not more:
                break
            block += more
        if b"NaN" in block or b"Infinity" in block:
            return _TOKEN.sub(self._replace, block)
        quotes = _ESCAPED.sub(b"", block).count(b'"') if b"\\" in block else block.count(b'"')
        self._in_text ^= quotes % 2 == 1
        return block

    def _replace(self, found: re.Match[bytes]) -> bytes:
        token = found[0]
        if token == b'"':
            self._in_text = not self._in_text
        return b"null" if token.endswith((b"NaN", b"Infinity")) and not self._in_text else token


def _ends_in_escape(block: bytes) -> bool:
    return (len(block) - len(block.rstrip(b"\\"))) % 2 == 1
