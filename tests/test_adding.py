"""Every row of CONTRIBUTING's table "one file, one line", performed in a copy of the sources.

One file is written and one line is added; then the tests of that table run over it, and the command line offers it.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
COPIED = ("annotations", "detectors", "stores", "pipeline", "training", "tests", "setup.cfg")


@dataclass(frozen=True, kw_only=True)
class Addition:
    """A row, as somebody would do it."""

    file: str = ""
    content: str = ""
    table: str
    """The file that has the table, and after a colon the table's name."""
    line: str
    tests: tuple[str, ...]
    """Files of the tests that run over the table."""
    name: str
    """In the table; those tests are chosen by it."""
    num_tests: int
    """At least so many of them have it."""
    imported: str = ""
    """The import that the line needs, where the table has classes."""
    offered: tuple[str, ...] = ()
    """A command whose help says the name."""


ADDITIONS = {
    "a data set": Addition(
        file="annotations/datasets/one_a_line.py",
        content='''
"""Captions, one a line: image, bar, caption; the file's name tells the split."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from annotations.datasets.data_set import DataSet
from annotations.datasets.text_files import read_lines, split_in_name
from annotations.guards.drops import DataError, Drops
from annotations.records import Sentence, SentenceImage


def read_records(path: Path, *, drops: Drops) -> Iterator[Any]:
    files = sorted(path.glob("*.captions"))
    if not files:
        raise DataError(f"{path}: no *.captions file, expected one or more")
    for file in files:
        for number, line in enumerate(read_lines(file)):
            image_id, bar, text = line.partition("|")
            if not bar:
                drops.add("line: no bar", f"{file}, line {number + 1}")
                continue
            yield [f"{file.stem}-{number}", image_id, text, split_in_name(file.stem, place=file)]


def to_sentences(record: Any, *, drops: Drops) -> Iterator[Sentence]:
    sentence_id, image_id, text, split = record
    yield Sentence(
        sentence_id=sentence_id, images=(SentenceImage(image_id=image_id),), text=text, source="one-a-line", split=split
    )


def sentence_ids(record: Any) -> Iterable[str]:
    return [record[0]]


def evaluation_images(path: Path, *, drops: Drops) -> Iterator[SentenceImage]:
    for _, image_id, _, split in read_records(path, drops=drops):
        if split != "train":
            yield SentenceImage(image_id=image_id)


DATA_SET = DataSet(
    read_records=read_records,
    to_sentences=to_sentences,
    sentence_ids=sentence_ids,
    evaluation_images=evaluation_images,
    place="a folder of *.captions files",
    example={"train.captions": "a1|a dog runs\\nb2|two cats\\n", "val.captions": "c3|a red car\\n"},
)
''',
        table="annotations/datasets/catalog.py:DATA_SETS",
        line='"one-a-line": "annotations.datasets.one_a_line:DATA_SET",',
        tests=("tests/annotations/datasets/test_data_set_contract.py",),
        name="one-a-line",
        num_tests=5,
    ),
    "a foreign format of features": Addition(
        file="stores/interchange/semicolons.py",
        content='''
"""One box a line: image;width;height;x1;y1;x2;y2;feature;feature ..."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from detectors.vocabulary import Vocabulary, numbered_vocabulary
from stores.interchange.rows import ImportedRegions, Row, Supplement, checked_regions

place = "a file of lines: image;width;height;x1;y1;x2;y2;feature ..."
needs_sizes = False
conventions = {"class_ids": "none in the file"}
example = {"features.scsv": b"7;640;480;0;0;10;20;0.5;1\\n8;640;480;1;1;10;20;2;3\\n"}


def _fields(path: Path) -> list[list[str]]:
    return [line.split(";") for line in path.read_text(errors="replace").splitlines()]


def looks_like(path: Path) -> bool:
    return path.is_file() and any(len(fields) > 7 for fields in _fields(path)[:1])


def list_rows(path: Path) -> Iterable[Row]:
    return [Row(image_id=fields[0], place=str(number)) for number, fields in enumerate(_fields(path))]


def read_row(path: Path, row: Row, supplement: Supplement) -> ImportedRegions:
    _, width, height, *numbers = _fields(path)[int(row.place)]
    values = np.array(numbers, np.float32)
    return checked_regions(
        row, supplement, size=(int(width), int(height)), boxes=values[None, :4], features=values[None, 4:]
    )


def own_vocabulary(path: Path) -> Vocabulary:
    return numbered_vocabulary(1, 1)
''',
        table="stores/interchange/catalog.py:FORMATS",
        line='"semicolons": "stores.interchange.semicolons",',
        tests=("tests/stores/interchange/test_interchange_catalog.py",),
        name="semicolons",
        num_tests=3,
        offered=("vinculum", "convert"),
    ),
    "a store": Addition(
        file="stores/formats/feather.py",
        content='''
"""Shards as `arrow` has them, under the suffix by which other programs know the format."""

from stores.formats.arrow import open_shard, write_sentences, write_shard

__all__ = ["open_shard", "suffix", "write_sentences", "write_shard"]

suffix = ".feather"
''',
        table="stores/catalog.py:STORES",
        line='"feather": "stores.formats.feather",',
        tests=(
            "tests/stores/formats/test_store_contract.py",
            "tests/stores/formats/test_sentence_store.py",
            "tests/stores/test_store_reading.py",
        ),
        name="feather",
        num_tests=40,
        offered=("vinculum", "extract"),
    ),
    "a detector": Addition(
        file="detectors/mean_colour.py",
        content='''
"""A grid of one cell: the image's mean colour."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from detectors.records import DecodedImage, GridFeatures, PreparedImage, as_float16
from detectors.request import DetectorRequest


@dataclass(frozen=True, kw_only=True)
class MeanColour:
    weights: str

    def describe(self) -> dict[str, Any]:
        return {"weights": self.weights}

    def prepare(self, image: DecodedImage) -> PreparedImage:
        means = torch.from_numpy(image.pixels_rgb).float().mean((0, 1))
        return PreparedImage(
            image_id=image.image_id,
            image_width=image.width,
            image_height=image.height,
            model_input=means[:, None, None],
        )

    def detect(self, images: Sequence[PreparedImage]) -> Sequence[GridFeatures]:
        return [
            GridFeatures(
                image_id=each.image_id,
                image_width=each.image_width,
                image_height=each.image_height,
                features=as_float16(each.image_id, each.model_input.permute(1, 2, 0).numpy()),
            )
            for each in images
        ]


def load(request: DetectorRequest, device: torch.device) -> MeanColour:
    return MeanColour(weights=request.weights)
''',
        table="detectors/catalog.py:DETECTORS",
        line='"mean-colour": DetectorKind(gives="grid", module="detectors.mean_colour"),',
        tests=("tests/detectors/test_detector_contract.py",),
        name="mean-colour",
        num_tests=3,
        offered=("vinculum", "extract"),
    ),
    "an experiment": Addition(
        file="training/experiments/more_steps.py",
        content='''
"""Do twice as many steps help to answer?"""

from dataclasses import replace

from training.experiments import alignment
from training.experiments.experiment import Experiment
from training.experiments.trial import Trial

ARMS: dict[str, str | None] = {"once": None, "twice": None}


def run_trial(trial: Trial) -> dict[str, float]:
    steps = trial.num_steps * (2 if trial.arm == "twice" else 1)
    return alignment.run_trial(replace(trial, arm="code", num_steps=steps))


def prepare_trial(trial: Trial) -> object:
    return alignment.prepare_trial(replace(trial, arm="code"))


EXPERIMENT = Experiment(arms=ARMS, num_steps=500, prepare=prepare_trial, run_trial=run_trial)
''',
        table="training/experiments/catalog.py:EXPERIMENTS",
        line='"more-steps": "training.experiments.more_steps:EXPERIMENT",',
        tests=("tests/training/experiments/test_experiment_contract.py",),
        name="more-steps",
        num_tests=2,
        offered=("vinculum-train", "experiment"),
    ),
    "a logged figure": Addition(
        file="training/logged/weights.py",
        content='''
"""How large the weights are."""

import torch

from training.logged.figure import LoggedFigure, Steps


def _norm(steps: Steps) -> float:
    return float(torch.nn.utils.get_total_norm(steps.model.parameters()))


WEIGHT_NORM = LoggedFigure(measure=_norm, told=lambda value: f"weights {value:.1f}")
''',
        table="training/logged/catalog.py:LOGGED",
        line='"weight_norm": "training.logged.weights:WEIGHT_NORM",',
        tests=("tests/training/test_logged_figures.py",),
        name="weight_norm",
        num_tests=2,
    ),
    "an objective": Addition(
        file="training/objectives/mean_state.py",
        content='''
"""States whose mean is no zero cost something."""

from dataclasses import dataclass

from torch import Tensor

from training.batch import Batch, EncoderOutputs
from training.objectives.objective import Objective, ObjectiveOptions
from training.objectives.sizes import Sizes


@dataclass(frozen=True, kw_only=True)
class MeanStateOptions(ObjectiveOptions):
    def build(self, sizes: Sizes) -> "MeanState":
        return MeanState(self, terms=("mean_state",))


class MeanState(Objective):
    def forward(self, outputs: EncoderOutputs, batch: Batch) -> dict[str, Tensor]:
        return {"mean_state": outputs.pooled.float().mean().square()}
''',
        table="training/objectives/catalog.py:Objectives",
        line="mean_state: MeanStateOptions | None = None",
        imported="from training.objectives.mean_state import MeanStateOptions",
        tests=("tests/training/objectives/test_objective_contract.py",),
        name="mean_state",
        num_tests=6,
    ),
    "a preset": Addition(
        file="training/runs/toy_words.py",
        content='''
"""Words alone: what a sentence tells of its own words, beside its image."""

from dataclasses import replace

from training.objectives.catalog import NO_OBJECTIVES
from training.objectives.masked_words import MaskedWordsOptions
from training.runs.presets import TOY

PRESET = replace(
    TOY,
    command="vinculum-train pretrain --preset toy-words --regions regions --sentences sentences --out words",
    objectives=replace(NO_OBJECTIVES, masked_words=MaskedWordsOptions()),
    ablations={},
)
''',
        table="training/runs/presets.py:PRESETS",
        line='"toy-words": "training.runs.toy_words:PRESET",',
        tests=("tests/training/runs/test_presets.py",),
        name="toy-words",
        num_tests=1,
        offered=("vinculum-train", "pretrain"),
    ),
    "an ablation": Addition(
        table="training/runs/presets.py:OBJECTIVE_ABLATIONS",
        line='"no-hidden-words": change_objectives(masked_words=None),',
        tests=("tests/training/runs/test_presets.py",),
        name="no-hidden-words",
        num_tests=3,
    ),
    "a command": Addition(
        file="pipeline/commands/count.py",
        content='''
"""What `vinculum count` takes; a field's docstring is its --help."""

from dataclasses import dataclass

from pipeline.commands.arguments import Store
from pipeline.commands.result import Result
from stores.manifest import read_manifest


@dataclass(frozen=True, kw_only=True)
class CountCommand:
    """Count the rows of a store.

    vinculum count regions
    """

    store: Store
    """Folder that extract, align or convert wrote."""
    json: bool = False
    """Print one machine-readable summary as the last line."""

    def run(self) -> Result:
        rows = sum(entry.rows for entry in read_manifest(self.store).shards)
        return Result(summary={"rows": rows}, lines=(f"{self.store}: {rows} rows",))
''',
        table="pipeline/cli.py:COMMANDS",
        line='"count": "pipeline.commands.count:CountCommand",',
        tests=("tests/pipeline/test_cli.py",),
        name="count",
        num_tests=2,
        offered=("vinculum",),
    ),
    "a task": Addition(
        file="training/tasks/yes_or_no.py",
        content='''
"""GQA's questions, answered with yes or no alone."""

from dataclasses import replace

from training.tasks.catalog import TASKS

TASK = replace(TASKS["gqa"], answers=("no", "yes"))
''',
        table="training/tasks/catalog.py:TASKS",
        line='"yes-or-no": "training.tasks.yes_or_no:TASK",',
        tests=("tests/training/tasks/test_task_contract.py",),
        name="yes-or-no",
        num_tests=3,
        offered=("vinculum-train", "finetune"),
    ),
    "an encoder": Addition(
        file="training/models/late_meeting.py",
        content='''
"""A single stream over words alone, and one over both."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Literal

import torch

from training.batch import Batch, EncoderOutputs
from training.models.encoder import Encoder
from training.models.single_stream import SingleStreamEncoder, SingleStreamShape


@dataclass(frozen=True, kw_only=True)
class LateMeetingShape(SingleStreamShape):
    kind: Literal["late-meeting"] = "late-meeting"  # type: ignore[assignment]
    num_layers: int = 2

    def build(self) -> Encoder:
        return LateMeetingEncoder(self)


class LateMeetingEncoder(SingleStreamEncoder):
    def forward(self, batch: Batch, taps: Collection[str] = (), *, keep_states: bool = False) -> EncoderOutputs:
        outputs = super().forward(batch, taps, keep_states=keep_states)
        words = replace(batch, region_mask=torch.zeros_like(batch.region_mask))
        return replace(outputs, pooled=outputs.pooled + super().forward(words).pooled)
''',
        table="training/models/catalog.py:ENCODERS",
        line='"late-meeting": "training.models.late_meeting:LateMeetingShape",',
        tests=("tests/training/models/test_encoder_contract.py",),
        name="late-meeting",
        num_tests=5,
    ),
}


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    """A copy of the sources with every row's file and line."""
    place = tmp_path_factory.mktemp("sources")
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, place / name, ignore=shutil.ignore_patterns("__pycache__", "benchmarks"))
        else:
            shutil.copy(ROOT / name, place / name)
    for addition in ADDITIONS.values():
        if addition.file:
            assert not (place / addition.file).exists()
            (place / addition.file).write_text(addition.content.lstrip("\n"), encoding="utf-8")
        add_line(place, addition)
    return place


