"""From weights that transformers wrote to a run that is evaluated, probed and fine-tuned like one's own."""

import json

import pytest
import torch
from transformers import BertConfig, BertModel, LxmertConfig, LxmertForPreTraining

from annotations.guards.drops import DataError
from stores.errors import StoreError
from tests.training.task_stores import COLORS, TEXTS, task_stores
from tests.training.uniter_files import uniter_state, vqa_head
from training.cli import main
from training.commands.import_weights import ImportCommand
from training.commands.probe import ProbeCommand
from training.data.tokenizer import train_tokenizer
from training.execution.finetune import FinetuneOptions, prepare_finetuning
from training.model import Model, num_parameters
from training.objectives.question_answering import QuestionAnsweringObjective
from training.probes.linear import ProbeOptions
from training.weights.ours import build_model, load_model, start_from

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
    tokenizer = folder if folder.is_dir() else folder.parent / "tokenizer.json"
    return ImportCommand(source=str(folder), tokenizer=str(tokenizer), out=out, **more).run()


def test_published_weights_become_a_run_that_opens_with_them(published, answers, tmp_path):
    theirs, folder = published()
    summary = imported(folder, tmp_path / "run", answers=answers)
    run, model = load_model(tmp_path / "run")
    assert isinstance(model, Model)
    assert summary == {
        "out": str(tmp_path / "run"),
        "parameters": num_parameters(model),
        "objectives": ["masked_words", "masked_regions", "matching", "question_answering"],
    }
    assert torch.equal(model.encoder.text_embedding.word.weight, theirs.lxmert.embeddings.word_embeddings.weight)
    assert torch.equal(model.head(QuestionAnsweringObjective).head.decoder.bias, theirs.answer_head.logit_fc[3].bias)
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
        source=tmp_path / "run", regions=(regions,), sentences=sentences, device="cpu", probe=ProbeOptions(num_steps=2)
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
    assert torch.equal(
        model.head(QuestionAnsweringObjective).head.decoder.weight, theirs.answer_head.logit_fc[3].weight[[2, 1, 0]]
    )


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
    assert model.head(QuestionAnsweringObjective) is None


def save_uniter(path, **heads):
    """Save a UNITER whose pieces are the tokenizer's."""
    torch.save(uniter_state(pieces=TOKENIZER.vocab_size) | heads, path)
    TOKENIZER.save(path.parent)
    return path


def test_uniter_is_told_by_its_names_and_becomes_a_run(tmp_path):
    path = save_uniter(tmp_path / "uniter-base.pt")
    arguments = ["import", "--source", path, "--tokenizer", tmp_path / "tokenizer.json", "--out", tmp_path / "run"]
    assert main([str(each) for each in arguments]) == 0
    run, model = load_model(tmp_path / "run")
    assert run.recipe.encoder.kind == "single-stream"
    assert run.recipe.batches.max_pieces == run.recipe.encoder.max_pieces == 24  # else UNITER's 62
    assert run.answers.answers == ()
    theirs = uniter_state(pieces=TOKENIZER.vocab_size)
    assert torch.equal(model.encoder.pooler.weight, theirs["uniter.pooler.dense.weight"])
    assert torch.equal(model.objectives["matching"].decoder.weight, theirs["itm_output.weight"])


def test_a_uniter_that_answers_is_asked(tmp_path):
    path = save_uniter(tmp_path / "uniter-vqa.pt", **vqa_head())
    table = tmp_path / "answers.json"
    table.write_text(json.dumps([*COLORS, "yes", "no"]))
    imported(path, tmp_path / "run", answers=table, max_pieces=16)
    regions, sentences = task_stores(tmp_path / "stores")
    arguments = ["evaluate", "--run", tmp_path / "run", "--task", "vqa-v2", "--device", "cpu", "--json"]
    assert main([str(each) for each in [*arguments, "--regions", regions, "--sentences", sentences]]) == 0
    predictions = json.loads((tmp_path / "run/predictions-vqa-v2-val.json").read_text())
    assert len(set(predictions.values())) > 0 and set(predictions.values()) <= {*COLORS, "yes", "no"}


def test_what_is_nobody_s_layout_is_said_so(tmp_path, capsys):
    BertModel(BertConfig(vocab_size=30, hidden_size=8, num_attention_heads=2, num_hidden_layers=1)).save_pretrained(
        tmp_path
    )
    assert main(["import", "--source", str(tmp_path), "--out", str(tmp_path / "run")]) == 1
    told = capsys.readouterr().err
    assert "expected weights of LXMERT or UNITER, or what vinculum-train export wrote" in told
    assert "those of BERT go to vinculum-train pretrain --init" in told
    assert not (tmp_path / "run").exists()
