"""BERT's weights as transformers writes them: what encoders begin with, and what a single-stream one goes out as."""

import shutil
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoTokenizer, BertConfig, BertForPreTraining, BertModel

from annotations.guards.drops import DataError
from stores.errors import StoreError
from tests.training.builders import SHAPE, SINGLE_STREAM, SIZES, VISUAL_PARSER, make_batch
from tests.training.learnable_runs import curve, learnable_stores, tiny_preset, train
from tests.training.malice import Malice
from training.data.tokenizer import load_tokenizer, train_tokenizer
from training.execution.pretrain import Overrides, prepare
from training.execution.worker import TrainTask
from training.model import Model, build_new
from training.objectives.catalog import NO_OBJECTIVES, Objectives
from training.objectives.masked_words import MaskedWordsOptions
from training.runs.checkpoints import latest_checkpoint, read_tensors
from training.runs.folder import open_run
from training.runs.presets import find_preset
from training.weights.bert import begin_with_bert, bert_state, export_bert
from training.weights.published import Published, read_published

TOKENIZER = train_tokenizer(["a red cube", "a green ball"], vocab_size=30)
PIECES = TOKENIZER.vocab_size
SINGLE, TWO, PARSER = (replace(shape, vocab_size=PIECES) for shape in (SINGLE_STREAM, SHAPE, VISUAL_PARSER))
WORDS = replace(NO_OBJECTIVES, masked_words=MaskedWordsOptions())


def build(shape=SINGLE, objectives=NO_OBJECTIVES):
    return build_new(shape, objectives, replace(SIZES, vocab_size=shape.vocab_size), seed=0)


def bert_like(shape=SINGLE, *, kind=BertModel, **changes):
    """Transformers' BERT of random weights, none of them as small as new ones."""
    torch.manual_seed(1)
    options = {
        "vocab_size": shape.vocab_size,
        "hidden_size": shape.hidden_size,
        "intermediate_size": shape.intermediate_size,
        "num_hidden_layers": 2,
        "num_attention_heads": shape.num_heads,
        "max_position_embeddings": shape.max_positions,
    }
    model = kind(BertConfig(**options | changes))
    for weight in model.parameters():
        nn.init.normal_(weight, std=0.5)
    return model.eval()


@pytest.fixture
def folder(tmp_path):
    bert_like().save_pretrained(tmp_path / "bert")
    TOKENIZER.save(tmp_path / "bert")
    return tmp_path / "bert"


def begun(source, shape=SINGLE, objectives=NO_OBJECTIVES):
    model = build(shape, objectives)
    begin_with_bert(read_published(source), model, TOKENIZER)
    return model.eval()


def older(name):
    """A name of the first published files."""
    return name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")


LAYOUTS = {
    "bare": lambda name: name,
    "bert": lambda name: f"bert.{name}",
    "older": lambda name: f"bert.{older(name)}",
    "copies": lambda name: f"module.bert.{name}",
    "bare copies": lambda name: f"module.{older(name)}",
}


# In


@pytest.mark.parametrize("file", ["model.safetensors", "pytorch_model.bin"])
@pytest.mark.parametrize("naming", LAYOUTS.values(), ids=LAYOUTS.keys())
def test_every_layout_gives_the_same_text_side_and_leaves_regions_as_they_are(folder, naming, file):
    theirs = {naming(name): tensor for name, tensor in load_file(folder / "model.safetensors").items()}
    expected, new = begun(folder).state_dict(), build().state_dict()
    (folder / "model.safetensors").unlink()
    (save_file if file.endswith("safetensors") else torch.save)(theirs, folder / file)
    found = begun(folder).state_dict()
    for name, tensor in found.items():
        assert torch.equal(tensor, expected[name]), name
        assert torch.equal(tensor, new[name]) == name.startswith("encoder.region_embedding."), name


