"""`vinculum-train pretrain`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import tyro

from training.execution.pretrain import Overrides, prepare
from training.execution.settings import Execution
from training.runs.presets import find_preset
from training.runs.recipes import Precision

Folder = Annotated[Path, tyro.conf.arg(metavar="DIR")]


@dataclass(frozen=True, kw_only=True)
class PretrainCommand:
    """Pre-train an encoder on shards of regions and sentences; run again, it goes on from its last checkpoint.

    vinculum-train pretrain --preset toy --regions regions --sentences sentences --out run
    """

    sentences: Folder
    """The store that vinculum align wrote; with these regions, where there are regions."""
    out: Folder
    """Folder of the run: recipe.json, tokenizer.json, answers.json, digests.json, checkpoints/, metrics.jsonl,
    tensorboard/."""
    regions: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """The store of regions or grids that vinculum extract wrote."""
    images: Annotated[tuple[str, ...], tyro.conf.arg(metavar="PATH...")] = ()
    """Instead of regions, for a visual parser: the images themselves, as vinculum extract takes them."""
    preset: str = "toy"
    """lxmert, word-object-alignment or toy; see training/runs/presets.py for what each costs and gives."""
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
    init: str | None = None
    """A published BERT, by its Hugging Face name, folder or file, such as bert-base-uncased: the encoder's text layers,
    embeddings and pooler begin with its weights. It has the same pieces as the tokenizer."""
    trunk: str | None = None
    """A published Swin, by its Hugging Face name or folder, such as microsoft/swin-base-patch4-window12-384: what turns
    pixels into visual tokens begins with its weights, and has its sizes."""
    seed: int = 0
    """Of the first weights, the order of sentences and all that is drawn for them."""
    execution: Annotated[Execution, tyro.conf.arg(name="")] = field(default_factory=Execution)
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
            ),
        )
        return self.execution.finish(
            run,
            regions=self.regions,
            images=self.images,
            sentences=self.sentences,
            init=self.init,
            trunk=self.trunk,
        )
