"""Readers of the room `training`: tokenizers, runs, checkpoints, published weights and figures."""

from dataclasses import replace

from tests.fuzz.rows import Reader, write_all

TEXTS = ["a red cube", "a green ball"]


def tokenizer_file(folder):
    from training.data.tokenizer import train_tokenizer

    train_tokenizer(TEXTS, vocab_size=30).save(folder)


def tokenizer_folder(folder):
    tokenizer_file(folder)
    config = {"tokenizer_class": "BertTokenizer", "do_lower_case": True, "model_max_length": 16}
    write_all(tokenizer_config__json=config)(folder)


def read_tokenizer(below):
    def read(folder):
        from training.data.tokenizer import load_tokenizer

        load_tokenizer(str(folder / below)).encode(["a red cube, [MASK] \u00e9t\u00e9", ""], max_pieces=4)

    return read


def recipe(folder):
    from tests.training.small_runs import make_run

    make_run(folder, TEXTS)
    keep_only(folder, "recipe.json")


def keep_only(folder, name):
    for path in folder.rglob("*"):
        if path.is_file() and path.name != name:
            path.unlink()


def read_recipe(folder):
    from training.runs.recipes import as_json, read_recipe

    as_json(read_recipe(folder))


def read_run(folder):
    from training.runs.folder import open_run

    open_run(folder)


def whole_run(folder):
    from tests.training.small_runs import make_run

    make_run(folder, TEXTS)
    for path in (folder / "checkpoints").rglob("*.safetensors"):
        path.unlink()


def tiny_network():
    import torch

    from training.runs.optimizers import Optimization, make_optimizer

    model = torch.nn.Linear(2, 1)
    return model, make_optimizer(model, Optimization(optimizer="adamw"))


def checkpoint(folder):
    from training.runs.checkpoints import save_checkpoint

    model, optimizer = tiny_network()
    for weight in model.parameters():
        weight.sum().backward()
    optimizer.step()
    save_checkpoint(folder, step=1, model=model, optimizer=optimizer, average=model.state_dict())


def read_checkpoint(folder):
    from training.runs.checkpoints import latest_checkpoint, load_optimizer, load_weights, require_whole

    model, optimizer = tiny_network()
    found = latest_checkpoint(latest_checkpoint(folder).folder)
    require_whole(found)
    load_weights(found, model)
    load_weights(found, model, average=True)
    load_optimizer(found, model, optimizer)


def read_metrics(folder):
    from training.execution.progress import progress_line, read_metrics
    from training.report.curves import plot_terms

    lines = read_metrics(folder)
    plot_terms([lines])
    for line in lines:
        progress_line(line)


def read_scores(folder):
    from training.report.tables import figure_rows, figure_tables, read_figures

    figure_tables([folder])
    figure_rows([read_figures(folder / "probe.json")])


def read_result(folder):
    from training.experiments.trial import read_result

    read_result(folder)


def published(layout):
    def make(folder):
        import torch
        from safetensors.torch import save_file

        from tests.training.builders import SHAPE, SINGLE_STREAM, SIZES
        from tests.training.uniter_files import uniter_state
        from training.model import build_new
        from training.objectives.catalog import Objectives
        from training.weights.bert import export_bert
        from training.weights.huggingface import export_huggingface
        from training.weights.vinculum import export_own

        if layout == "uniter":
            save_file({name: each.clone() for name, each in uniter_state(hidden=64).items()}, folder / "w.safetensors")
            return
        shape = SHAPE if layout == "lxmert" else SINGLE_STREAM
        model = build_new(shape, Objectives(), SIZES, seed=0)
        with torch.no_grad():
            {"lxmert": export_huggingface, "bert": export_bert, "vinculum": export_own}[layout](model, folder)

    return make


def read_published(below):
    def read(folder):
        from training.weights.layouts import published_model
        from training.weights.published import read_published

        published_model(read_published(folder / below))

    return read


def read_bert(folder):
    from tests.training.builders import SINGLE_STREAM, SIZES
    from training.data.tokenizer import train_tokenizer
    from training.model import build_new
    from training.objectives.catalog import Objectives
    from training.weights.bert import begin_with_bert
    from training.weights.published import read_published

    tokenizer = train_tokenizer(TEXTS, vocab_size=30)
    shape = replace(SINGLE_STREAM, vocab_size=tokenizer.vocab_size)
    sizes = replace(SIZES, vocab_size=tokenizer.vocab_size)
    begin_with_bert(read_published(folder), build_new(shape, Objectives(), sizes, seed=0), tokenizer)


def bert(folder):
    from tests.training.builders import SINGLE_STREAM, SIZES
    from training.data.tokenizer import train_tokenizer
    from training.model import build_new
    from training.objectives.catalog import Objectives
    from training.weights.bert import export_bert

    tokenizer = train_tokenizer(TEXTS, vocab_size=30)
    shape = replace(SINGLE_STREAM, vocab_size=tokenizer.vocab_size)
    model = build_new(shape, Objectives(), replace(SIZES, vocab_size=tokenizer.vocab_size), seed=0)
    export_bert(model, folder, tokenizer)


def read_choices(folder):
    from training.tasks.gqa import read_choices

    read_choices(folder / "val_choices.json")


def read_split(folder):
    from training.detector.gold_images import read_split

    read_split(folder / "train.txt")


VOCABULARY = b"[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nred\n##d\n"
METRICS = (
    b'{"step": %d, "loss": 2.5, "terms": {"masked_words": 2.5}, "gradient_norm": 1.0, "learning_rate": 0.1, '
    b'"samples_per_second": 9.5, "data_wait_share": 0.1, "memory_mb": 10, "skipped_images": 0, "time": 1.5}\n'
)
PROBE = {"accuracy": {"value": 0.5, "of": 8}, "layers": {"cross.0": {"value": 0.25}}}

TRAINING = {
    "tokenizer.json": Reader(make=tokenizer_file, read=read_tokenizer("tokenizer.json")),
    "tokenizer of Hugging Face": Reader(make=tokenizer_folder, read=read_tokenizer(".")),
    "vocab.txt": Reader(make=write_all(vocab__txt=VOCABULARY), read=read_tokenizer("vocab.txt")),
    "recipe.json": Reader(make=recipe, read=read_recipe),
    "a run with digests": Reader(make=whole_run, read=read_run),
    "checkpoint of a run": Reader(make=checkpoint, read=read_checkpoint),
    "metrics.jsonl": Reader(make=write_all(metrics__jsonl=METRICS % 1 + METRICS % 2), read=read_metrics),
    "figures of a report": Reader(make=write_all(probe__json=PROBE), read=read_scores),
    "result of a trial": Reader(make=write_all(result__json={"loss": 0.5, "accuracy": 1}), read=read_result),
    "weights of LXMERT": Reader(make=published("lxmert"), read=read_published(".")),
    "weights of UNITER": Reader(make=published("uniter"), read=read_published("w.safetensors")),
    "weights of our own layout": Reader(make=published("vinculum"), read=read_published(".")),
    "weights of BERT": Reader(make=bert, read=read_bert),
    "choices of GQA": Reader(
        make=write_all(val_choices__json={"02": {"valid": ["yes", "no"], "plausible": ["yes"]}}), read=read_choices
    ),
    "split of a detector": Reader(make=write_all(train__txt=b"1\ndir/2.jpg 2.xml\n"), read=read_split),
}