@torch.no_grad()
@pytest.mark.parametrize(("dtype", "close"), [(torch.float32, 1e-5), (torch.float64, 1e-10)], ids=str)
def test_sentences_alone_and_with_regions_become_what_bert_makes_of_them(folder, dtype, close):
    encoder, bert, batch = begun(folder).encoder.to(dtype), bert_like().to(dtype), make_batch(sizes=shrunk())
    found = encoder(replace(batch, region_mask=torch.zeros_like(batch.region_mask), masked_regions=None))
    expected = bert(input_ids=batch.input_ids, attention_mask=batch.text_mask.long())
    assert torch.allclose(found.text, expected.last_hidden_state, rtol=0, atol=close)
    assert torch.allclose(found.pooled, expected.pooler_output, rtol=0, atol=close)
    sequences = []
    encoder.layers[0].register_forward_pre_hook(lambda _, given: sequences.append(given[0]))
    found = encoder(batch)
    for part in ("word", "position", "token_type"):  # what is embedded already is taken as it is
        nn.init.zeros_(getattr(bert.embeddings, f"{part}_embeddings").weight)
    bert.embeddings.LayerNorm = nn.Identity()
    mask = torch.cat([batch.text_mask, batch.region_mask], 1)
    expected = bert(inputs_embeds=sequences[0], attention_mask=mask.long()).last_hidden_state
    assert torch.allclose(torch.cat([found.text, found.regions], 1), expected, rtol=0, atol=close)


def shrunk():
    return replace(SIZES, vocab_size=PIECES)


@torch.no_grad()
def test_a_two_stream_encoder_s_text_layers_are_the_first_of_bert(tmp_path):
    bert = bert_like(num_hidden_layers=3)
    bert.save_pretrained(tmp_path)
    encoder, batch = begun(tmp_path, TWO).encoder, make_batch(sizes=shrunk())
    assert len(encoder.text_layers) == 2
    seen = []
    encoder.cross_layers[0].register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    encoder(batch)
    expected = bert(input_ids=batch.input_ids, attention_mask=batch.text_mask.long(), output_hidden_states=True)
    assert torch.allclose(seen[0], expected.hidden_states[2], rtol=0, atol=1e-5)
    assert torch.equal(encoder.pooler.weight, bert.pooler.dense.weight)
    new = build(TWO).encoder
    assert torch.equal(encoder.cross_layers[0].text_attention.output.dense.weight,
                       new.cross_layers[0].text_attention.output.dense.weight)  # fmt: skip


def test_a_third_segment_is_a_copy_of_the_second(folder):
    table = begun(folder, replace(SINGLE, num_segments=3)).encoder.text_embedding.segment.weight
    expected = bert_like().embeddings.token_type_embeddings.weight
    assert torch.equal(table, expected[[0, 1, 1]])


@torch.no_grad()
def test_the_head_of_masked_words_is_bert_s_where_both_have_one(tmp_path, folder):
    bert = bert_like(kind=BertForPreTraining)
    bert.save_pretrained(tmp_path / "heads")
    model = begun(tmp_path / "heads", objectives=WORDS)
    head, states = model.objectives["masked_words"], torch.randn(5, SINGLE.hidden_size)
    scores = F.linear(head.transform(states), model.encoder.text_embedding.word.weight, head.bias)
    assert torch.allclose(scores, bert.cls.predictions(states), rtol=0, atol=1e-5)
    begun(tmp_path / "heads")
    new = begun(folder, objectives=WORDS).objectives["masked_words"]
    assert torch.equal(
        new.transform.dense.weight, build(objectives=WORDS).objectives["masked_words"].transform.dense.weight
    )


def test_it_is_known_on_a_model_without_content_whether_bert_fits(folder):
    with torch.device("meta"):
        model = Model(SINGLE, NO_OBJECTIVES, shrunk())
    state = bert_state(read_published(folder), model, TOKENIZER)
    assert all(torch.equal(tensor, begun(folder).state_dict()[name]) for name, tensor in state.items())


