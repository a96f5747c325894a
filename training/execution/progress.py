"""What a run tells while it trains: lines of `metrics.jsonl`, TensorBoard's curves, and a line for people.

The rank that trains writes; whoever started the run may be on another machine, and reads the file as it grows.
"""

import json
import os
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import torch
from torch import nn
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from annotations.guards.drops import DataError
from annotations.guards.plain_json import parse_json
from annotations.guards.shown import shown
from stores.atomic import replacing
from stores.errors import about
from stores.programs.terminal import printable
from stores.programs.volume import is_quiet, shows_bar
from training.execution.loop import StepReport
from training.logged.catalog import LOGGED
from training.logged.figure import Steps

METRICS, SKIPPED = "metrics.jsonl", "skipped_images.txt"
_MAX_COUNT = 1 << 53
"""Above it a float is no whole number any more, and far above it none at all."""


class MetricsLog:
    """Appends a line for every few steps to a run's `metrics.jsonl`, and to TensorBoard; a context manager."""

    def __init__(
        self, folder: Path, *, first: int, every: int, device: torch.device, num_ranks: int, model: nn.Module
    ) -> None:
        """Lines of steps after `first`, from an attempt that was killed, are gone."""
        self._path = folder / METRICS
        self._every = every
        self._device = device
        self._num_ranks = num_ranks
        self._model = model
        self._reports: list[StepReport] = []
        self._waited = 0.0
        forget_after(self._path, first)
        self._file = self._path.open("a", encoding="utf-8")
        self._curves = SummaryWriter(str(folder / "tensorboard"), purge_step=first + 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        """What is not told yet, is; of a run that failed, that is what one wants to see."""
        self.write()
        self._file.close()
        self._curves.close()

    def add(self, report: StepReport, waited: float) -> None:
        """Take one step, for which data was waited so many seconds."""
        self._reports.append(report)
        self._waited += waited
        if report.step % self._every == 0:
            self.write()

    def draw(self, values: Mapping[str, float], step: int) -> None:
        """Other figures of a step are drawn, each as a curve of its own."""
        for name, value in values.items():
            self._curves.add_scalar(name, value, step)

    def write(self) -> None:
        """Means over the steps since the last line are on disk, and drawn."""
        if not self._reports:
            return
        last, count = self._reports[-1], len(self._reports)
        steps = Steps(
            reports=self._reports,
            waited=self._waited,
            num_ranks=self._num_ranks,
            device=self._device,
            model=self._model,
        )
        line: dict[str, Any] = {
            "step": last.step,
            "loss": sum(report.loss for report in self._reports) / count,
            "terms": {name: sum(each.terms[name] for each in self._reports) / count for name in last.terms},
            **{name: figure.measure(steps) for name, figure in LOGGED.items()},
            "time": time.time(),
        }
        self._name_skipped()
        with about(self._path):
            self._file.write(json.dumps(line) + "\n")
            self._file.flush()
        curves = {**line, **{f"terms/{name}": value for name, value in line["terms"].items()}}
        shown = {name: value for name, value in curves.items() if isinstance(value, float) and name != "time"}
        self.draw(shown, last.step)
        self._reports, self._waited = [], 0.0

    def _name_skipped(self) -> None:
        """Every image that was ever skipped has its line."""
        path = self._path.with_name(SKIPPED)
        found = {image for report in self._reports for image in report.skipped_images} - set(read_skipped(path.parent))
        if found:
            with path.open("a", encoding="utf-8") as file:
                file.writelines(f"{image}\n" for image in sorted(found))


def read_skipped(folder: Path) -> list[str]:
    """Return the images that a run has skipped, each once and with the reason."""
    path = folder / SKIPPED
    return path.read_text(encoding="utf-8", errors="backslashreplace").splitlines() if path.exists() else []


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """Return the lines of a run's `metrics.jsonl`; a last one that is not finished is left out.

    Raises:
        DataError: another one is damaged; names the file and the line.
    """
    return _Tail(folder / METRICS).read()


def _parsed(path: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        found = parse_json(line)
    except ValueError:
        found = None
    match found:
        case {"step": int(step), "loss": loss, "terms": dict(terms)} if all(map(_is_number, (loss, *terms.values()))):
            if 0 < step <= _MAX_COUNT:
                return found
    raise DataError(
        f"{path}, line {number}: found {shown(line[:40])}, expected a JSON object with step, loss and terms; take this "
        "line out, which nothing but curves is drawn from"
    )


def _is_number(value: object) -> bool:
    return type(value) is float or (type(value) is int and abs(value) <= _MAX_COUNT)


@contextmanager
def showing(folder: Path, *, num_steps: int) -> Iterator[None]:
    """While the body runs, what the run writes is shown: a bar on a terminal, lines elsewhere."""
    done = threading.Event()
    tail = _Tail(folder / METRICS)
    begun_at = max((line["step"] for line in tail.read()), default=0)
    bar = tqdm(
        total=num_steps, initial=begun_at, unit="step", file=sys.stderr, disable=not shows_bar(sys.stderr)
    )  # fmt: skip

    def follow(seen: int) -> None:
        while not done.wait(0.5):
            seen = _show(tail, seen, bar)
        _show(tail, seen, bar)

    thread = threading.Thread(target=follow, args=(begun_at,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        bar.close()


def progress_line(line: dict[str, Any]) -> str:
    """Return one line of `metrics.jsonl` as people read it."""
    terms = "  ".join(f"{name} {value:.3f}" for name, value in line["terms"].items())
    figures = [figure.told(line[name]) for name, figure in LOGGED.items() if name in line]
    return "  ".join((f"step {line['step']}", f"loss {line['loss']:.3f}", terms, *filter(None, figures)))


class _Tail:
    """Reads what a file of lines has got since it was last read, or all of it where it was replaced."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._inode = 0
        self._offset = self._num_lines = 0

    def read(self) -> list[dict[str, Any]]:
        if not self._path.exists():
            return []
        with self._path.open("rb") as file:
            inode = os.fstat(file.fileno()).st_ino
            if inode != self._inode:
                self._inode, self._offset, self._num_lines = inode, 0, 0
            file.seek(self._offset)
            whole, end, _ = file.read().rpartition(b"\n")
        self._offset += len(whole + end)
        lines = whole.split(b"\n") if end else []
        first = self._num_lines + 1
        self._num_lines += len(lines)
        return [_parsed(self._path, number, line) for number, line in enumerate(lines, start=first)]


def _show(tail: _Tail, seen: int, bar: Any) -> int:
    new = [line for line in tail.read() if line["step"] > seen]
    for line in new:
        bar.update(line["step"] - bar.n)
        if not is_quiet():
            tqdm.write(printable(progress_line(line)), file=sys.stderr)
    return int(new[-1]["step"]) if new else seen


def forget_after(path: Path, step: int) -> None:
    """The file has no line of a later step, from an attempt that was killed."""
    lines = read_metrics(path.parent)
    with replacing(path) as temporary:
        kept = [json.dumps(line) + "\n" for line in lines if line["step"] <= step]
        temporary.write_text("".join(kept), encoding="utf-8")
