"""JSON out of files that others wrote."""

import json
from typing import Any


def parse_json(content: str | bytes) -> Any:
    """Return what the text says; a byte-order mark before it is passed over.

    Raises:
        ValueError: it is not JSON, or nests deeper than Python's parser goes, about a thousand levels.
    """
    try:
        return json.loads(content.removeprefix("\ufeff") if isinstance(content, str) else content)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
