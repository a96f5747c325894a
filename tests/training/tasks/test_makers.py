"""A recipe's batches are made by the maker whose options they are, whatever the task's own maker is."""

from dataclasses import replace

import numpy as np
import pytest

from annotations.answers import AnswerVocabulary
from tests.training.caption_stores import caption_stores
from training.data.batches import BatchMaker
from training.data.shards import join
from training.data.tokenizer import train_tokenizer
from training.tasks.catalog import TASKS, find_task
from training.tasks.makers import build_maker
from training.tasks.ranking_batches import RankingMaker

NO_ANSWERS = AnswerVocabulary(answers=())


@pytest.fixture(scope="module")
def make(tmp_path_factory):
    with join(*caption_stores(tmp_path_factory.mktemp("stores"))) as shards:
        tokenizer = train_tokenizer(["the little red green blue gray cube ball stool is there one here"], vocab_size=60)
        yield lambda options: build_maker(shards, tokenizer, options, answers=NO_ANSWERS, seed=0)


def test_retrieval_as_a_visual_parser_learns_it_exchanges_captions(make):
    """Its batches were once those of the task: groups of one, in which every pair matches."""
    maker = make(replace(find_task("retrieval", "visual-parsing").batches, max_pieces=16))
    assert isinstance(maker, BatchMaker)
    numbers = maker.shards.select(splits=("train",))
    assert 0 < maker.make(np.resize(numbers, 40)).is_matched.float().mean() < 1


def test_every_task_and_variant_has_a_maker(make):
    for name, task in TASKS.items():
        if name == "vgp":  # asks for sentences of its own when it begins
            continue
        for variant in (None, *task.variants):
            make(find_task(name, variant).batches)
    assert isinstance(make(find_task("retrieval").batches), RankingMaker)
