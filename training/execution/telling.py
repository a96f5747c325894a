"""A command's summary as lines for people: names and figures, nested ones indented."""

from collections.abc import Iterator, Mapping
from typing import Any


def tell(summary: Mapping[str, Any], indent: str = "") -> Iterator[str]:
    """Yield a line for every entry; a figure with its denominator reads `0.812 of 1,234`."""
    width = max(map(len, summary), default=0)
    for name, value in summary.items():
        if isinstance(value, Mapping) and set(value) != {"value", "of"}:
            yield f"{indent}{name}"
            yield from tell(value, indent + "  ")
        elif value is not None:
            yield f"{indent}{name:{width}}  {_shown(value)}"


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return "none" if value["value"] is None else f"{value['value']:.4f} of {value['of']:,}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
