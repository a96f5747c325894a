"""Runs of a few steps on stores that were made to be learnt: what a sentence says, its image shows."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from detectors.records import RegionFeatures
from tests.training.joined_stores import Spoken, Word, join_stores
from training.execution.pretrain import Overrides, prepare
from training.execution.worker import Place, TrainTask, train_run
from training.models.two_stream import TwoStreamShape
from training.runs.optimizers import Optimization
from training.runs.presets import Preset, find_preset

COLORS = ("red", "blue", "green", "black")
THINGS = ("dog", "tree", "ball", "house")
CONFIGURATION = {
    "detector": {"name": "faster-rcnn", "vocabulary": {"classes": list(THINGS), "attributes": list(COLORS)}}
}
FEATURE_DIM = 8


def learnable_stores(
    folder: Path, *, num_images: int = 24, broken: str = "", configuration: dict[str, Any] = CONFIGURATION
) -> tuple[Path, Path]:
    """Return the folders of regions and sentences: every image has four things, of which its two sentences speak.

    The features of the image `broken` are not finite.
    """
    draw = np.random.default_rng(0)
    images, sentences = [], []
    for number in range(num_images):
        things, colors = draw.permutation(4), draw.integers(4, size=4)
        image_id = f"image-{number:03d}"
        images.append(_image(image_id, things, colors, value=np.nan if image_id == broken else 1))
        one, other = draw.choice(4, 2, replace=False)
        named = [(COLORS[colors[at]], THINGS[things[at]]) for at in (one, other)]
        sentences += [
            Spoken(
                text=f"a {' '.join(named[0])} near a {' '.join(named[1])}",
                image_ids=[image_id],
                words=[_word(word, at) for words, at in zip(named, (one, other), strict=True) for word in words],
                source="coco-captions",
            ),
            Spoken(
                text=f"what color is the {named[0][1]}?",
                image_ids=[image_id],
                words=[_word(named[0][1], one)],
                answers={named[0][0]: 1.0},
                source="vqa-v2",
            ),
        ]
    half = num_images // 2
    return join_stores(
        folder,
        [images[:half], images[half:]],
        [sentences[:num_images], sentences[num_images:]],
        configuration=configuration,
    )


def tiny_preset(ablation: str | None = None, *, dropout: float = 0.1, **changes: Any) -> Preset:
    """Return the toy preset on an encoder that takes a hundredth of a second a step."""
    encoder = TwoStreamShape(
        hidden_size=16, intermediate_size=32, num_heads=2, num_text_layers=1, num_region_layers=1, num_cross_layers=1,
        max_positions=32, dropout=dropout, attention_dropout=dropout,
    )  # fmt: skip
    optimization = Optimization(optimizer="adamw", learning_rate=3e-3, epsilon=1e-8)
    return replace(
        find_preset("toy", ablation),
        **{"encoder": encoder, "optimization": optimization, "batch_size": 8, "num_steps": 12} | changes,
    )


def begin(stores: tuple[Path, Path], out: Path, preset: Preset | None = None, **more: Any) -> TrainTask:
    """`out` is a run that waits to be trained, in this process; returns what its ranks must know."""
    regions, sentences = stores
    chosen = tiny_preset() if preset is None else preset
    prepare(chosen, regions=regions, sentences=sentences, out=out, overrides=Overrides())
    options = {"loader_workers": 0, "log_every": 1, "checkpoint_every": 4, **more}
    return TrainTask(run=out, regions=regions, sentences=sentences, **options)


def train(task: TrainTask, **place: Any) -> list[dict[str, Any]]:
    """Train the run to its end; returns the lines of its metrics, without what no two runs have in common."""
    train_run(task, Place(**place))
    return curve(task.run)


def curve(run: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [
        {name: line[name] for name in ("step", "loss", "terms", "gradient_norm", "learning_rate")} for line in lines
    ]


def _image(image_id: str, things: Any, colors: Any, *, value: float) -> RegionFeatures:
    features = np.zeros((4, FEATURE_DIM), np.float16)
    features[np.arange(4), things] = value
    features[np.arange(4), 4 + colors] = 1
    corners = np.array([[0, 0], [60, 0], [0, 60], [60, 60]], np.float32)
    return RegionFeatures(
        image_id=image_id,
        image_width=120,
        image_height=120,
        boxes_xyxy=np.hstack([corners, corners + 50]),
        features=features,
        class_ids=things.astype(np.int32),
        class_scores=np.ones(4, np.float32),
        attribute_ids=colors.astype(np.int32),
        attribute_scores=np.ones(4, np.float32),
        selection="given",
    )


def _word(says: str, at: int) -> Word:
    shows = (np.arange(4) == at).astype(float).tolist()
    return Word(says=says, position=shows, semantic=shows)
