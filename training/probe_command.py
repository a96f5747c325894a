"""`vinculum-train probe`."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from stores.atomic import write_json
from training.batches import BatchMaker, BatchOptions
from training.launch import has_gpu
from training.probes.alignment import measure_alignment
from training.probes.linear_probe import ProbeOptions
from training.shards import JoinedShards
from training.weights import load_model

PROBE = "probe.json"


@dataclass(frozen=True, kw_only=True)
class ProbeCommand:
    """Measure on a frozen run which regions its words find: by decoder, by attention, by a linear probe.

    vinculum-train probe --run run --regions regions --sentences sentences
    """

    source: Annotated[Path, tyro.conf.arg(name="run", metavar="DIR")]
    """A run, or one of its checkpoints; the figures go to probe.json beside its recipe."""
    regions: Annotated[Path, tyro.conf.arg(metavar="DIR")]
    """The store that vinculum extract wrote."""
    sentences: Annotated[Path, tyro.conf.arg(metavar="DIR")]
    """The store that vinculum align wrote, with these regions; of its sources those that the run has learnt from."""
    split: Literal["val", "test"] = "val"
    """Whose sentences are measured; the linear probe learns on those of train."""
    average: bool = False
    """Take the moving average of the weights, where the run keeps one."""
    probe: Annotated[ProbeOptions, tyro.conf.arg(name="")] = field(default_factory=ProbeOptions)
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto takes a GPU if this machine has one."""
    json: bool = False
    """Print one machine-readable summary as the last line."""

    def run(self) -> dict[str, Any]:
        """Measure, write probe.json into the run's folder, and return the figures."""
        run, model = load_model(self.source, average=self.average)
        with JoinedShards(self.regions, self.sentences) as shards:
            maker = BatchMaker(shards, run.tokenizer, BatchOptions(max_pieces=run.recipe.batches.max_pieces))
            sources = [source for source in run.recipe.sources if source in shards.sources] or None
            accuracy = measure_alignment(
                model,
                maker,
                train=shards.select(splits=("train",), sources=sources),
                test=shards.select(splits=(self.split,), sources=sources),
                options=self.probe,
                device="cuda" if has_gpu(self.device) else "cpu",
            )
        figures: dict[str, Any] = json.loads(json.dumps({"split": self.split, **asdict(accuracy)}))
        write_json(run.folder / PROBE, figures)
        return {"run": str(self.source), **figures}
