"""Every input of every command, changed between two runs in every way: the same result, done anew, or refused by name.

A cell of `MATRIX` says what a command does when it is run again after one of its inputs has changed:

    same      its output is what it was, and what a run from the beginning gives
    anew      its output is what a run from the beginning gives, and not what it was
    refused   it ends with an error, or finds damage, and names the input; what was there stays as it was
    told      its output is what it was, and a line says what has changed
    -         the change means nothing for this input

No cell is silent: an output that is neither what it was nor what a run from the beginning gives, or that is what it was
though the input is another, without a word. `one node`: the driver sees the old input, the workers' node the new one.
"""

import random
import re
import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.end_to_end.input_changes import NEEDED, PLACES, halve, put_another, put_foreign, put_older, remove, touch
from tests.end_to_end.workshop import COMMANDS, Result, Workshop, another_node

pytestmark = pytest.mark.timeout(900)

COLUMNS = ("replaced", "moved", "respelled", "older", "touched", "half", "foreign", "one node")

MATRIX = """
made                input            replaced moved    respelled older    touched  half     foreign  one node
regions             image file       refused  -        -         refused  same     refused  -        refused
regions             folder           refused  same     same      refused  same     told     -        refused
from-list           list             refused  refused  same      refused  same     told     told     -
from-tar            tar              refused  same     same      refused  same     refused  same     -
regions             weights          refused  same     same      refused  same     refused  refused  refused
described           boxes            refused  same     same      refused  same     refused  refused  refused
named               vocabulary       refused  same     same      refused  same     refused  refused  refused
sentences           annotations      refused  same     same      refused  same     refused  -        -
sentences           vectors          refused  same     same      refused  same     refused  refused  -
sentences           regions          refused  same     same      refused  same     refused  refused  refused
sentences-of-files  image file       refused  -        -         refused  same     refused  -        -
sentences-of-files  folder           refused  same     same      refused  same     refused  -        -
sentences-of-list   list             refused  refused  same      refused  same     refused  refused  -
sentences-of-tar    tar              refused  same     same      refused  same     refused  same     -
whole               regions          same     same     same      same     same     refused  same     -
whole-sentences     sentences        same     same     same      same     same     refused  same     -
page.html           image file       told     -        -         told     same     told     -        -
page.html           folder           told     told     same      told     same     told     -        -
page.html           regions          anew     same     same      anew     same     refused  anew     -
sentences.html      regions          refused  refused    same      refused  same     refused  refused  -
sentences.html      sentences        anew     same     same      anew     same     refused  anew     -
files.html          image file       told     -        -         told     same     told     -        -
files.html          folder           told     refused  same      told     same     told     -        -
health              regions          told     same     same      told     same     refused  told     -
health              sentences        same     same     same      same     same     refused  same     -
run                 regions          refused  same     same      refused  same     refused  refused  refused
run                 sentences        refused  same     same      refused  same     refused  refused  refused
run                 tokenizer        refused  same     same      refused  same     refused  refused  -
run                 answers          refused  same     same      refused  same     refused  refused  -
resumed             regions          refused  same     same      refused  same     refused  refused  refused
resumed             sentences        refused  same     same      refused  same     refused  refused  refused
resumed             last kept        refused  -        -         refused  same     refused  -        -
resumed             run's tokenizer  refused  -        -         refused  same     refused  refused  -
fine                run              refused  same     same      refused  same     refused  refused  -
fine                checkpoint       refused  -        -         refused  same     refused  -        -
fine                regions          refused  same     same      refused  same     refused  refused  -
fine                sentences        refused  same     same      refused  same     refused  refused  -
fine                answers          refused  same     same      refused  same     refused  refused  -
scores              fine run         same     same     same      same     same     refused  -        -
scores              fine checkpoint  refused  -        -         refused  same     refused  -        -
scores              regions          refused  same     same      refused  same     refused  refused  -
scores              sentences        same     same     same      same     same     refused  same     -
scores              answers          same     same     same      same     same     anew     anew     -
report.html         run              anew     same     same      anew     same     refused  anew     -
report.html         regions          refused  same     same      refused  same     refused  refused  -
report.html         sentences        same     same     same      same     same     refused  same     -
"""

