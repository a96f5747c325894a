"""Annotations as a command names them: a data set of the catalog, and where its files lie."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from annotations.datasets.catalog import DATA_SETS
from stores.programs.command_line import did_you_mean


@dataclass(frozen=True, kw_only=True)
class AnnotationSource:
    """One `--annotations NAME=PATH`."""

    name: str
    """In `DATA_SETS`."""
    path: Path


def parse_source(text: str) -> AnnotationSource:
    """Return what NAME=PATH says; raises ValueError where it is something else."""
    name, equals, path = text.partition("=")
    if not equals or not path:
        example = f"{name if name in DATA_SETS else next(iter(DATA_SETS))}=PATH"
        raise ValueError(
            f"--annotations {text!r}: expected NAME=PATH such as {example}; names are {', '.join(DATA_SETS)}"
        )
    return AnnotationSource(name=name, path=Path(path))


def check_sources(sources: Sequence[AnnotationSource]) -> None:
    """All sources are data sets that there are, at paths that there are; else a ValueError says which is not."""
    if not sources:
        raise ValueError(f"--annotations names nothing; expected NAME=PATH, NAME one of {', '.join(DATA_SETS)}")
    for source in sources:
        if source.name not in DATA_SETS:
            raise ValueError(f"--annotations {source.name}: no such data set; {did_you_mean(source.name, DATA_SETS)}")
        if not source.path.exists():
            raise ValueError(f"{source.path}: no such file or folder, expected {DATA_SETS[source.name].place}")
    for name in dict.fromkeys(source.name for source in sources):
        if (check := DATA_SETS[name].check) is not None:
            check([source.path for source in sources if source.name == name])
