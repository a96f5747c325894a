"""`vinculum demo`: the commands a user would run, one after another, on the toy world."""

import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.commands.arguments import Out
from pipeline.commands.result import Result
from stores.programs.terminal import printable

LAYOUTS = {
    "coco-captions": "coco",
    "visual-genome": "visual_genome",
    "gqa": "gqa",
    "vqa-v2": "vqa_v2",
    "flickr30k-entities": "flickr30k_entities",
    "refcoco": "refcoco",
}
"""Data sets that the demo aligns, and their folders in the toy world."""


ABLATIONS = {"with-alignment": None, "without-alignment": "no-alignment"}
"""The two runs that the demo trains, and what is left out of the preset in each."""

Command = tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class DemoCommand:
    """Run the whole path on the toy world, on this machine, and end with three pages to look at.

    vinculum demo --out demo
    """

    out: Out = Path("demo")
    """Folder for the world, its shards, two runs and the pages; an interrupted demo goes on where it was."""
    images: int = 300
    """Number of images in the world."""
    steps: int = 600
    """Number of steps of each of the two trainings."""
    json: bool = False
    """Print one machine-readable summary as the last line."""

    def run(self) -> Result:
        summary = run_demo(self.out, self.images, self.steps)
        pages = (summary["regions_page"], summary["sentences_page"], summary["report_page"])
        return Result(summary=summary, lines=(f"look at {pages[0]}, {pages[1]} and {pages[2]}",))


def run_demo(out: Path, num_images: int, num_steps: int) -> dict[str, Any]:
    """Walk from a toy world to a report on two trained models; return where everything is.

    Pictures, regions, alignment targets; pre-training with and without them; what both know; the pages to look at.
    """
    world, regions, sentences = out / "world", out / "regions", out / "sentences"
    pages = {name: out / f"{name}.html" for name in ("regions", "sentences", "report")}
    started = time.monotonic()
    for module, commands in (
        ("pipeline.cli", _preparation(world, regions, sentences, pages, num_images)),
        ("training.cli", _training(out, regions, sentences, pages["report"], num_steps)),
    ):
        for command in commands:
            program = "vinculum" if module == "pipeline.cli" else "vinculum-train"
            print(printable(f"$ {program} {' '.join(command)}"), flush=True)
            status = subprocess.run([sys.executable, "-P", "-m", module, *command], check=False).returncode
            if status:
                raise ValueError(f"{program} {command[0]} ended with exit status {status}")
    return {
        **{name: str(path) for name, path in (("world", world), ("regions", regions), ("sentences", sentences))},
        **{f"{name}_page": str(path) for name, path in pages.items()},
        "seconds": round(time.monotonic() - started),
    }


def _preparation(
    world: Path, regions: Path, sentences: Path, pages: dict[str, Path], num_images: int
) -> Iterator[Command]:
    images, vectors = str(world / "images"), str(world / "vectors/toyworld_vectors.txt")
    sources = [f"{name}={world / folder}" for name, folder in LAYOUTS.items()]
    yield "toyworld", "--out", str(world), "--images", str(num_images), "--seed", "0"
    made = "--weights", "toyworld", "--ids", "own", "--shard-size", "64"
    yield "extract", "--images", images, *made, "--out", str(regions)
    yield "verify", str(regions)
    yield "inspect", str(regions), "--out", str(pages["regions"])
    yield "align", "--regions", str(regions), "--annotations", *sources, "--vectors", vectors, "--out", str(sentences)
    yield "verify", str(sentences)
    yield "doctor", "--regions", str(regions), "--sentences", str(sentences)
    yield "inspect", str(sentences), "--out", str(pages["sentences"])


def _training(out: Path, regions: Path, sentences: Path, page: Path, num_steps: int) -> Iterator[Command]:
    data = "--regions", str(regions), "--sentences", str(sentences)
    for name, ablation in ABLATIONS.items():
        run = str(out / name)
        change = ("--ablation", ablation) if ablation else ()
        yield "pretrain", "--preset", "toy", *change, *data, "--steps", str(num_steps), "--out", run
        yield "probe", "--run", run, *data, "--num-steps", "200"
        yield "evaluate", "--run", run, "--task", "gqa", *data
    runs = [f"{name}={out / name}" for name in ABLATIONS]
    yield "report", "--runs", *runs, *data, "--out", str(page)
