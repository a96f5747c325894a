"""`vinculum-train probe`."""

import json
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from annotations.guards.drops import DataError
from detectors.devices import AskedDevice, device_of
from stores.atomic import write_json
from stores.manifest import fingerprint, read_manifest
from stores.programs.terminal import printable, printable_lines
from stores.store_content import shards_since
from training.data.batches import BatchMaker, BatchOptions
from training.data.identity import CONTENT, compare_with_learnt
from training.data.shards import JoinedShards, open_shards
from training.model import Model
from training.models.visual_parser import VisualParserShape
from training.probes.alignment import AlignmentAccuracy, measure_alignment
from training.probes.linear import ProbeOptions
from training.probes.modalities import MODALITIES, EvaluationPairs, Modalities, measure_modalities
from training.probes.pointed_words import NothingPointedError
from training.report.tables import as_markdown, figure_rows
from training.runs.folder import Run, named_folders
from training.weights.ours import load_model, load_run

PROBE = "probe.json"


@dataclass(frozen=True, kw_only=True)
class ProbeCommand:
    """Measure on frozen runs which regions their words find, and how they keep words and regions apart.

    vinculum-train probe --run run --regions regions --sentences sentences

    Regions are found by the alignment decoder, by each layer's attention and by a linear probe. For each layer it also
    reports how much attention crosses between words and regions, and how well two clusters of states separate them.
    With --all, one table compares several runs on the same sentences.
    """

    source: Annotated[Path | None, tyro.conf.arg(name="run", metavar="DIR")] = None
    """Run or checkpoint to measure; probe.json and modalities.json are written beside its recipe."""
    all: tuple[str, ...] = ()
    """NAME=RUN, any number, instead of --run: each run is measured, and one table compares them by these names."""
    regions: Annotated[tuple[Path, ...], tyro.conf.arg(metavar="DIR...")] = ()
    """Stores that vinculum extract wrote; with several, each run of --all takes the one that it learnt from."""
    images: Annotated[tuple[str, ...], tyro.conf.arg(metavar="PATH...")] = ()
    """Image files, as vinculum extract takes them, for a run that learnt from images.
    Sentences of images that cannot be decoded are left out, and the images are named."""
    sentences: Annotated[Path, tyro.conf.arg(metavar="DIR")]
    """Store that vinculum align wrote, with these regions.
    Sources that the run learnt from are measured; with several runs, those that all of them learnt from."""
    split: Literal["val", "test"] = "val"
    """Split whose sentences are measured; the linear probe learns on those of train."""
    measure: tuple[Literal["alignment", "modalities"], ...] = ("alignment", "modalities")
    """Measurements to make; `alignment` needs words that point at something, `modalities` any sentence."""
    modality_sentences: int = 1000
    """Number of sentences, spread evenly over the split, for the flow between words and regions."""
    average: bool = False
    """Take the moving average of the weights, where the run keeps one."""
    probe: Annotated[ProbeOptions, tyro.conf.arg(name="")] = field(default_factory=ProbeOptions)
    device: AskedDevice = "auto"
    """Device to compute on; `auto` takes a GPU if this machine has one."""
    json: bool = False
    """Print one machine-readable summary as the last line."""

    def run(self) -> dict[str, Any]:
        """Measure, write the figures into the runs' folders, and return them; of several runs also print the table."""
        if (self.source is None) == (not self.all):
            raise ValueError("expected either --run DIR, one run, or --all NAME=RUN, any number")
        if self.modality_sentences < 1:
            raise ValueError(f"--modality-sentences is {self.modality_sentences}, expected at least 1")
        if self.source is not None:
            return {"run": str(self.source), **self._measure(self.source, load_run(self.source).recipe.sources)}
        folders = named_folders("--all", self.all)
        learnt = [load_run(folder).recipe.sources for folder in folders.values()]
        shared = [source for source in learnt[0] if all(source in sources for sources in learnt)]
        found = {name: self._measure(folder, shared, told_as=name) for name, folder in folders.items()}
        rows = figure_rows([_compared(figures) for figures in found.values()])
        print(printable_lines(as_markdown(rows, list(found))))
        if not self.json:
            return {"runs": len(found)}
        return {"runs": {name: {"run": str(folders[name]), **figures} for name, figures in found.items()}}

    def _measure(self, folder: Path, sources: Iterable[str], *, told_as: str | None = None) -> dict[str, Any]:
        """Measure one run on sentences of these sources, write its files and return its figures.

        A run that has a name is one of several: where no word points at its regions that is said, and it has no figure.
        """
        run, model = load_model(folder, average=self.average)
        figures: dict[str, Any] = {"split": self.split}
        with self._open(run) as shards:
            compare_with_learnt(shards, run.recipe.data, run.folder)
            maker = BatchMaker(shards, run.tokenizer, BatchOptions(max_pieces=run.recipe.batches.max_pieces))
            chosen = [source for source in sources if source in shards.sources] or None
            if "modalities" in self.measure:
                modalities, skipped = self._modalities(model, maker, chosen)
                measured = asdict(modalities) | ({"skipped": skipped} if skipped else {})
                write_json(run.folder / MODALITIES, {"split": self.split, **measured})
                figures["modalities"] = {**measured, "summary": modalities.summary}
            if "alignment" in self.measure:
                try:
                    accuracy = json.loads(json.dumps(asdict(self._alignment(model, maker, chosen))))
                except NothingPointedError as error:
                    is_expected = not shards.is_aligned and "modalities" in self.measure
                    if told_as is None and not is_expected:
                        raise
                    print(printable(f"{told_as or folder}: no alignment to measure: {error}"), file=sys.stderr)
                    accuracy = {}
                else:
                    write_json(run.folder / PROBE, {"split": self.split, **accuracy})
                figures |= accuracy
        return figures

    def _open(self, run: Run) -> JoinedShards:
        """Return the sentences joined with what the run's encoder sees; what other runs see is passed over."""
        shape = run.recipe.encoder
        if isinstance(shape, VisualParserShape) and shape.trunk is not None:
            return open_shards(shape, regions=None, images=self.images, sentences=self.sentences)
        regions = self.regions[0] if len(self.regions) == 1 else self._learnt_on(run)
        return open_shards(shape, regions=regions, sentences=self.sentences)

    def _learnt_on(self, run: Run) -> Path | None:
        """Return of the stores that which the run learnt on, by its settings and, as far as recorded, its content."""
        manifests = {folder: read_manifest(folder) for folder in self.regions}
        found = {folder: fingerprint(each.configuration) for folder, each in manifests.items()}
        expected, content = str(run.recipe.data.get("regions")), run.recipe.data.get(CONTENT)
        of_settings = [folder for folder, each in found.items() if each == expected]
        if found and not of_settings:
            told = ", ".join(f"{folder} has {each}" for folder, each in found.items())
            raise DataError(
                f"{run.folder} learnt on regions of fingerprint {expected}; {told}; expected its own among them"
            )
        of_content = [
            folder for folder in of_settings if content and shards_since(manifests[folder], content) is not None
        ]
        return next(iter(of_content or of_settings), None)

    def _modalities(self, model: Model, maker: BatchMaker, sources: list[str] | None) -> tuple[Modalities, list[str]]:
        """Return what was measured, and the images that gave no picture, with the reasons."""
        numbers = maker.shards.select(splits=(self.split,), sources=sources)
        pairs = EvaluationPairs(maker, numbers, self.modality_sentences)
        return measure_modalities(model, pairs, self._device), sorted(pairs.skipped.values())

    def _alignment(self, model: Model, maker: BatchMaker, sources: list[str] | None) -> AlignmentAccuracy:
        if not maker.shards.is_aligned:
            raise NothingPointedError(
                f"{maker.shards.sentences.folder}: its words point at what it was aligned with, not at these "
                f"{maker.shards.side.noun}; expected those regions, or --measure modalities"
            )
        return measure_alignment(
            model,
            maker,
            train=maker.shards.select(splits=("train",), sources=sources),
            test=maker.shards.select(splits=(self.split,), sources=sources),
            options=self.probe,
            device=self._device,
        )

    @property
    def _device(self) -> str:
        return device_of(self.device)


def _compared(figures: dict[str, Any]) -> dict[str, Any]:
    """Return what stands in the table: what was measured on what, and of the layers' modalities the summary."""
    figures = dict(figures)
    modalities = dict(figures.pop("modalities", {}))
    modalities.pop("layers", None)
    return {**figures, **modalities.pop("summary", {}), **modalities}
