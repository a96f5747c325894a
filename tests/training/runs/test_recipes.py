"""Recipes and the folders of runs: what is written comes back, and nothing is guessed or read past."""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from annotations.answers import AnswerVocabulary
from annotations.guards.drops import DataError
from stores.errors import DamagedFileError, StoreError
from stores.manifest import fingerprint
from tests.training.small_runs import make_run
from training.data.batches import BatchOptions
from training.data.grounding import GroundingOptions
from training.data.targets import TargetOptions
from training.data.tokenizer import train_tokenizer
from training.detector.recipe import DetectorRecipe
from training.models.single_stream import SingleStreamShape
from training.models.two_stream import TwoStreamShape
from training.objectives.attention_supervision import AttentionSupervisionOptions
from training.objectives.catalog import NO_OBJECTIVES, Objectives
from training.objectives.masked_words import MaskedWordsOptions
from training.objectives.phrase_relations import PhraseRelationsOptions
from training.objectives.ranking import RankingOptions
from training.objectives.sizes import Sizes
from training.objectives.word_object_alignment import AlignmentOptions
from training.runs.checkpoints import Checkpoint
from training.runs.folder import begin_run, open_run
from training.runs.presets import PRESETS, find_preset
from training.runs.recipes import Recipe, as_json, as_json_of, read_recipe, read_recipe_of, write_recipe
from training.runs.set_fields import FieldError, with_fields
from training.tasks.catalog import TASKS, find_task
from training.weights.ours import start_of

ROOT = Path(__file__).parents[3]
RECIPES, DETECTORS = TypeAdapter(Recipe), TypeAdapter(DetectorRecipe)
SIZES = Sizes(hidden_size=64, vocab_size=30, feature_dim=8, num_classes=4, num_attributes=4, num_answers=2)
NAMES = [(name, ablation) for name, preset in PRESETS.items() for ablation in (None, *preset.ablations)]


def recipe_of(name="toy", ablation=None, **changes):
    preset = find_preset(name, ablation)
    recipe = Recipe(
        task="pretraining",
        encoder=preset.encoder,
        sizes=SIZES,
        objectives=preset.objectives,
        batches=preset.batches,
        optimization=preset.optimization,
        sources=("vqa-v2", "gqa"),
        batch_size=preset.batch_size,
        num_steps=10,
        precision=preset.precision,
        seed=0,
        data={"regions": "abc", "sentences": "def"},
    )
    return replace(recipe, **changes)


@pytest.mark.parametrize(("name", "ablation"), NAMES, ids=str)
def test_a_recipe_of_any_preset_and_ablation_is_read_as_it_was_written(name, ablation, tmp_path):
    recipe = recipe_of(name, ablation)
    write_recipe(tmp_path, recipe)
    assert read_recipe(tmp_path) == recipe


def edit(folder, change):
    path = folder / "recipe.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda it: it["encoder"].update(num_layers=3), "has encoder.num_layers, which this version does not know; "),
        (lambda it: it["objectives"].update(pair_contrast=None), "has objectives.pair_contrast, which this version"),
        (lambda it: it.update(ema=0.9, seeds=[1]), "has ema, seeds, which this version does not know; expected a"),
        (lambda it: it.pop("seed"), "seed: Field required"),
        (lambda it: it.update(batch_size="many"), "batch_size: .*integer"),
        (lambda it: it.update(batch_size="64"), "batch_size was '64', this run has 64"),
        (lambda it: it["optimization"].update(schedule="sudden"), "optimization.schedule: .*'linear'"),
        (lambda it: it.update(num_steps=0), "num_steps is 0, expected 1 or more"),
        (lambda it: it["batches"].update(max_pieces=65), "max_pieces is 65, expected at most 64"),
    ],
)
def test_a_recipe_with_a_field_too_many_too_few_or_wrong_is_refused_by_its_name(change, says, tmp_path):
    write_recipe(tmp_path, recipe_of())
    edit(tmp_path, change)
    with pytest.raises(DataError, match=says) as refusal:
        read_recipe(tmp_path)
    assert str(tmp_path / "recipe.json") in str(refusal.value)


