"""`vinculum-train pretrain`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import tyro

from training.execution import Execution
from training.presets import find_preset
from training.pretrain import Overrides, prepare
from training.recipes import Precision

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
    init: str | None = None
    """A published BERT, by its Hugging Face name, folder or file, such as bert-base-uncased: the encoder's text layers,
    embeddings and pooler begin with its weights. It has the same pieces as the tokenizer."""
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
                seed=self.seed,
            ),
        )
        return self.execution.finish(run, regions=self.regions, sentences=self.sentences, init=self.init)
