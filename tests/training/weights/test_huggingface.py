"""Weights that go to Hugging Face's layout and come from it, and every way in which a file may not be LXMERT's."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from transformers import (
    AutoTokenizer,
    BertConfig,
    BertForPreTraining,
    LxmertConfig,
    LxmertForPreTraining,
    LxmertForQuestionAnswering,
    LxmertModel,
)

from annotations.guards.drops import DataError
from tests.training.builders import SHAPE, SIZES, make_batch
from tests.training.malice import Malice
from tests.training.weights_files import import_huggingface
from training.data.tokenizer import load_tokenizer, train_tokenizer
from training.model import Model, build_new, num_parameters
from training.models.two_stream import TwoStreamShape
from training.objectives.catalog import Objectives
from training.objectives.masked_regions import MaskedRegionsOptions
from training.objectives.masked_words import MaskedWordsOptions
from training.objectives.matching import MatchingOptions
from training.objectives.question_answering import QuestionAnsweringOptions
from training.objectives.word_object_alignment import AlignmentOptions
from training.weights.huggingface import export_huggingface, to_huggingface

NONE = Objectives(masked_words=None, masked_regions=None, matching=None, question_answering=None)
OBJECTIVES = {
    "all that it has": Objectives(),
    "none": NONE,
    "words": replace(NONE, masked_words=MaskedWordsOptions()),
    "matching": replace(NONE, matching=MatchingOptions()),
    "answers": replace(NONE, question_answering=QuestionAnsweringOptions()),
    "regions": replace(NONE, masked_regions=MaskedRegionsOptions(normalizer=2.5)),
    "classes": replace(NONE, masked_regions=MaskedRegionsOptions(features=False, attributes=False)),
    "features": replace(NONE, masked_regions=MaskedRegionsOptions(classes=False, attributes=False)),
}
TINY = LxmertConfig(
    vocab_size=30,
    hidden_size=24,
    num_attention_heads=12,  # of the authors' program, whatever the width
    intermediate_size=32,
    l_layers=2,
    r_layers=1,
    x_layers=1,
    max_position_embeddings=16,
    visual_feat_dim=6,
    num_object_labels=5,
    num_attr_labels=4,
    num_qa_labels=7,
    visual_loss_normalizer=1 / 0.15,
)


def build(objectives=OBJECTIVES["all that it has"]):
    return build_new(SHAPE, objectives, SIZES, seed=0)


def assert_same_weights(found, expected):
    found, expected = found.state_dict(), expected.state_dict()
    assert list(found) == list(expected)
    assert [name for name in found if not torch.equal(found[name], expected[name])] == []


@pytest.fixture(scope="module")
def theirs():
    torch.manual_seed(0)
    return LxmertForPreTraining(TINY).eval()


@pytest.fixture
def folder(theirs, tmp_path):
    theirs.save_pretrained(tmp_path)
    return tmp_path


@pytest.fixture
def checkpoint(theirs, tmp_path):
    """Saves tensors as LXMERT's authors do, all of them under their names unless told otherwise."""

    def save(state=None, **options):
        path = tmp_path / "Epoch20_LXRT.pth"
        torch.save(authors_names(theirs.state_dict()) if state is None else state, path, **options)
        return path

    return save


def authors_names(state):
    return {name.replace("lxmert.", "bert."): tensor for name, tensor in state.items()}


# Out


@pytest.mark.parametrize("objectives", OBJECTIVES.values(), ids=OBJECTIVES.keys())
def test_what_is_exported_loads_there_without_a_gap_and_comes_back_as_it_was(objectives, tmp_path):
    model = build(objectives)
    export_huggingface(model, tmp_path)
    _, told = LxmertForPreTraining.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(told.values()), told
    back = import_huggingface(tmp_path)
    assert back.options == objectives
    assert back.encoder.shape == replace(SHAPE, freeze_first_rows=True)
    assert_same_weights(back, model)


def test_heads_that_a_run_does_not_have_are_switched_off_and_score_everything_alike(tmp_path):
    export_huggingface(build(NONE), tmp_path)
    there, batch = LxmertForPreTraining.from_pretrained(tmp_path).eval(), make_batch()
    assert not any((there.task_mask_lm, there.task_matched, there.task_qa, there.task_obj_predict))
    scores = there(
        input_ids=batch.input_ids,
        visual_feats=batch.features,
        visual_pos=batch.boxes,
        matched_label=batch.is_matched.long(),
    )
    assert scores.loss == 0
    assert not scores.prediction_logits.any() and not scores.cross_relationship_score.any()


