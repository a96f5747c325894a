"""`vinculum inspect`: one page that shows what a store holds."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class PageSummary:
    """What the page shows."""

    page: str
    num_images: int
    num_quarantined: int


def write_page(store: Path, page: Path, *, num_images: int) -> PageSummary:
    raise NotImplementedError