KEPT = Path(__file__).with_name("kept_recipes")
AS_BEFORE = {
    "uniter-before-0.1.0": {
        "batches.augmentation": None,
        "batches.beside_seed": False,
        "batches.mask_tokens": None,
        "batches.matched_words": False,
        "batches.other_texts": 0,
        "batches.own_texts": 1,
        "batches.token_share": 0.05,
        "objectives.masked_tokens": None,
        "objectives.matching.pooled": True,
        "optimization.trunk_scale": 1.0,
        "optimization.warmup_steps": None,
    },
    "word-object-alignment-0.1.0": {"batches.targets.at_most_k": False},
    "visual-parsing-0.1.0": {"objectives.masked_tokens.matched_only": False},
    "uniter-direct-0.1.0": {"batches.grounding.stored_phrases": False},
    "detector-0.1.0": {},
    "vgp-0.1.0": {"batches.grounding.stored_phrases": False},
    "retrieval-0.1.0": {},
    "retrieval-visual-parsing-0.1.0": {},
}
"""Recipes as older versions wrote them, and what their runs did where a field is younger than they are."""

HEEDED = {
    "vgp-0.1.0": ("caption-pairs", {"max_pieces", "mismatch", "targets", "grounding"}),
    "retrieval-0.1.0": ("ranking-groups", {"max_pieces", "candidates", "swap_phrases", "grounding"}),
}
"""The options of batches that a task's maker heeded of the 18 that every recipe had; the maker's kind is their name."""


def flat(values, path=""):
    if not isinstance(values, dict):
        return {path: values}
    return {
        name: each for key, below in values.items() for name, each in flat(below, f"{path}.{key}".strip(".")).items()
    }


@pytest.mark.parametrize("name", AS_BEFORE)
def test_a_recipe_of_every_released_version_is_read_and_means_what_it_meant(name, tmp_path):
    """A new field is a line here. Where its default does not mean what runs did before, they would be changed."""
    shutil.copy(KEPT / f"{name}.json", tmp_path / "recipe.json")
    written = flat(json.loads((KEPT / f"{name}.json").read_text()))
    if name.startswith("detector"):
        assert flat(as_json_of(DETECTORS, read_recipe_of(DETECTORS, tmp_path))) == written | AS_BEFORE[name]
        return
    ignored = {"batches.candidates", "batches.swap_phrases"}
    kind, heeded = HEEDED.get(name, ("pairs", None))
    if heeded is not None:
        ignored = {each for each in written if each.startswith("batches.") and each.split(".")[1] not in heeded}
    meant = {field: value for field, value in written.items() if field not in ignored}
    assert flat(as_json(read_recipe(tmp_path))) == meant | AS_BEFORE[name] | {"batches.kind": kind}


def test_every_kept_recipe_is_read():
    assert {path.stem for path in KEPT.iterdir()} == set(AS_BEFORE)


def test_a_run_of_an_older_version_is_known_by_its_recipe_as_it_was_written(tmp_path):
    """What began with its weights has recorded that; fields that are younger must not make it another run."""
    run = make_run(tmp_path / "run", ["a dog"])
    edit(tmp_path / "run", lambda it: it["batches"].pop("kind"))
    edit(tmp_path / "run", lambda it: it["batches"].update(candidates=0, swap_phrases=False))
    (tmp_path / "run" / "digests.json").unlink()
    written = json.loads((tmp_path / "run" / "recipe.json").read_text())
    assert start_of(open_run(run), Checkpoint(folder=tmp_path, step=7)) == f"{fingerprint(written)} at step 7"


@pytest.mark.parametrize(("name", "ablation"), NAMES, ids=str)
def test_every_preset_s_batches_have_what_its_objectives_need(name, ablation):
    recipe = recipe_of(name, ablation)
    replace(recipe, batches=recipe.batches.without_idle(recipe.objectives.needs)).require_needs()


def test_every_task_s_batches_have_what_its_objectives_need():
    for name, task in TASKS.items():
        for variant in (None, *task.variants):
            asked = find_task(name, variant)
            assert asked.objectives.needs <= asked.batches.gives, (name, variant)