def test_decoders_of_alignment_stay_behind(tmp_path):
    model = build(Objectives(word_object_alignment=AlignmentOptions()))
    assert list(to_huggingface(model)[1]) == list(to_huggingface(build())[1])
    export_huggingface(model, tmp_path)
    assert import_huggingface(tmp_path).options == Objectives()


def test_a_model_is_not_changed_by_its_export(tmp_path):
    model = build()
    export_huggingface(model, tmp_path)
    assert_same_weights(model, build())


def test_a_tokenizer_travels_along(tmp_path):
    tokenizer = train_tokenizer(["a red cube", "a green ball"], vocab_size=30)
    export_huggingface(build(), tmp_path, tokenizer)
    assert load_tokenizer(str(tmp_path)).vocab_size == tokenizer.vocab_size
    ids = Tokenizer.from_file(str(tmp_path / "tokenizer.json")).encode("a red ball").ids
    assert AutoTokenizer.from_pretrained(tmp_path)("a red ball", add_special_tokens=False)["input_ids"] == ids


def test_an_export_of_full_size_has_as_many_weights_as_lxmert():
    with torch.device("meta"):
        sizes = replace(
            SIZES,
            hidden_size=768,
            vocab_size=30522,
            feature_dim=2048,
            num_classes=1600,
            num_attributes=400,
            num_answers=9500,
        )
        model = Model(TwoStreamShape(), Objectives(), sizes)
        config, state = to_huggingface(model)
        published = LxmertForPreTraining(LxmertConfig())
    assert num_parameters(model) == 228_051_752
    expected = {name: tensor.shape for name, tensor in published.state_dict().items() if "decoder.weight" not in name}
    assert {name: tensor.shape for name, tensor in state.items()} == expected
    assert {**config.to_dict(), "visual_loss_normalizer": 6.67} == LxmertConfig().to_dict()


# In


def test_imported_weights_do_not_learn_first_rows(folder):
    assert import_huggingface(folder).encoder.text_embedding.position.padding_idx == 0


def test_weights_come_from_safetensors_and_from_pickles_alike(folder, theirs):
    expected = import_huggingface(folder)
    (folder / "model.safetensors").unlink()
    torch.save(theirs.state_dict(), folder / "pytorch_model.bin")
    assert_same_weights(import_huggingface(folder), expected)
    assert_same_weights(import_huggingface(folder / "pytorch_model.bin"), expected)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("copies", ["", "module."])
def test_the_authors_checkpoints_are_the_same_weights(checkpoint, folder, theirs, copies, zipped):
    state = {copies + name: tensor for name, tensor in authors_names(theirs.state_dict()).items()}
    path = checkpoint(state, _use_new_zipfile_serialization=zipped)
    (folder / "config.json").rename(folder / "elsewhere.json")
    found = import_huggingface(path)
    (folder / "elsewhere.json").rename(folder / "config.json")
    expected = import_huggingface(folder)
    assert found.encoder.shape == expected.encoder.shape
    assert (found.options, found.sizes) == (expected.options, expected.sizes)
    assert_same_weights(found, expected)


def test_an_encoder_with_an_answer_head_alone_is_enough(tmp_path, checkpoint):
    torch.manual_seed(0)
    answering = LxmertForQuestionAnswering(TINY)
    answering.save_pretrained(tmp_path / "theirs")
    expected = import_huggingface(tmp_path / "theirs")
    assert list(expected.objectives) == ["question_answering"]
    state = {
        name.replace("lxmert.", "lxrt_encoder.model.module.bert.").replace("answer_head.", ""): tensor
        for name, tensor in answering.state_dict().items()
    }
    assert_same_weights(import_huggingface(checkpoint(state)), expected)


def test_an_encoder_alone_is_enough(tmp_path):
    torch.manual_seed(0)
    LxmertModel(TINY).save_pretrained(tmp_path)
    assert import_huggingface(tmp_path).options == NONE


def test_half_precision_becomes_float32(folder):
    weights = {name: tensor.half() for name, tensor in load_file(folder / "model.safetensors").items()}
    save_file(weights, folder / "model.safetensors")
    assert {tensor.dtype for tensor in import_huggingface(folder).state_dict().values()} == {torch.float32}


# Not LXMERT's


