"""For all tests: no example has a deadline, and those that start another process are marked.

No deadline, because what a crowded machine takes is no fault of the code. The mark `processes` follows from what a
test's file imports, so that no list of files has to be kept; `make check` leaves these tests out.
"""

from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import settings

settings.register_profile("crowded", deadline=None)
settings.load_profile("crowded")

STARTERS = {"multiprocessing", "playwright", "ray", "subprocess"}
"""Modules that start processes."""
WHOLE = {"benchmarks", "end_to_end", "fuzz"}
"""Folders whose tests run whole commands."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    starts: dict[Path, bool] = {}
    for item in items:
        if item.path not in starts:
            starts[item.path] = bool(WHOLE.intersection(item.path.parts)) or _imports_starter(item.module)
        if starts[item.path]:
            item.add_marker(pytest.mark.processes)


def _imports_starter(module: ModuleType) -> bool:
    names = {getattr(each, "__module__", None) or getattr(each, "__name__", "") for each in vars(module).values()}
    return bool(STARTERS & {str(name).split(".")[0] for name in names})
