"""`vinculum-train pretrain`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import tyro

from stores.programs.volume import Volume
from training.execution.outlook import outlook
from training.execution.pretrain import Overrides, prepare
from training.execution.settings import Execution
from training.runs.folder import begin_run, look_ahead
from training.runs.presets import PRESETS, find_preset
from training.runs.recipes import Precision

Folder = Annotated[Path, tyro.conf.arg(metavar="DIR")]


@dataclass(frozen=True, kw_only=True)
class PretrainCommand:
    """Pre-train an encoder on shards of regions and sentences; run again, it goes on from its last checkpoint.

    vinculum-train pretrain --preset toy --regions regions --sentences sentences --out run
    """

    sentences: Folder
    """Store that vinculum align wrote, aligned with these regions where there are regions."""
    out: Folder
    """Folder of the run.
    It gets the recipe, tokenizer, answers, checkpoints, metrics.jsonl and TensorBoard's curves."""
    regions: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Store of regions or grids that vinculum extract wrote."""
    images: Annotated[tuple[str, ...], tyro.conf.arg(metavar="PATH...")] = ()
    """Image files, as vinculum extract takes them: a visual parser learns from these instead of regions."""
    preset: Annotated[str, tyro.conf.arg(help=f"Preset to train, one of {', '.join(PRESETS)}.")] = "toy"
    ablation: str | None = None
    """Change of the preset in one thing, such as no-alignment; an unknown one lists those that the preset has."""
    sources: tuple[str, ...] | None = None
    """Data sets to learn from; by default those of the preset that the store has."""
    tokenizer: str | None = None
    """Hugging Face name or folder, tokenizer.json or vocab.txt; by default the preset's tokenizer."""
    answers: Path | None = None
    """JSON table of answers; by default the most frequent answers of the training questions."""
    batch_size: int | None = None
    """Number of sentences in a step of all workers together; by default the preset's."""
    epochs: float | None = None
    """Number of times that every sentence is seen; by default the preset's epochs or steps."""
    steps: int | None = None
    """Number of steps, instead of epochs."""
    learning_rate: float | None = None
    """Peak of the learning rate; by default the preset's."""
    precision: Precision | None = None
    """Number format of the computation; by default the preset's."""
    init: str | None = None
    """Published BERT whose weights the text layers, embeddings and pooler begin with.
    Give its Hugging Face name, folder or file, such as bert-base-uncased; its pieces must be the tokenizer's."""
    trunk: str | None = None
    """Published Swin whose weights and sizes the trunk of a visual parser begins with.
    Give its Hugging Face name or folder, such as microsoft/swin-base-patch4-window12-384."""
    seed: int = 0
    """Seed of the initial weights, the order of sentences and every random draw."""
    set: Annotated[tyro.conf.UseAppendAction[tuple[str, ...]], tyro.conf.arg(metavar="FIELD=VALUE")] = ()
    """Field of the recipe, such as objectives.matching.weight=2; give the option once for each field."""
    dry_run: bool = False
    """Print the steps that are left and the bytes of the checkpoints; nothing is written, and no worker starts."""
    execution: Annotated[Execution, tyro.conf.arg(name="")] = field(default_factory=Execution)
    volume: Annotated[Volume, tyro.conf.arg(name="")] = field(default_factory=Volume)
    json: bool = False
    """Print one machine-readable summary as the last line."""

    def run(self) -> dict[str, Any]:
        """Train what is missing, and return the summary."""
        preset = find_preset(self.preset, self.ablation)
        batch_size = preset.batch_size if self.batch_size is None else self.batch_size
        self.execution.require_parts(batch_size)
        run = prepare(
            preset,
            regions=self.regions,
            images=self.images,
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
                init=self.init,
                trunk=self.trunk,
                seed=self.seed,
                fields=self.set,
            ),
            begin=look_ahead if self.dry_run else begin_run,
        )
        if self.dry_run:
            return outlook(run, keep=self.execution.keep)
        with self.volume.applied():
            return self.execution.finish(
                run,
                regions=self.regions,
                images=self.images,
                sentences=self.sentences,
                init=self.init,
                trunk=self.trunk,
            )