@pytest.mark.parametrize("name", ["uniter", "visual-parsing", "visual-parsing-small"])
def test_bert_base_fits_the_presets_that_are_to_begin_with_it(name, tmp_path):
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *map(str, range(30517))]
    (tmp_path / "vocab.txt").write_text("\n".join(pieces))
    shape = find_preset(name).encoder
    with torch.device("meta"):
        model = Model(shape, find_preset(name).objectives, replace(SIZES, **sizes_of(shape)))
        base = Published(path=tmp_path / "file", config=None, tensors=BertModel(BertConfig()).state_dict())
    found = bert_state(base, model, load_tokenizer(str(tmp_path / "vocab.txt")))
    assert {name for name in model.state_dict() if name.startswith("encoder.layers.")} <= found.keys()


def sizes_of(shape):
    return {name: getattr(shape, name) for name in ("hidden_size", "vocab_size", "feature_dim")}


# What does not fit


@pytest.mark.parametrize(
    ("shape", "changes", "message"),
    [
        (SINGLE, {"vocab_size": PIECES + 1}, rf"word_embeddings\.weight \[{PIECES + 1}, 8\], expected {PIECES} rows"),
        (SINGLE, {"hidden_size": 16}, rf"of another shape: embeddings\.word_embeddings\.weight \[{PIECES}, 16\]"),
        (SINGLE, {"max_position_embeddings": 17}, r"1 of another shape: .*position_embeddings\.weight \[17, 8\]"),
        (SINGLE, {"intermediate_size": 17}, r"6 of another shape: encoder\.layer\.0\.intermediate\.dense\.weight"),
        (SINGLE, {"type_vocab_size": 3}, r"token_type_embeddings\.weight \[3, 8\] instead of \[2, 8\]"),
        (SINGLE, {"num_hidden_layers": 1}, "1 layers, expected 2 as the encoder has"),
        (SINGLE, {"num_hidden_layers": 3}, "3 layers, expected 2 as the encoder has"),
        (TWO, {"num_hidden_layers": 1}, "1 layers, expected 2 as the encoder has"),
        (PARSER, {"num_hidden_layers": 1}, "1 layers, expected 2 as the encoder has"),
        (PARSER, {"hidden_size": 16}, rf"of another shape: embeddings\.word_embeddings\.weight \[{PIECES}, 16\]"),
        (SINGLE, {"num_attention_heads": 4}, r"config\.json: 4 heads, expected 2 as the encoder has"),
        (SINGLE, {"hidden_act": "relu"}, r"config\.json: hidden_act 'relu', expected 'gelu'"),
        (SINGLE, {"layer_norm_eps": 1e-5}, r"config\.json: layer_norm_eps 1e-05, expected 1e-12"),
    ],
)
def test_a_bert_of_another_size_is_refused(tmp_path, shape, changes, message):
    bert_like(**changes).save_pretrained(tmp_path)
    with pytest.raises(DataError, match=message):
        begun(tmp_path, shape)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"pooler.dense.bias": None}, r"1 missing: pooler\.dense\.bias$"),
        ({"embeddings.token_type_embeddings.weight": None}, "1 missing: embeddings.token_type"),
        ({"extra": torch.zeros(1)}, "1 left over: extra$"),
        ({"embeddings.word_embeddings.weight": torch.zeros(())}, rf"weight \[\], expected {PIECES} rows"),
        ({"embeddings.token_type_embeddings.weight": torch.zeros(())}, r"weight \[\] instead of \[2, 8\]"),
        ({"cls.predictions.decoder.weight": torch.zeros(PIECES, 8)}, "expected them to be tied"),
    ],
)
def test_a_tensor_too_few_or_too_many_is_named(folder, tensors, message):
    state = load_file(folder / "model.safetensors") | tensors
    save_file({name: each for name, each in state.items() if each is not None}, folder / "model.safetensors")
    with pytest.raises(DataError, match=message):
        begun(folder)


def test_positions_as_a_buffer_of_older_files_are_no_weights(folder):
    state = load_file(folder / "model.safetensors") | {"embeddings.position_ids": torch.arange(16)[None]}
    save_file(state, folder / "model.safetensors")
    begun(folder)


