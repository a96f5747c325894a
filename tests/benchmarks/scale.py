"""How large benchmarks are: tiny, so that each runs whenever the tests do, or full, for figures that mean something."""

import os
from typing import TypeVar

T = TypeVar("T")

IS_FULL = os.environ.get("VINCULUM_BENCH") == "full"


def scaled(*, full: T, tiny: T) -> T:
    """Return a size, a choice of cases or a network: `full` with `make bench`, else `tiny`."""
    return full if IS_FULL else tiny
