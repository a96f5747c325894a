"""A folder with every input of the commands and with what they made of them, laid anew for each trial."""

import html
import io
import json
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path

import pipeline.cli
import training.cli
from annotations.toyworld.world import write_toy_world
from detectors.weights.files import SHIPPED, read_weights
from training.data.tokenizer import train_tokenizer

_NONCE = re.compile(rb'nonce[-="]+[0-9a-f]{32}')
HERE, THERE = "here", "there"
NUM_IMAGES = 12
IMAGE_BYTES = 48 * 1024
"""Every image file is padded to this size, so that any two can be exchanged."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """How a command ended, and all that it printed."""

    status: int
    text: str


@dataclass(frozen=True, kw_only=True)
class Command:
    """One command line; `{name}` in it stands for the path of an input, or of what another command made."""

    line: str
    needs: tuple[str, ...] = ()
    """The commands whose outputs it reads."""
    writes: bool = True
    """Whether it has an `--out`."""


_EXTRACT = "extract --weights {weights} --shard-size 4 --workers 1"
_ALIGN = "align --annotations gqa={gqa} --shard-size 40 --workers 1"
_STORES = "--regions {regions} --sentences {sentences}"
_STEPS = "--steps 4 --checkpoint-every 2 --log-every 1 --batch-size 8 --loader-workers 0 --device cpu"

COMMANDS = {
    "regions": Command(line=f"{_EXTRACT} --images {{photos}}"),
    "from-list": Command(line=f"{_EXTRACT} --images {{list}}"),
    "from-tar": Command(line=f"{_EXTRACT} --images {{tar}}"),
    "described": Command(line=f"{_EXTRACT} --images {{photos}} --boxes {{boxes}}"),
    "named": Command(line=f"{_EXTRACT} --images {{photos}} --vocabulary {{vocabulary}}"),
    "other-regions": Command(line=f"{_EXTRACT} --images {{other-photos}}"),
    "fewer-regions": Command(line=f"{_EXTRACT} --images {{photos}} --num-boxes 20"),
    "sentences": Command(line=f"{_ALIGN} --regions {{regions}} --vectors {{vectors}}", needs=("regions",)),
    "sentences-of-files": Command(line=f"{_ALIGN} --images {{photos}}"),
    "sentences-of-list": Command(line=f"{_ALIGN} --images {{list}}"),
    "sentences-of-tar": Command(line=f"{_ALIGN} --images {{tar}}"),
    "other-sentences": Command(
        line="align --annotations gqa={other-gqa} --shard-size 40 --workers 1 --regions {regions} --vectors {vectors}",
        needs=("regions",),
    ),
    "span-sentences": Command(
        line=f"{_ALIGN} --regions {{regions}} --vectors {{vectors}} --unit span", needs=("regions",)
    ),
    "run": Command(
        line=f"pretrain {_STORES} {_STEPS} --tokenizer {{tokenizer}} --answers {{answers}}",
        needs=("regions", "sentences"),
    ),
    "other-run": Command(
        line=f"pretrain {_STORES} {_STEPS} --tokenizer {{tokenizer}} --answers {{answers}} --seed 1",
        needs=("regions", "sentences"),
    ),
    "single-stream-run": Command(
        line=f"pretrain {_STORES} {_STEPS} --preset toy-single-stream --sources gqa --tokenizer {{tokenizer}}",
        needs=("regions", "sentences"),
    ),
    "fine": Command(
        line=f"finetune --task gqa --start {{run}} {_STORES} {_STEPS} --answers {{answers}}",
        needs=("regions", "sentences", "run"),
    ),
    "other-fine": Command(
        line=f"finetune --task gqa --start {{run}} {_STORES} {_STEPS} --answers {{answers}} --seed 1",
        needs=("regions", "sentences", "run"),
    ),
    "scores": Command(
        line=f"evaluate --run {{fine}} {_STORES} --split val --answers {{answers}} --device cpu",
        needs=("regions", "sentences", "run", "fine"),
    ),
    "report.html": Command(
        line=f"report --runs one={{run}} {_STORES} --sentences-shown 2", needs=("regions", "sentences", "run")
    ),
    "page.html": Command(line="inspect {regions}", needs=("regions",)),
    "sentences.html": Command(line="inspect {sentences}", needs=("regions", "sentences")),
    "files.html": Command(line="inspect {sentences-of-files}", needs=("sentences-of-files",)),
    "whole": Command(line="verify {regions}", needs=("regions",), writes=False),
    "whole-sentences": Command(line="verify {sentences}", needs=("regions", "sentences"), writes=False),
    "health": Command(
        line="doctor --regions {regions} --sentences {sentences}", needs=("regions", "sentences"), writes=False
    ),
}
"""By the name of what each makes."""

INPUTS = {
    "photos": "photos",
    "other-photos": "other/photos",
    "list": "photos.tsv",
    "tar": "photos.tar",
    "weights": "weights.safetensors",
    "boxes": "boxes.json",
    "vocabulary": "vocabulary",
    "gqa": "gqa",
    "other-gqa": "other/gqa",
    "vectors": "vectors.txt",
    "tokenizer": "tokenizer.json",
    "answers": "answers.json",
}
"""Where each lies in the workshop."""


@dataclass
class Workshop:
    """Inputs and outputs in `root / "now"`; what was made once is kept in `root / "kept"`, as it was made."""

    root: Path
    address: str
    """The Ray cluster on which everything runs."""
    _made: set[str] = field(default_factory=set)
    _again: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _lay_inputs(self.kept)

    @property
    def seen_here(self) -> Path:
        """A folder of this process; the cluster's processes have another one at its place."""
        return self.root / HERE

    @property
    def seen_by_node(self) -> Path:
        """What the cluster's processes have there; absent where they could not be given a view of their own."""
        return self.root / THERE

    @property
    def kept(self) -> Path:
        return self.root / "kept"

    @property
    def now(self) -> Path:
        return self.root / "now"

    def lay(self, name: str) -> None:
        """The workshop is as it was after `name` was made."""
        for made in (*COMMANDS[name].needs, name):
            if made not in self._made:
                self._lay_kept()
                result = self.run(made)
                assert result.status == 0, f"{made}: {result.text}"
                self._made.add(made)
                shutil.rmtree(self.kept)
                shutil.copytree(self.now, self.kept, symlinks=True)
        self._lay_kept()

    def run_again(self, name: str) -> str:
        """The workshop is as it was after `name` was made; returns what is printed if that is asked for once more."""
        self.lay(name)
        if name not in self._again:
            result = self.run(name)
            assert result.status == 0, f"{name}, again: {result.text}"
            self._again[name] = result.text + self.words(name)
            self._lay_kept()
        return self._again[name]

    def run(self, name: str, *, out: str | None = None, paths: Mapping[str, Path | str] | None = None) -> Result:
        """Run the command that makes `name` on the inputs as they are now, or on those at other `paths`."""
        places = {key: self.now / place for key, place in INPUTS.items()} | {key: self.now / key for key in COMMANDS}
        command = COMMANDS[name]
        words = command.line.format(**places | dict(paths or {})).split()
        if command.writes:
            words += ["--out", str(self.now / (out or name))]
        if words[0] in ("extract", "align", "pretrain", "finetune"):
            words += ["--address", self.address]
        program = training.cli if words[0] in ("pretrain", "finetune", "evaluate", "report") else pipeline.cli
        printed = io.StringIO()
        with redirect_stdout(printed), redirect_stderr(printed):
            try:
                status = program.main(words)
            except SystemExit as end:  # as the argument parser ends
                status = int(end.code or 0)
        return Result(status=status, text=printed.getvalue())

    def put_back(self, place: str) -> None:
        """An input is as it was when it was laid; what commands made of it stays."""
        path, kept = self.now / place, self.kept / place
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        shutil.copytree(kept, path) if kept.is_dir() else shutil.copy2(kept, path)

    def words(self, name: str) -> str:
        """Return what a page says; nothing of an output that is none."""
        if not name.endswith(".html") or not (self.now / name).exists():
            return ""
        page = re.sub(r"(?s)<(script|style)\b.*?</\1>", "", (self.now / name).read_text())
        return re.sub(r"\s*\n\s*", "\n", html.unescape(re.sub(r"<[^>]*>", "\n", page)))

    def content(self, name: str) -> dict[str, bytes]:
        """Return what of an output must be equal in two equal runs, by file name."""
        path = self.now / name
        if path.is_file():
            return {"": _NONCE.sub(b"", path.read_bytes())}
        files = {each.relative_to(path).as_posix(): each for each in sorted(path.rglob("*")) if each.is_file()}
        return {below: each.read_bytes() for below, each in files.items() if _is_content(each)}

    def _lay_kept(self) -> None:
        if self.now.exists():
            shutil.rmtree(self.now)
        shutil.copytree(self.kept, self.now, symlinks=True)