def test_without_a_config_heads_are_64_wide(folder):
    (folder / "config.json").unlink()
    with pytest.raises(DataError, match=r"model\.safetensors: 0 heads, expected 2 as the encoder has"):
        begun(folder / "model.safetensors")


@pytest.mark.parametrize("beside", ["tokenizer.json", "vocab.txt"])
def test_other_pieces_than_the_run_s_are_refused(folder, beside):
    pieces = list(TOKENIZER.backend.get_vocab())
    if beside == "vocab.txt":
        (folder / "tokenizer.json").unlink()
        (folder / beside).write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefg", *pieces]))
    else:
        train_tokenizer(["a blue pyramid"], vocab_size=PIECES).save(folder)
    with pytest.raises(DataError, match=rf"{beside}: other pieces than the run's tokenizer has; give BERT's own with"):
        begun(folder)


@pytest.mark.parametrize(
    ("text", "message"), [("{", "not BERT's config"), ("[]", "holds a list, expected BERT's config")]
)
def test_a_damaged_config_is_refused(folder, text, message):
    (folder / "config.json").write_text(text)
    with pytest.raises(DataError, match=message):
        begun(folder)


def test_a_pickle_that_would_act_does_not(folder, tmp_path):
    trace = tmp_path / "trace"
    state = {**load_file(folder / "model.safetensors"), "pooler.dense.bias": Malice(trace)}
    (folder / "model.safetensors").unlink()
    torch.save(state, folder / "pytorch_model.bin")
    with pytest.raises(DataError, match="holds more than tensors, of which nothing was run"):
        begun(folder)
    assert not trace.exists()


# Out


@pytest.fixture
def exported(tmp_path):
    """Return what exports a model and loads it in transformers."""

    def export(shape):
        model = build(shape, Objectives()).eval()
        nn.init.normal_(model.encoder.pooler.bias)
        export_bert(model, tmp_path, TOKENIZER)
        there, told = BertModel.from_pretrained(tmp_path, output_loading_info=True)
        assert not any(told.values()), told
        return model, there.eval()

    return export


@torch.no_grad()
def test_a_sentence_alone_is_the_same_in_transformers(exported, tmp_path):
    (model, there), batch = exported(SINGLE), make_batch(sizes=shrunk())
    nobody = torch.zeros_like(batch.region_mask)
    found = model.encoder(replace(batch, region_mask=nobody, masked_regions=None))
    expected = there(input_ids=batch.input_ids, attention_mask=batch.text_mask.long())
    assert torch.allclose(found.text, expected.last_hidden_state, rtol=0, atol=1e-5)
    assert torch.allclose(found.pooled, expected.pooler_output, rtol=0, atol=1e-5)
    assert len(AutoTokenizer.from_pretrained(tmp_path)) == PIECES


def test_of_an_encoder_with_an_end_token_and_three_segments_the_text_side_goes_out(exported):
    model, there = exported(replace(SINGLE, end_token=True, num_segments=3))
    assert torch.equal(there.embeddings.token_type_embeddings.weight, model.encoder.text_embedding.segment.weight)


def test_what_went_out_comes_in_bit_for_bit(exported, tmp_path):
    model, _ = exported(SINGLE)
    back = begun(tmp_path)
    for name, tensor in back.encoder.state_dict().items():
        assert torch.equal(tensor, model.encoder.state_dict()[name]), name


def test_a_two_stream_encoder_is_no_bert(tmp_path):
    with pytest.raises(DataError, match="two-stream encoder: BERT has no place for it"):
        export_bert(build(TWO), tmp_path)


# Runs that begin with BERT


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    return learnable_stores(tmp_path_factory.mktemp("bert"))


@pytest.fixture(params=["single-stream", "two-stream"])
def preset(request):
    usual = tiny_preset(num_steps=4)
    if request.param == "two-stream":
        return usual
    single = replace(SINGLE_STREAM, hidden_size=16, intermediate_size=32, max_positions=32)
    return replace(usual, encoder=single)