FAST = {
    ("whole", "regions", "half"),
    ("regions", "folder", "replaced"),
    ("regions", "folder", "touched"),
    ("regions", "weights", "older"),
    ("from-list", "list", "half"),
    ("page.html", "image file", "replaced"),
    ("page.html", "folder", "moved"),
    ("files.html", "image file", "replaced"),
}
"""The cells that `make test` looks at; the others take an hour."""

QUARANTINED = 3
IN_A_ROW = {"regions", "from-list", "from-tar", "described", "named", "sentences"}
SAME_CONTENT = ("moved", "respelled", "touched")
CHANGES = {
    "replaced": put_another,
    "older": put_older,
    "touched": touch,
    "half": halve,
    "foreign": put_foreign,
}
GOES_BY = {"annotations": "gqa", "fine run": "fine", **{key: key for key in COMMANDS}}
"""The name under which a command line has an input, where it has another."""

NAMES = {
    "image file": r"image|picture|3\.jpg",
    "folder": r"image|picture|photos",
    "list": r"photos\.tsv|images?\b",
    "tar": r"photos\.tar|images?\b",
    "annotations": r"gqa|annotations",
    "fine run": r"fine|run",
    "run's tokenizer": r"tokenizer",
    "regions": r"regions?\b|shard-\d+",
    "sentences": r"sentences|shard-\d+",
    "checkpoint": r"checkpoint|step-00000004",
    "last kept": r"checkpoint|step-00000002",
    "fine checkpoint": r"checkpoint|step-00000004",
}
"""How a message may name an input, beside its own name."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One trial: what is made, which of its inputs changes, how, and what follows."""

    made: str
    changed: str
    change: str
    expected: str

    @property
    def command(self) -> str:
        return "run" if self.made == "resumed" else self.made

    @property
    def name(self) -> str:
        return f"{self.made}, {self.changed} {self.change}"


def _cells() -> list[Cell]:
    _, *rows = (re.split(r"  +", line.strip()) for line in MATRIX.strip().splitlines())
    return [
        Cell(made=made, changed=changed, change=change, expected=expected)
        for made, changed, *outcomes in rows
        for change, expected in zip(COLUMNS, outcomes, strict=True)
        if expected != "-"
    ]


CELLS = _cells()


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    root = tmp_path_factory.mktemp("workshop")
    with another_node(root) as address:
        yield Workshop(root=root, address=address)


@pytest.mark.parametrize(
    "cell",
    [
        pytest.param(
            cell,
            id=cell.name,
            marks=() if (cell.made, cell.changed, cell.change) in FAST else pytest.mark.slow,
        )
        for cell in CELLS
    ],
)
def test_a_changed_input_is_never_used_silently(shop, cell):
    if (cell.change, cell.changed) in NEEDED:
        shop.lay(NEEDED[cell.change, cell.changed])
    undisturbed = shop.run_again(cell.command)
    before = {} if not COMMANDS[cell.command].writes else shop.content(cell.command)
    if cell.made == "resumed":
        _forget_shards(shop.now / "run")
    paths = _change(shop, cell)
    laid = {} if not COMMANDS[cell.command].writes else shop.content(cell.command)  # an input may lie in the output
    result = shop.run(cell.command, paths=paths)
    outcome = _outcome(shop, cell, before, laid, undisturbed, result, paths)
    print(f"{cell.name}: {outcome}\n{result.text}")
    assert outcome == cell.expected, result.text


@pytest.mark.slow
def test_a_hundred_random_changes_in_a_row_lose_nothing(shop):
    generator = random.Random(0)
    cells = [cell for cell in CELLS if cell.made in IN_A_ROW and cell.change in CHANGES and cell.expected != "told"]
    for name in sorted({NEEDED[key] for cell in cells if (key := (cell.change, cell.changed)) in NEEDED} | IN_A_ROW):
        shop.lay(name)
    outcomes = Counter()
    for cell in generator.choices(cells, k=100):
        before = shop.content(cell.command)
        CHANGES[cell.change](shop, cell.changed)
        result = shop.run(cell.command)
        outcomes["refused" if result.status else "same"] += 1
        assert (result.status != 0) == (cell.expected == "refused"), f"{cell.name}: {result.text}"
        assert shop.content(cell.command) == before, cell.name
        shop.put_back(PLACES[cell.changed])
        assert shop.run(cell.command).status == 0, cell.name
        assert shop.content(cell.command) == before, cell.name
    print(f"a hundred changes in a row: {dict(outcomes)}")