def add_line(place, addition):
    """The table has one line more, and no other line of its file is another one."""
    file, _, table = addition.table.partition(":")
    lines = (place / file).read_text(encoding="utf-8").splitlines()
    begin = next(number for number, line in enumerate(lines) if re.match(rf"(class )?{table}\b.*[({{:]$", line))
    first = next(number for number in range(begin + 1, len(lines)) if re.match(r' +("[\w-]+"|\w+):', lines[number]))
    indent = len(lines[first]) - len(lines[first].lstrip())
    lines.insert(first, " " * indent + addition.line)
    if addition.imported:
        lines.insert(next(number for number, line in enumerate(lines) if line.startswith("from ")), addition.imported)
    (place / file).write_text("\n".join(lines) + "\n", encoding="utf-8")


def run_in(scratch, *arguments, **environment):
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=scratch,
        env=os.environ | {"PYTHONPATH": str(scratch), "COLUMNS": "500"} | environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def outcomes(scratch):
    """How each test ended that has an addition's name; all in one process, as torch is slow to load."""
    files = sorted({file for addition in ADDITIONS.values() for file in addition.tests})
    chosen = " or ".join(addition.name for addition in ADDITIONS.values())
    ran = run_in(scratch, "-m", "pytest", "-p", "no:cacheprovider", "-vv", "--durations=6", "-k", chosen, *files)
    found = re.findall(r"^(tests/\S+\.py)::(.+?) (PASSED|FAILED|ERROR|SKIPPED)", ran.stdout, re.MULTILINE)
    assert found, ran.stdout + ran.stderr
    return ran, found


