"""The floors, the words and the shape of the tree."""

import ast
import importlib
import re
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("annotations", "detectors", "stores", "pipeline", "training")
MAY_IMPORT = {
    "annotations": set(),
    "detectors": set(),
    "stores": {"annotations", "detectors"},
    "pipeline": {"annotations", "detectors", "stores"},
    "training": {"annotations", "detectors", "stores"},
}
GUARDS = sorted((ROOT / "annotations/guards").glob("*.py"))
"""Guards against foreign bytes, which import nothing but each other and numpy: every room may import them."""
AT_HOME = {
    "ray": {"pipeline", "training"},
    "pyarrow": {"stores"},
    "lmdb": {"stores"},
    "msgpack": {"stores"},
    "torch": {"detectors", "pipeline", "training"},
    "pickle": {"annotations", "detectors"},  # restricted_pickle.py; checkpoint_files.py looks at names and loads none
}
JOINS_RAY = ROOT / "stores/programs/ray_connection.py"  # what pipeline and training need alike lies below both
SOURCES = [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]
TEXTS = [*sorted(ROOT.glob("*.md")), *(path for room in ROOMS for path in sorted((ROOT / room).rglob("README.md")))]


def imported(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            yield node.module


def _is_there(name):
    place = ROOT / name.replace(".", "/")
    return place.is_dir() or place.with_suffix(".py").is_file()


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_room_imports_only_the_floors_below_it(path):
    room = path.relative_to(ROOT).parts[0]
    for name in imported(path):
        top = name.split(".")[0]
        may = top not in ROOMS or top == room or top in MAY_IMPORT[room] or name.startswith("annotations.guards.")
        assert may, f"{path} imports {name}"
        assert top not in ROOMS or _is_there(name), f"{path} imports {name}, which is not there"
        assert room in AT_HOME.get(top, ROOMS) or (top, path) == ("ray", JOINS_RAY), f"{path} imports {name}"


@pytest.mark.parametrize("path", GUARDS, ids=lambda path: path.stem)
def test_a_guard_imports_no_room(path):
    assert all(each.startswith("annotations.guards.") for each in imported(path) if each.split(".")[0] in ROOMS)


def test_json_of_others_goes_through_plain_json():
    """Python's parser ends deep nesting in a RecursionError, which no reader expects."""
    writers = ("dumps", "canonical_json")
    for path in SOURCES:
        if path == ROOT / "annotations/guards/plain_json.py":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("json.loads", "json.load"):
                assert ast.unparse(node.args[0]).split("(")[0].endswith(writers), f"{path}:{node.lineno}"


@pytest.mark.parametrize("name", ["fsspec", "aiohttp", "s3fs", "requests", "urllib3", "httpx"])
def test_urls_are_opened_in_one_place(name):
    callers = {path for path in SOURCES if name in {each.split(".")[0] for each in imported(path)}}
    assert callers <= {ROOT / "stores/locations.py"}


def test_what_a_terminal_shows_of_others_names_has_no_control_characters():
    """Else a file's name could begin a line of its own, or move the cursor."""
    may_show = ("printable", "printable_lines", "json.dumps")
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("print", "tqdm.write"):
                (shown,) = node.args
                is_ours = isinstance(shown, ast.Constant)
                is_clean = isinstance(shown, ast.Call) and ast.unparse(shown.func) in may_show
                assert is_ours or is_clean, f"{path}:{node.lineno}: expected printable(...) of what is shown"


@pytest.mark.parametrize("path", [path for path in SOURCES if path.name == "__init__.py"], ids=str)
def test_an_init_is_a_docstring(path):
    body = ast.parse(path.read_text(encoding="utf-8")).body
    assert len(body) == 1 and ast.get_docstring(ast.Module(body, [])), f"{path} holds more than a docstring"


def test_no_docstring_begins_with_of():
    """Subject first: `Seed of the draws.`, not `Of the draws.`"""
    begins = {
        f"{path}:{n}" for path in SOURCES for n, line in enumerate(path.read_text().splitlines(), 1) if '"""Of ' in line
    }
    assert begins == set()


@pytest.mark.parametrize("path", [*SOURCES, *TEXTS], ids=lambda path: str(path.relative_to(ROOT)))
def test_cannot_is_one_word(path):
    assert " can not " not in path.read_text(encoding="utf-8")


def test_nothing_below_tests_is_a_package():
    assert list((ROOT / "tests").rglob("__init__.py")) == []


FOLDERS = sorted({path.parent for path in SOURCES})
MOST_FILES = 20


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_folder_is_seen_at_a_glance(folder):
    assert len([path for path in folder.glob("*.py") if path.name != "__init__.py"]) <= MOST_FILES


@pytest.mark.parametrize("folder", [each for each in FOLDERS if each.parent != ROOT], ids=lambda path: path.name)
def test_a_file_does_not_repeat_the_name_of_its_folder(folder):
    """But for the file that holds the noun itself, such as `objectives/objective.py`."""
    noun = folder.name.removesuffix("s")
    words = {path: path.stem.split("_") for path in folder.glob("*.py")}
    assert [path.name for path, each in words.items() if len(each) > 1 and {noun, folder.name} & set(each)] == []


def test_no_file_is_named_for_nothing():
    nameless = {"utils", "helpers", "common", "misc", "base"}
    assert [path for path in SOURCES if path.stem in nameless] == []


@pytest.mark.parametrize("room", ROOMS)
def test_the_import_name_is_ours_alone(room):
    assert set(packages_distributions().get(room, [])) <= {"vinculum"}
    assert Path(importlib.import_module(room).__file__).parent == ROOT / room


FILES = [f"/{path}" for room in (*ROOMS, "tests", "docker", "docs") for path in (ROOT / room).rglob("*.py")]


@pytest.mark.parametrize("text", TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_file_that_a_text_names_is_there(text):
    named = re.findall(r"`((?:[\w]+/)*[\w]+\.py)`", text.read_text(encoding="utf-8"))
    assert [name for name in named if not any(path.endswith(f"/{name}") for path in FILES)] == []


def test_the_texts_name_many_files():
    named = {name for text in TEXTS for name in re.findall(r"`([\w/]+\.py)`", text.read_text(encoding="utf-8"))}
    assert len(named) > 150


@pytest.mark.parametrize("text", TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_of_a_text_leads_somewhere(text):
    for link in re.findall(r"\]\(([^)]+)\)", text.read_text(encoding="utf-8")):
        path, _, heading = link.partition("#")
        if not path.startswith("http"):
            target = (text.parent / path).resolve()
            assert target.exists(), link
            assert not heading or heading in headings_of(target), link


def headings_of(text):
    """Return the anchors of a text's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.*)$", text.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}
