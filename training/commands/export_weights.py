"""`vinculum-train export`: a run's weights for others."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from annotations.guards.drops import DataError
from stores.atomic import write_json
from training.model import num_parameters
from training.runs.checkpoints import STATE
from training.runs.folder import ANSWERS
from training.runs.kept_files import write_digests
from training.runs.recipes import FILE_NAME, PRETRAINING
from training.weights.layouts import USUAL, WRITERS, LayoutName
from training.weights.ours import load_model
from training.weights.published import EXPORTED


@dataclass(frozen=True, kw_only=True)
class ExportCommand:
    """Write the weights of a pre-training run as a folder that others load: transformers, or vinculum-train import.

    vinculum-train export --run runs/lxmert --out lxmert-hf

    The layout `lxmert` is what transformers' LxmertForPreTraining.from_pretrained loads, of a two-stream encoder. Heads
    that it has no place for are left out, such as word-object alignment's; objectives that the run does not have are
    switched off in config.json. The layout `vinculum` is the whole model with its answers, to be imported bit for bit.
    The layout `bert` is the text side of a single-stream encoder as transformers' BertModel. VisualBertModel is no
    layout: it has no boxes and other norms, and would compute something else.
    """

    source: Annotated[Path, tyro.conf.arg(name="run")]
    """Run, whose newest checkpoint is taken, or a checkpoint."""
    out: Path
    """Folder for config.json, model.safetensors, tokenizer.json and answers.json."""
    layout: LayoutName | None = None
    """Layout to write; by default `lxmert` for a two-stream encoder and `vinculum` for others."""
    average: bool = False
    """Take the moving average of the weights, where the run keeps one."""
    json: bool = False
    """Print one machine-readable summary as the last line."""

    def run(self) -> dict[str, object]:
        """Write everything under `out`, and return the summary."""
        run, model = load_model(self.source, average=self.average)
        if run.recipe.task != PRETRAINING:
            raise DataError(f"{self.source}: a run of {run.recipe.task!r}, expected one of pre-training")
        if any((self.out / own).exists() for own in (STATE, FILE_NAME)):
            raise DataError(f"{self.out}: a run or a checkpoint, whose own weights would go; give another --out")
        layout = self.layout or USUAL[model.encoder.shape.kind]
        WRITERS[layout](model, self.out, run.tokenizer)
        if layout != "bert":
            write_json(self.out / ANSWERS, list(run.answers.answers))
        write_digests(self.out, {name: self.out / name for name in EXPORTED if (self.out / name).is_file()})
        return {"out": str(self.out), "layout": layout, "parameters": num_parameters(model)}