def test_the_rows_are_those_of_contributing_and_the_files_and_tables_are_those_that_it_names():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").partition("## Adding things")[2].partition("\n## ")[0]
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("| a")
    ]
    assert {name for name, _, _ in rows} == ADDITIONS.keys()
    for name, written, line_in in rows:
        file, _, table = ADDITIONS[name].table.partition(":")
        assert f"`{file}`" in line_in and f"`{table}`" in line_in, name
        folder = str(Path(ADDITIONS[name].file).parent)
        assert not ADDITIONS[name].file or f"`{folder}/<name>.py`" in written, name


@pytest.mark.parametrize("row", ADDITIONS)
def test_one_file_and_one_line_are_enough_for_the_tests_of_the_table(row, outcomes):
    addition, (ran, found) = ADDITIONS[row], outcomes
    its_own = [each for each in found if each[0] in addition.tests and addition.name in each[1]]
    assert [each for each in its_own if each[2] in ("FAILED", "ERROR")] == [], ran.stdout
    assert sum(each[2] == "PASSED" for each in its_own) >= addition.num_tests
    assert {each[0] for each in its_own} == set(addition.tests)


OFFERED = {row: addition for row, addition in ADDITIONS.items() if addition.offered}

_HELPS = """
import contextlib, io, json, sys
import pipeline.cli, training.cli
helps = []
for program, *command in json.loads(sys.argv[1]):
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said), contextlib.suppress(SystemExit):
        {"vinculum": pipeline.cli, "vinculum-train": training.cli}[program].main(command)
    helps.append(said.getvalue())
print(json.dumps(helps))
"""


@pytest.fixture(scope="module")
def helps(scratch):
    """What the command line says of each addition that it offers, and of a data set that is not there."""
    asked = [[*addition.offered, "--help"] for addition in OFFERED.values()]
    asked.append(["vinculum", "align", "--annotations", "none=x", "--out", "o", "--images", "i"])
    ran = run_in(scratch, "-c", _HELPS, json.dumps(asked))
    assert ran.returncode == 0, ran.stderr
    return dict(zip([*OFFERED, "a data set"], json.loads(ran.stdout.splitlines()[-1]), strict=True))


@pytest.mark.parametrize("row", [*OFFERED, "a data set"])
def test_the_command_line_offers_it(row, helps):
    name = ADDITIONS[row].name
    assert re.search(rf"[{{,. ]{re.escape(name)}[,}}. ]", helps[row]), helps[row]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_type_checker_takes_what_was_added(scratch):
    ran = run_in(scratch, "-m", "mypy", "--cache-dir", ".types")
    assert ran.returncode == 0, ran.stdout
