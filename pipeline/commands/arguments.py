"""Arguments that several commands take: folders, and NAME=VALUE."""

from pathlib import Path
from typing import Annotated

import tyro

Out = Annotated[Path, tyro.conf.arg(metavar="DIR")]
Store = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")]


def name_and_value(text: str) -> tuple[str, str]:
    """Return both sides of NAME=VALUE; raises ValueError where there is no equals sign."""
    name, equals, value = text.partition("=")
    if not equals:
        raise ValueError(f"--convention {text!r}: expected NAME=VALUE, such as short_side=800")
    return name, value