def change(folder, **tensors):
    """Put these tensors into the file of weights; None takes one away."""
    state = load_file(folder / "model.safetensors") | tensors
    save_file({name: each for name, each in state.items() if each is not None}, folder / "model.safetensors")


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"lxmert.pooler.dense.bias": None}, r"1 missing: lxmert\.pooler\.dense\.bias$"),
        ({"answer_head.logit_fc.2.weight": None}, r"1 missing: answer_head\.logit_fc\.2\.weight$"),
        (
            {"lxmert.encoder.x_layers.0.visual_attention.att.key.weight": None, "extra": torch.zeros(1)},
            r"1 missing: .*att\.key\.weight; 1 left over: extra$",
        ),
        (
            {"cls.seq_relationship.bias": torch.zeros(3)},
            r"1 of another shape: cls\.seq_relationship\.bias \[3\] instead of \[2\]$",
        ),
        ({"cls.seq_relationship.bias": torch.zeros(())}, r"cls\.seq_relationship\.bias \[\] instead of \[2\]$"),
        ({"cls.predictions.decoder.weight": torch.zeros(30, 24)}, "expected them to be tied"),
    ],
)
def test_a_tensor_too_few_or_too_many_or_of_another_shape_is_named(folder, tensors, message):
    change(folder, **tensors)
    with pytest.raises(DataError, match=message):
        import_huggingface(folder)


def test_a_long_list_is_cut(folder):
    save_file({f"extra{number}": torch.zeros(1) for number in range(4)}, folder / "model.safetensors")
    with pytest.raises(DataError, match=r"\d+ missing: .* and \d+ more; 4 left over: extra0"):
        import_huggingface(folder)


def test_weights_of_bert_are_not_lxmerts(tmp_path, checkpoint):
    bert = BertForPreTraining(BertConfig(vocab_size=30, hidden_size=24, num_hidden_layers=1, intermediate_size=32))
    with pytest.raises(DataError, match=r"not LXMERT's weights, has no lxmert\.encoder\.x_layers\.0\.lang_inter"):
        import_huggingface(checkpoint(bert.state_dict()))
    bert.save_pretrained(tmp_path / "bert")
    with pytest.raises(DataError, match="model_type 'bert' and hidden_act 'gelu', expected 'lxmert' and 'gelu'"):
        import_huggingface(tmp_path / "bert")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", r"config\.json: not LXMERT's config"),
        ("[]", r"config\.json: not LXMERT's config"),
        ('{"model_type": "lxmert", "l_layers": "nine"}', r"config\.json: not LXMERT's config"),
        ('{"model_type": "lxmert", "hidden_act": "relu"}', "hidden_act 'relu', expected"),
        ('{"model_type": "lxmert", "num_attention_heads": 5}', "describes no encoder .*768 is no multiple of 5 heads"),
        ('{"model_type": "lxmert", "vocab_size": -1}', "describes no encoder"),
    ],
)
def test_a_config_that_describes_no_lxmert_is_refused(folder, text, message):
    (folder / "config.json").write_text(text)
    with pytest.raises(DataError, match=message):
        import_huggingface(folder)


def test_nothing_at_all_is_said_so(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(TINY.to_dict()))
    for source in (tmp_path, tmp_path / "absent", "not a name"):
        with pytest.raises(DataError, match=r"expected config\.json and model\.safetensors or pytorch_model\.bin"):
            import_huggingface(source)


# Damaged, or worse


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin", "Epoch20_LXRT.pth"])
@pytest.mark.parametrize("share", [0, 0.01, 0.5, 0.999])
def test_a_truncated_file_is_refused(folder, theirs, name, share):
    torch.save(theirs.state_dict(), folder / "pytorch_model.bin")
    torch.save(theirs.state_dict(), folder / "Epoch20_LXRT.pth", _use_new_zipfile_serialization=False)
    whole = (folder / name).read_bytes()
    (folder / name).write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(DataError, match=f"{name}: damaged"):
        import_huggingface(folder / name)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_that_would_act_does_not(tmp_path, checkpoint, theirs, zipped):
    trace = tmp_path / "trace"
    state = {**theirs.state_dict(), "lxmert.pooler.dense.bias": Malice(trace)}
    path = checkpoint(state, _use_new_zipfile_serialization=zipped)
    with pytest.raises(DataError, match="damaged, or holds more than tensors, of which nothing was run"):
        import_huggingface(path)
    assert not trace.exists()
    torch.load(path, weights_only=False)
    assert trace.exists()  # the pickle is what it claims to be


@pytest.mark.parametrize("content", [[1, 2], {"model": {"weight": torch.zeros(1)}}, torch.zeros(1)])
def test_a_pickle_of_something_else_is_refused(checkpoint, content):
    with pytest.raises(DataError, match=r"holds a \w+, expected a state dict"):
        import_huggingface(checkpoint(content))