def run_with_bert(stores, tmp_path, preset, out, seed=1):
    """Begin a run whose first weights are those of a BERT with the vocabulary of its sentences."""
    regions, sentences = stores
    plain = prepare(preset, regions=regions, sentences=sentences, out=tmp_path / f"{out}-plain", overrides=Overrides())
    bert = bert_like(plain.recipe.encoder)
    nn.init.constant_(bert.pooler.dense.bias, seed)
    bert.save_pretrained(tmp_path / "bert")
    plain.tokenizer.save(tmp_path / "bert")
    init = str(tmp_path / "bert")
    prepare(preset, regions=regions, sentences=sentences, out=tmp_path / out, overrides=Overrides(init=init))
    return bert, TrainTask(
        run=tmp_path / out, regions=regions, sentences=sentences, init=init, loader_workers=0, log_every=1,
        checkpoint_every=2,
    )  # fmt: skip


def test_a_run_begins_with_bert_once_and_goes_on_from_its_own_weights(stores, tmp_path, preset):
    still = replace(preset, optimization=replace(preset.optimization, learning_rate=0.0, weight_decay=0.0))
    bert, task = run_with_bert(stores, tmp_path, still, "still")
    train(task)
    trained = read_tensors(latest_checkpoint(task.run).folder / "model.safetensors")
    assert torch.equal(trained["encoder.text_embedding.word.weight"], bert.embeddings.word_embeddings.weight)
    assert torch.equal(trained["encoder.pooler.bias"], torch.ones(16))

    _, task = run_with_bert(stores, tmp_path, preset, "run")
    expected = train(task)
    shutil.rmtree(task.run / "checkpoints/step-00000004")
    (task.run / "metrics.jsonl").unlink()
    shutil.rmtree(tmp_path / "bert")  # the run has weights of its own by now
    train(task)
    assert curve(task.run) == expected[2:]


def test_the_recipe_knows_the_bert_it_began_with_and_refuses_another(stores, tmp_path):
    preset = tiny_preset(num_steps=2)
    _, task = run_with_bert(stores, tmp_path, preset, "run")
    recorded = open_run(task.run).recipe.data["init"]
    assert recorded == read_published(tmp_path / "bert").sha256 and len(recorded) == 64
    with pytest.raises(StoreError, match=r"data\.init was"):
        run_with_bert(stores, tmp_path, preset, "run", seed=2)
    with pytest.raises(StoreError, match=r"data\.init was"):
        prepare(preset, regions=stores[0], sentences=stores[1], out=tmp_path / "run", overrides=Overrides())


def test_a_rank_that_reads_another_bert_than_the_run_does_not_begin(stores, tmp_path):
    preset = tiny_preset(num_steps=2)
    _, task = run_with_bert(stores, tmp_path, preset, "run")
    began, other = open_run(task.run).recipe.data["init"], tmp_path / "other"
    other.mkdir()
    run_with_bert(stores, other, preset, "run", seed=2)
    with pytest.raises(StoreError, match=rf"data\.init was '{began}', this rank read '[0-9a-f]{{64}}'"):
        train(replace(task, init=str(other / "bert")))


def test_a_bert_that_does_not_fit_ends_it_before_anything_begins(stores, tmp_path):
    bert_like(SINGLE).save_pretrained(tmp_path / "bert")
    overrides = Overrides(init=str(tmp_path / "bert"))
    with pytest.raises(DataError, match="give BERT's own with --tokenizer"):
        prepare(tiny_preset(), regions=stores[0], sentences=stores[1], out=tmp_path / "run", overrides=overrides)
    assert not (tmp_path / "run").exists()
    missing = Overrides(init=str(tmp_path / "none"))
    with pytest.raises(DataError, match=r"expected config\.json and model\.safetensors or pytorch_model\.bin there"):
        prepare(tiny_preset(), regions=stores[0], sentences=stores[1], out=tmp_path / "run", overrides=missing)