@pytest.mark.parametrize(
    ("objectives", "says"),
    [
        ({"word_object_alignment": AlignmentOptions()}, "needs alignment, .*; expected batches.targets on, or the"),
        (
            {"attention_supervision": AttentionSupervisionOptions()},
            "needs grounding, .*; expected batches.grounding on",
        ),
        ({"masked_words": MaskedWordsOptions()}, "needs masked_words, .*; expected batches.mask_words on"),
        ({"phrase_relations": PhraseRelationsOptions()}, "needs phrase_pairs, .* another task, whose batches have"),
        ({"ranking": RankingOptions()}, "needs group_size, .*; expected another task"),
    ],
)
def test_what_an_objective_lacks_is_said_of_the_recipe_and_the_advice_helps(objectives, says):
    lacking = recipe_of(objectives=replace(NO_OBJECTIVES, **objectives), batches=BatchOptions())
    with pytest.raises(ValueError, match=says) as refusal:
        lacking.require_needs()
    replace(lacking, objectives=NO_OBJECTIVES).require_needs()
    if option := re.search(r"expected batches\.(\w+) on", str(refusal.value)):
        on = {"targets": TargetOptions(), "grounding": GroundingOptions(), "mask_words": 0.15}[option[1]]
        replace(lacking, batches=BatchOptions(**{option[1]: on})).require_needs()


def test_what_a_maker_does_not_have_cannot_be_set(tmp_path):
    shutil.copy(KEPT / "vgp-0.1.0.json", tmp_path / "recipe.json")
    with pytest.raises(FieldError, match="batches has no 'mask_words'"):
        with_fields(read_recipe(tmp_path), ["batches.mask_words=0.15"])


ADDED = """
from dataclasses import dataclass
from training.objectives.objective import Objective, ObjectiveOptions

@dataclass(frozen=True, kw_only=True)
class PairContrastOptions(ObjectiveOptions):
    margin: float = 0.2

    def build(self, sizes):
        return PairContrast(self, sizes)

class PairContrast(Objective):
    def __init__(self, options, sizes):
        super().__init__(options, terms=("pair_contrast",))

    def forward(self, outputs, batch):
        return {"pair_contrast": outputs.pooled.square().mean()}
"""
OPENED = """
import sys
from dataclasses import replace
from pathlib import Path
import training.objectives.catalog as catalog
from tests.training.builders import make_batch
from training.objectives.pair_contrast import PairContrastOptions
from training.model import build_new
from training.runs.presets import change_objectives, find_preset
from training.runs.folder import begin_run
from training.weights.ours import load_model

run, model = load_model(Path(sys.argv[1]))
assert run.recipe.objectives.pair_contrast is None
begin_run(run.folder, run.recipe, run.tokenizer, run.answers)  # goes on
asked = change_objectives(pair_contrast=PairContrastOptions())(find_preset("toy")).objectives
new = build_new(run.recipe.encoder, asked, run.recipe.sizes, seed=0)
print(Path(catalog.__file__).parents[2], *new.objectives)
"""


