"""`vinculum-train import`: published weights as a run of ours."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from annotations.answers import AnswerVocabulary, read_answer_vocabulary
from annotations.guards.drops import DataError
from training.data.batches import BatchOptions
from training.data.tokenizer import FILE_NAME as TOKENIZER
from training.data.tokenizer import load_tokenizer
from training.model import Model, num_parameters
from training.models.single_stream import SingleStreamShape
from training.objectives.question_answering import QuestionAnsweringObjective
from training.runs.checkpoints import save_checkpoint
from training.runs.folder import ANSWERS, begin_run
from training.runs.optimizers import Optimization
from training.runs.recipes import PRETRAINING, Recipe
from training.weights.layouts import published_model
from training.weights.published import read_published


@dataclass(frozen=True, kw_only=True)
class ImportCommand:
    """Turn published weights of LXMERT or UNITER into a run, to fine-tune, evaluate and probe like any other.

    vinculum-train import --source unc-nlp/lxmert-base-uncased --answers all_ans.json --out lxmert

    The names of the weights show the layout: LXMERT's, from transformers or its authors; UNITER's, pre-trained
    or fine-tuned, as uniter-base.pt with --tokenizer bert-base-cased; or what vinculum-train export wrote. Heads come
    along as far as there is a place for them; the summary lists them.
    """

    source: str
    """Hugging Face name or folder, or a file of weights, such as the authors' `*_LXRT.pth` and `uniter-*.pt`."""
    out: Annotated[Path, tyro.conf.arg(metavar="DIR")]
    """Folder of the new run."""
    tokenizer: str | None = None
    """Hugging Face name or folder, tokenizer.json or vocab.txt.
    By default it is the tokenizer.json beside the weights, or that of bert-base-uncased."""
    answers: Path | None = None
    """JSON table of the weights' answers, such as LXMERT's all_ans.json.
    By default it is the answers.json beside the weights; without one, answers are numbers."""
    max_pieces: int | None = None
    """Number of word pieces in a sentence with [CLS] and [SEP]; by default LXMERT's 20 or UNITER's 62."""
    json: bool = False
    """Print one machine-readable summary as the last line."""

    def run(self) -> dict[str, object]:
        """Write the run, and return the summary."""
        published = read_published(self.source)
        model, folder = published_model(published), published.path.parent
        beside = str(folder) if (folder / TOKENIZER).exists() else "bert-base-uncased"
        tokenizer, sizes = load_tokenizer(self.tokenizer or beside), model.sizes
        if tokenizer.vocab_size != sizes.vocab_size:
            raise DataError(
                f"tokenizer {self.tokenizer or beside!r} has {tokenizer.vocab_size} pieces, expected "
                f"{sizes.vocab_size} as the weights have"
            )
        answers = _answers(self.answers or (folder / ANSWERS if (folder / ANSWERS).exists() else None), model)
        recipe = Recipe(
            task=PRETRAINING,
            encoder=model.encoder.shape,
            sizes=sizes,
            objectives=model.options,
            batches=BatchOptions(
                max_pieces=self._max_pieces(model),
                mask_words=0.15,
                mask_regions=0.15 if model.options.masked_regions else 0.0,
                mask_tokens="attention" if model.options.masked_tokens else None,
                mismatch=0.5,
            ),
            optimization=Optimization(),
            sources=(),
            batch_size=256,
            num_steps=1,  # as few as a recipe may have; the checkpoint says that none was done
            precision="float32",
            seed=0,
            data={"imported": self.source},
        )
        run = begin_run(self.out, recipe, tokenizer, answers)
        save_checkpoint(run.folder, step=0, model=model, optimizer=None)
        return {"out": str(self.out), "parameters": num_parameters(model), "objectives": list(model.objectives)}

    def _max_pieces(self, model: Model) -> int:
        shape = model.encoder.shape
        usual = 62 if isinstance(shape, SingleStreamShape) else 20
        return self.max_pieces or min(usual, shape.max_pieces)


def _answers(path: Path | None, model: Model) -> AnswerVocabulary:
    """Return the table of the model's answers; without a file, numbers in their stead."""
    num_answers = 0 if model.head(QuestionAnsweringObjective) is None else model.sizes.num_answers
    if path is None:
        return AnswerVocabulary(answers=tuple(map(str, range(num_answers))))
    answers = read_answer_vocabulary(path)
    if num_answers and len(answers.answers) != num_answers:
        raise DataError(f"{path} has {len(answers.answers)} answers, expected {num_answers} as the weights have")
    return answers
