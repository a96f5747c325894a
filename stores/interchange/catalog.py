"""The foreign formats of region features. A new one is a module like `lxmert_tsv` and a line in `FORMATS`."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol

from annotations.guards.drops import DataError
from annotations.tables import Table
from detectors.records import RegionFeatures
from detectors.vocabulary import Vocabulary
from stores.interchange.rows import ImportedRegions, Row, Supplement


class ForeignFormat(Protocol):
    """How features of one format are found and read; a module is enough. Rows are listed first, then read one by one,
    in any order: no row is in memory but the one in use.

    A module for whose format the tests have no files has an `example` of them, contents by file name.
    """

    place: str
    """What the path must be, for errors."""
    needs_sizes: bool
    """The format has no image sizes."""
    conventions: dict[str, str]
    """How its numbers are to be understood; kept in the manifest."""

    def looks_like(self, path: Path) -> bool: ...

    def list_rows(self, path: Path) -> Iterable[Row]: ...

    def read_row(self, path: Path, row: Row, supplement: Supplement) -> ImportedRegions: ...

    def own_vocabulary(self, path: Path) -> Vocabulary:
        """Return the names in the file, or numbers in their place."""
        ...


FORMATS: Table[ForeignFormat] = Table(
    {
        "lxmert-tsv": "stores.interchange.lxmert_tsv",
        "butd-tsv": "stores.interchange.butd_tsv",
        "milvlg-npz": "stores.interchange.milvlg_npz",
        "uniter-lmdb": "stores.interchange.uniter_lmdb",
        "vinvl-tsv": "stores.interchange.vinvl_tsv",
    }
)

WRITERS: Table[Callable[[Path, Iterable[RegionFeatures]], int]] = Table(
    {
        "lxmert-tsv": "stores.interchange.lxmert_tsv:write",
        "milvlg-npz": "stores.interchange.milvlg_npz:write",
    }
)
"""Those that can be written: path and records in, their number out."""


def recognise(path: Path) -> str:
    """Return the name of the format that the path's content has.

    Raises:
        DataError: there is nothing, or it is none of them.
    """
    if not path.exists():
        raise DataError(f"{path}: no such file or folder, expected published features")
    for name, foreign in FORMATS.items():
        if foreign.looks_like(path):
            return name
    known = "; ".join(f"{name}: {foreign.place}" for name, foreign in FORMATS.items())
    raise DataError(f"{path}: features of no known format, expected one of these. {known}")
