"""How pages are made: Jinja templates, and the words that they use for numbers."""

import json
from pathlib import Path
from typing import Any

import jinja2


def page_environment(templates: Path) -> jinja2.Environment:
    """Return the environment that the pages of a folder are rendered in; what is put into a page is escaped.

    Templates are those of `templates`; what they include, `page.css`, `photo.css` and `photo.js`, is beside this file.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([templates, Path(__file__).parent]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"thousands": "{:,}".format, "size": size_of}
    return environment


def as_script(data: Any) -> str:
    """Return JSON that can stand inside a script element: nothing in it ends the element or a line."""
    text = json.dumps(data, separators=(",", ":"))  # ASCII only: no U+2028 either
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def size_of(num_bytes: int) -> str:
    """Return `1.23 MB`."""
    size, unit = float(num_bytes), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if size < 1000:
            break
        size, unit = size / 1000, larger
    return f"{size:.3g} {unit}"