def test_a_run_is_opened_after_an_objective_was_added_as_the_house_says(tmp_path):
    """In a scratch copy: a file, and a field of `Objectives` with its import."""
    run, scratch = make_run(tmp_path / "run", ["a dog"]), tmp_path / "scratch"
    for folder in ("annotations", "detectors", "stores", "tests", "training"):
        shutil.copytree(ROOT / folder, scratch / folder, ignore=shutil.ignore_patterns("__pycache__"))
    (scratch / "training/objectives/pair_contrast.py").write_text(ADDED)
    catalog = scratch / "training/objectives/catalog.py"
    text = catalog.read_text()
    for before, after in (
        ("from training.objectives.phrase", "from training.objectives.pair_contrast import PairContrastOptions\n"
         "from training.objectives.phrase"),
        ("    masked_tokens: M", "    pair_contrast: PairContrastOptions | None = None\n    masked_tokens: M"),
    ):  # fmt: skip
        assert text.count(before) == 1
        text = text.replace(before, after)
    catalog.write_text(text)
    command = [sys.executable, "-c", OPENED, str(run)]
    environment = os.environ | {"PYTHONPATH": str(scratch)}
    done = subprocess.run(command, cwd=scratch, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split()[0] == str(scratch)
    assert "pair_contrast" in done.stdout.split()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\x80\x04pickle", b"null"])
def test_what_is_no_recipe_is_refused(content, tmp_path):
    (tmp_path / "recipe.json").write_bytes(content)
    with pytest.raises(DataError, match=r"expected a recipe"):
        read_recipe(tmp_path)


def test_a_folder_without_a_recipe_is_no_run(tmp_path):
    with pytest.raises(DataError, match="no such file, expected the folder of a run; see vinculum-train"):
        open_run(tmp_path)


@pytest.mark.parametrize(("field", "value"), [("batch_size", 0), ("num_steps", 0), ("seed", -1)])
def test_a_number_out_of_its_range_is_refused(field, value):
    with pytest.raises(ValueError, match=f"{field} is {value}, expected"):
        recipe_of(**{field: value})


def test_sentences_longer_than_the_encoder_can_read_are_refused():
    with pytest.raises(ValueError, match="max_pieces is 24, expected at most 16, for which the encoder has positions"):
        recipe_of(encoder=TwoStreamShape(max_positions=16), batches=BatchOptions(max_pieces=24))


def test_two_streams_have_no_rollout_to_supervise():
    objectives = Objectives(attention_supervision=AttentionSupervisionOptions(mode="semi-direct"))
    recipe_of(encoder=SingleStreamShape(), objectives=objectives)
    with pytest.raises(ValueError, match="semi-direct, but a two-stream encoder has no attention rollout"):
        recipe_of(encoder=TwoStreamShape(), objectives=objectives)


TEXTS = ["a red dog", "a blue tree"]
ANSWERS = AnswerVocabulary(answers=("red", "blue"))


def begin(folder, *, texts=TEXTS, answers=ANSWERS, **changes):
    tokenizer = train_tokenizer(texts, vocab_size=60)
    sizes = replace(SIZES, vocab_size=tokenizer.vocab_size)
    return begin_run(folder, recipe_of(sizes=sizes, **changes), tokenizer, answers)


def test_a_run_that_is_begun_is_opened_as_it_is(tmp_path):
    begun = begin(tmp_path)
    for run in (open_run(tmp_path), begin(tmp_path)):
        assert run.recipe == begun.recipe
        assert run.answers.answers == ("red", "blue")
        assert run.tokenizer.encode(["a red tree"], max_pieces=9)[0].ids.tolist() == (
            begun.tokenizer.encode(["a red tree"], max_pieces=9)[0].ids.tolist()
        )


def test_another_recipe_in_the_folder_is_refused_with_both_values(tmp_path):
    begin(tmp_path)
    with pytest.raises(StoreError) as refusal:
        begin(tmp_path, batch_size=32, sources=("gqa",))
    says = str(refusal.value)
    assert "batch_size was 64, this run has 32" in says
    assert "sources had 2 entries, this run has 1" in says
    assert says.endswith("use a new --out, or the options that the run has")


def test_another_tokenizer_of_as_many_pieces_is_refused(tmp_path):
    begin(tmp_path)
    with pytest.raises(StoreError, match="the tokenizer was another one"):
        begin(tmp_path, texts=["a reb dog", "a dlue tree"])


def test_another_table_of_as_many_answers_is_refused(tmp_path):
    begin(tmp_path)
    with pytest.raises(StoreError, match="the table of answers was another one"):
        begin(tmp_path, answers=AnswerVocabulary(answers=("blue", "red")))


def test_a_tokenizer_that_does_not_fit_the_recipe_is_refused(tmp_path):
    run = begin(tmp_path)
    train_tokenizer(["something else altogether"], vocab_size=60).save(tmp_path)
    with pytest.raises(DamagedFileError, match=r"tokenizer.json: SHA-256 .*; bring back the file as it was"):
        open_run(tmp_path)
    (tmp_path / "digests.json").unlink()  # as older versions wrote none
    with pytest.raises(DataError, match=f"expected {run.recipe.sizes.vocab_size} as the recipe says"):
        open_run(tmp_path)
