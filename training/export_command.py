"""`vinculum-train export`: a run's weights in Hugging Face's layout."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from annotations.drops import DataError
from training.checkpoints import STATE
from training.huggingface import export_huggingface
from training.model import num_parameters
from training.recipes import FILE_NAME, PRETRAINING
from training.weights import load_model


@dataclass(frozen=True, kw_only=True)
class ExportCommand:
    """Write the weights of a pre-training run so that transformers' LxmertForPreTraining.from_pretrained loads them.

    vinculum-train export --run runs/lxmert --out lxmert-hf

    The decoders of word-object alignment stay behind: there is no place for them. Objectives that the run does not
    have are switched off in config.json.
    """

    source: Annotated[Path, tyro.conf.arg(name="run")]
    """Folder of a run, whose newest checkpoint is taken, or of one of its checkpoints."""
    out: Path
    """Folder for config.json, model.safetensors and tokenizer.json."""
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
        export_huggingface(model, self.out, run.tokenizer)
        return {"out": str(self.out), "parameters": num_parameters(model)}