def _change(shop: Workshop, cell: Cell) -> dict[str, Path | str]:
    """Change the input, and return the paths by which the command goes on to name it."""
    goes_by = GOES_BY.get(cell.changed, cell.changed)
    goes_by = "photos" if cell.changed in ("image file", "folder") else goes_by
    path = shop.now / PLACES[cell.changed]
    if cell.change in CHANGES:
        CHANGES[cell.change](shop, cell.changed)
        return {}
    if cell.change == "moved":
        place = shop.now / "elsewhere" / path.name
        place.parent.mkdir()
        path.rename(place)
        return {goes_by: place}
    if cell.change == "respelled":
        (shop.now / "link").symlink_to(shop.now)
        return {goes_by: f"{shop.now}/link/../now/./{PLACES[cell.changed]}"}
    return {goes_by: _on_the_node_alone(shop, cell)}


def _on_the_node_alone(shop: Workshop, cell: Cell) -> Path:
    """Return a path where this process finds the input as it was, and the cluster's workers another."""
    if not shop.seen_by_node.exists():
        pytest.skip("this process may not give Ray's processes a view of their own; it wants to be root")
    _forget_shards(shop.now / cell.command)
    name = PLACES[cell.changed].split("/")[0]
    for view, change in ((shop.seen_here, None), (shop.seen_by_node, put_another)):
        shutil.rmtree(view / name, ignore_errors=True)
        if change is not None:
            change(shop, cell.changed)
        source = shop.now / name
        shutil.copytree(source, view / name) if source.is_dir() else shutil.copy2(source, view / name)
    remove(shop.now / name)
    return shop.seen_here / name


def _forget_shards(out: Path) -> None:
    """A store has everything to do again; a run has, where its last checkpoint is gone."""
    for path in [*out.glob("shard-*"), *out.glob("checkpoints/step-00000004")]:
        remove(path)


def _outcome(shop, cell, before, laid, undisturbed, result: Result, paths) -> str:
    told = _tells(cell, result.text + shop.words(cell.command), undisturbed)
    is_print = not COMMANDS[cell.command].writes
    if result.status == QUARANTINED and told:
        return "refused"
    if result.status != 0:
        kept = is_print or shop.content(cell.command).items() <= laid.items()
        return "refused" if told and kept else f"silent: exit {result.status}, named: {told}, kept: {kept}"
    if is_print:
        return "same" if _said(result.text) == _said(undisturbed) else "told" if told else "anew"
    after = shop.content(cell.command)
    if cell.change in SAME_CONTENT:
        fresh = before
    else:
        again = shop.run(cell.command, out="fresh", paths=paths)
        assert again.status == 0, again.text
        fresh = shop.content("fresh")
    if after == fresh == before:
        return "same"
    if told and (before.items() <= after.items() or shop.words(cell.command)):
        return "told"
    if after == fresh:
        return "anew"
    return f"silent: exit {result.status}, as it was: {after == before}, told: {told}"


def _tells(cell: Cell, text: str, undisturbed: str) -> bool:
    """Return whether something that an undisturbed run does not say names the input."""
    name = NAMES.get(cell.changed, cell.changed)
    return any(re.search(name, said) for said in _said(text) - _said(undisturbed))


def _said(text: str) -> set[str]:
    """Return what a text says beside how much was made; numbers are alike, and folders too."""
    text = re.sub(r"\S+/(?=[^/\s]+)", "", text)
    said = re.split(r"[;\n]", re.sub(r"(?<![\w-])[\d.]+", "#", text))
    return {each for each in said if not re.search("made now|/s,|/s$| for # worker", each)}
