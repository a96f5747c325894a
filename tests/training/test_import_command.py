"""From weights that transformers wrote to a run that is evaluated, probed and fine-tuned like one's own."""

import json

import pytest
import torch
from transformers import LxmertConfig, LxmertForPreTraining

from annotations.drops import DataError
from stores.errors import StoreError
from tests.training.task_stores import COLORS, TEXTS, task_stores
from training.cli import main
from training.finetune import FinetuneOptions, prepare_finetuning
from training.import_command import ImportCommand
from training.model import Model, num_parameters
from training.probe_command import ProbeCommand
from training.probes.linear_probe import ProbeOptions
from training.tokenizer import train_tokenizer
from training.weights import build_model, load_model, start_from

TOKENIZER = train_tokenizer(TEXTS, vocab_size=60)
TINY = {
    "vocab_size": TOKENIZER.vocab_size,
    "hidden_size": 8,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "l_layers": 1,
    "r_layers": 1,
    "x_layers": 1,
    "max_position_embeddings": 24,
    "visual_feat_dim": 6,
    "num_object_labels": 5,
    "num_attr_labels": 4,
    "num_qa_labels": 5,
}


@pytest.fixture
def published(tmp_path):
    """Return what saves tiny LXMERT weights, and a tokenizer beside them, and tells the model and the folder."""

    def save(**changes):
        torch.manual_seed(0)
        model = LxmertForPreTraining(LxmertConfig(**TINY | changes)).eval()
        folder = tmp_path / "published"
        model.save_pretrained(folder)
        TOKENIZER.save(folder)
        return model, folder

    return save


@pytest.fixture
def answers(tmp_path):
    path = tmp_path / "all_ans.json"
    path.write_text(json.dumps([{"ans": color, "dsets": ["vqa"]} for color in COLORS]))
    return path


def imported(folder, out, **more):
    return ImportCommand(source=str(folder), tokenizer=str(folder), out=out, **more).run()


def test_published_weights_become_a_run_that_opens_with_them(published, answers, tmp_path):
    theirs, folder = published()
    summary = imported(folder, tmp_path / "run", answers=answers)
    run, model = load_model(tmp_path / "run")
    assert isinstance(model, Model)
    assert summary == {"out": str(tmp_path / "run"), "parameters": num_parameters(model)}
    assert torch.equal(model.encoder.text_embedding.word.weight, theirs.lxmert.embeddings.word_embeddings.weight)
    assert torch.equal(model.answer_head.decoder.bias, theirs.answer_head.logit_fc[3].bias)
    assert run.answers.answers == COLORS
    assert run.tokenizer.backend.to_str() == TOKENIZER.backend.to_str()
    assert run.recipe.sources == ()
    assert [path.name for path in (tmp_path / "run/checkpoints").iterdir()] == ["step-00000000"]


def test_a_config_that_writes_its_shares_as_whole_numbers_gives_a_run_that_opens(published, tmp_path):
    """JSON of other programs says 0 for 0.0."""
    _, folder = published()
    config = json.loads((folder / "config.json").read_text())
    config |= {"hidden_dropout_prob": 0, "attention_probs_dropout_prob": 0}
    (folder / "config.json").write_text(json.dumps(config))
    imported(folder, tmp_path / "run")
    run, _ = load_model(tmp_path / "run")
    assert run.recipe.encoder.dropout == run.recipe.encoder.attention_dropout == 0


def test_without_a_table_answers_are_numbers(published, tmp_path):
    _, folder = published()
    imported(folder, tmp_path / "run")
    assert load_model(tmp_path / "run")[0].answers.answers == ("0", "1", "2", "3", "4")


def test_the_same_command_again_is_the_same_run_and_other_answers_are_refused(published, answers, tmp_path):
    _, folder = published()
    first = imported(folder, tmp_path / "run", answers=answers)
    assert imported(folder, tmp_path / "run", answers=answers) == first
    with pytest.raises(StoreError, match="the table of answers was another one"):
        imported(folder, tmp_path / "run")


def test_an_imported_run_answers_a_task_s_questions(published, answers, tmp_path, capsys):
    _, folder = published()
    regions, sentences = task_stores(tmp_path / "stores")
    arguments = ["import", "--source", folder, "--tokenizer", folder, "--answers", answers, "--out", tmp_path / "run"]
    assert main([str(each) for each in arguments]) == 0
    arguments = ["evaluate", "--run", tmp_path / "run", "--task", "vqa-v2", "--device", "cpu", "--json"]
    assert main([str(each) for each in [*arguments, "--regions", regions, "--sentences", sentences]]) == 0
    summary = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (summary["task"], summary["accuracy"]["of"]) == ("vqa-v2", 12)
    predictions = json.loads((tmp_path / "run/predictions-vqa-v2-val.json").read_text())
    assert set(predictions.values()) <= set(COLORS)


def test_an_imported_run_is_probed_on_all_sources(published, tmp_path):
    _, folder = published()
    imported(folder, tmp_path / "run")
    regions, sentences = task_stores(tmp_path / "stores")
    figures = ProbeCommand(
        source=tmp_path / "run", regions=regions, sentences=sentences, device="cpu", probe=ProbeOptions(num_steps=2)
    ).run()
    assert figures["linear_probe"]["of"] == 6  # of both sources of questions, those that 5 divides: 0, 5 and 10
    assert figures["decoder"] is None


def test_an_imported_run_starts_a_task(published, answers, tmp_path):
    theirs, folder = published()
    imported(folder, tmp_path / "run", answers=answers)
    regions, sentences = task_stores(tmp_path / "stores")
    options = FinetuneOptions(batch_size=4)
    run = prepare_finetuning(
        "gqa", tmp_path / "run", regions=regions, sentences=sentences, out=tmp_path / "gqa", options=options
    )
    model = build_model(run)
    start_from(tmp_path / "run", model, run)
    assert run.answers.answers == ("blue", "green", "red")
    assert torch.equal(model.answer_head.decoder.weight, theirs.answer_head.logit_fc[3].weight[[2, 1, 0]])


def test_a_tokenizer_of_another_size_is_refused(published, tmp_path):
    _, folder = published(vocab_size=TOKENIZER.vocab_size + 1)
    with pytest.raises(DataError, match=rf"has {TOKENIZER.vocab_size} pieces, expected {TOKENIZER.vocab_size + 1}"):
        imported(folder, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_table_of_another_number_of_answers_is_refused(published, answers, tmp_path):
    _, folder = published(num_qa_labels=6)
    with pytest.raises(DataError, match=r"all_ans.json has 5 answers, expected 6 as the weights have"):
        imported(folder, tmp_path / "run", answers=answers)
    assert not (tmp_path / "run").exists()


def test_weights_without_an_answer_head_are_imported_and_can_not_answer(published, tmp_path):
    _, folder = published(task_qa=False)
    imported(folder, tmp_path / "run")
    _, model = load_model(tmp_path / "run")
    assert model.answer_head is None