_CLUSTER = """
import sys
from ray.cluster_utils import Cluster
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
print(cluster.address, flush=True)
sys.stdin.read()
cluster.shutdown()
"""
_OTHER_VIEW = 'mount --bind "$1" "$2" && shift 2 && exec "$@"'


@contextmanager
def another_node(root: Path) -> Iterator[str]:
    """Yield the address of a Ray cluster whose processes see `root / THERE` at `root / HERE`, as another machine might.

    Where this process may not mount, they see what all see, and there is no `root / THERE`.
    """
    here, there = root / HERE, root / THERE
    here.mkdir()
    there.mkdir()
    begin = ["unshare", "--mount", "--propagation", "private", "sh", "-c", _OTHER_VIEW, "sh", str(there), str(here)]
    if subprocess.run([*begin, "true"], capture_output=True).returncode:
        there.rmdir()
        begin = []
    with subprocess.Popen(
        [*begin, sys.executable, "-c", _CLUSTER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.communicate(timeout=60)


def _is_content(path: Path) -> bool:
    """Return whether the bytes follow from the inputs: not times, paths and what an observer wrote down."""
    return path.name.startswith(("shard-", "submission-", "scores-")) or path.name == "model.safetensors"


def _lay_inputs(folder: Path) -> None:
    world = folder.parent / "world"
    write_toy_world(world, num_images=NUM_IMAGES, seed=3)
    photos = folder / "photos"
    photos.mkdir(parents=True)
    names = sorted(path.name for path in (world / "images").iterdir())
    for name in names:
        (photos / name).write_bytes((world / "images" / name).read_bytes().ljust(IMAGE_BYTES, b"\0"))
    (folder / "photos.tsv").write_text("".join(f"{name.partition('.')[0]}\tphotos/{name}\n" for name in names))
    with tarfile.open(folder / "photos.tar", "w") as archive:
        for name in names:
            archive.add(photos / name, name)
    shutil.copy(SHIPPED["toyworld"], folder / "weights.safetensors")
    (folder / "boxes.json").write_text(json.dumps({name.partition(".")[0]: [[10, 10, 90, 80]] for name in names}))
    shutil.copytree(world / "gqa", folder / "gqa")
    shutil.copy(world / "vectors/toyworld_vectors.txt", folder / "vectors.txt")
    _lay_vocabulary(folder / "vocabulary")
    _lay_texts(folder)
    _lay_others(folder, names)


def _lay_vocabulary(folder: Path) -> None:
    """The names that the weights have themselves, as the two files of bottom-up-attention."""
    names = read_weights("toyworld", {}).vocabulary
    assert names is not None
    folder.mkdir()
    (folder / "objects_vocab.txt").write_text("".join(f"{name}\n" for name in names.classes))
    (folder / "attributes_vocab.txt").write_text("".join(f"{name}\n" for name in names.attributes))


def _lay_texts(folder: Path) -> None:
    """A tokenizer and a table of answers, of the questions."""
    questions = json.loads((folder / "gqa/train_balanced_questions.json").read_text()).values()
    tokenizer = train_tokenizer((question["question"] for question in questions), vocab_size=300)
    tokenizer.save(folder)
    answers = sorted({question["answer"] for question in questions})
    (folder / "answers.json").write_text(json.dumps(answers))


def _lay_others(folder: Path, names: list[str]) -> None:
    """Photos whose contents have gone round by one, and questions of which one is another."""
    others = folder / "other/photos"
    others.mkdir(parents=True)
    for name, source in zip(names, [*names[1:], names[0]], strict=True):
        shutil.copy(folder / "photos" / source, others / name)
    shutil.copytree(folder / "gqa", folder / "other/gqa")
    exchange(folder / "other/gqa/train_balanced_questions.json", "Is ", "Iz ")


def exchange(path: Path, old: str, new: str) -> None:
    """The first `old` in the file is `new`, of equal length."""
    text = path.read_text()
    assert old in text and len(old) == len(new), path
    path.write_text(text.replace(old, new, 1))
