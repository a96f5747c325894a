"""What every experiment in the table promises before anything is trained."""

import re

import pytest

from stores.errors import StoreError
from stores.images.listing import SourceError
from training.experiments.catalog import EXPERIMENTS
from training.experiments.trial import Trial

every_experiment = pytest.mark.parametrize("name", EXPERIMENTS)


@every_experiment
def test_there_is_something_to_compare_in_arms_whose_names_are_folders(name):
    arms = EXPERIMENTS[name].arms
    assert len(arms) >= 2
    assert [arm for arm in arms if not re.fullmatch(r"[a-z0-9-]+", arm)] == []
    assert EXPERIMENTS[name].num_steps > 0


@every_experiment
def test_a_store_that_is_not_there_ends_it_before_anything_is_trained(name, tmp_path):
    experiment = EXPERIMENTS[name]
    trial = Trial(
        experiment=name,
        arm=next(iter(experiment.arms)),
        seed=0,
        regions=None if name == "visual-parsing" else tmp_path / "regions",
        images=(str(tmp_path / "images"),) if name == "visual-parsing" else (),
        sentences=tmp_path / "sentences",
        out=tmp_path / "out",
        num_steps=experiment.num_steps,
    )
    with pytest.raises((StoreError, SourceError, OSError), match=str(tmp_path)):
        experiment.prepare(trial)
    assert not (tmp_path / "out").exists()
