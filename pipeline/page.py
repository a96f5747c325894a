"""How pages are made: Jinja templates of this folder, and the words that they use for numbers."""

from pathlib import Path

import jinja2


def page_environment() -> jinja2.Environment:
    """Return the environment that every page is rendered in; what is put into a page is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"thousands": "{:,}".format, "size": size_of}
    return environment


def size_of(num_bytes: int) -> str:
    """Return `1.23 MB`."""
    size, unit = float(num_bytes), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if size < 1000:
            break
        size, unit = size / 1000, larger
    return f"{size:.3g} {unit}"
