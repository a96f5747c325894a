"""`vinculum-train pretrain`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from training.launch import has_gpu, launch
from training.order import parts_of_rank
from training.presets import find_preset
from training.pretrain import Overrides, prepare
from training.progress import read_metrics
from training.recipes import Precision
from training.worker import TrainTask

Folder = Annotated[Path, tyro.conf.arg(metavar="DIR")]


@dataclass(frozen=True, kw_only=True)
class PretrainCommand:
    """Pre-train an encoder on shards of regions and sentences; run again, it goes on from its last checkpoint.

    vinculum-train pretrain --preset toy --regions regions --sentences sentences --out run
    """

    regions: Folder
    """The store that vinculum extract wrote."""
    sentences: Folder
    """The store that vinculum align wrote, with these regions."""
    out: Folder
    """Folder of the run: recipe.json, tokenizer.json, answers.json, checkpoints/, metrics.jsonl, tensorboard/."""
    preset: str = "toy"
    """lxmert, word-object-alignment or toy; see training/presets.py for what each costs and gives."""
    ablation: str | None = None
    """One thing changed against the preset: no-alignment, paper-target, position-only, permuted, no-vision ..."""
    sources: tuple[str, ...] | None = None
    """Data sets to learn from; those of the preset that the store has, unless given."""
    tokenizer: str | None = None
    """A Hugging Face name or folder, a tokenizer.json or a vocab.txt, against the preset's."""
    answers: Path | None = None
    """A JSON table of answers; the most frequent ones of the training questions, unless given."""
    batch_size: int | None = None
    """Sentences a step, of all workers together."""
    epochs: float | None = None
    """Times that every sentence is seen; the preset's epochs or steps, unless given."""
    steps: int | None = None
    """Instead of epochs."""
    learning_rate: float | None = None
    """The schedule's peak."""
    precision: Precision | None = None
    """The preset's, unless given."""
    seed: int = 0
    """Of the first weights, the order of sentences and all that is drawn for them."""
    accumulation: int = 1
    """Parts of a step's sentences that are computed one after another, to save memory."""
    loader_workers: int = 1
    """Processes that make batches, for each worker."""
    checkpoint_every: int = 1000
    """Steps."""
    keep: int = 2
    """Checkpoints that stay."""
    log_every: int = 10
    """Steps between two lines of progress."""
    workers: int = 1
    """Ray workers: one a GPU, over all machines of a cluster."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto takes GPUs if this machine has one."""
    address: str | None = None
    """A Ray cluster; without it the running Ray job's, or this machine."""
    json: bool = False
    """Print one machine-readable summary as the last line."""

    def run(self) -> dict[str, Any]:
        """Train what is missing, and return the summary."""
        preset = find_preset(self.preset, self.ablation)
        batch_size = preset.batch_size if self.batch_size is None else self.batch_size
        parts_of_rank(batch_size, rank=0, num_ranks=self.workers, accumulation=self.accumulation)
        run = prepare(
            preset,
            regions=self.regions,
            sentences=self.sentences,
            out=self.out,
            overrides=Overrides(
                sources=self.sources,
                tokenizer=self.tokenizer,
                answers=self.answers,
                batch_size=self.batch_size,
                epochs=self.epochs,
                num_steps=self.steps,
                learning_rate=self.learning_rate,
                precision=self.precision,
                seed=self.seed,
            ),
        )
        launch(
            TrainTask(
                run=self.out.resolve(),
                regions=self.regions.resolve(),
                sentences=self.sentences.resolve(),
                accumulation=self.accumulation,
                loader_workers=self.loader_workers,
                checkpoint_every=self.checkpoint_every,
                keep=self.keep,
                log_every=self.log_every,
            ),
            num_steps=run.recipe.num_steps,
            num_workers=self.workers,
            use_gpu=has_gpu(self.device),
            address=self.address,
        )
        last = read_metrics(self.out)[-1]
        return {"out": str(self.out), **last}
