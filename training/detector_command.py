"""`vinculum-train detector`: a Faster R-CNN with attributes from Visual Genome annotations."""

import json
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import torch
import tyro
from torch import nn
from tqdm import tqdm

from annotations.datasets.visual_genome import read_objects
from annotations.drops import Drops
from detectors.anchors import rounded_anchors
from detectors.conventions import Conventions
from detectors.evaluation import DetectorScores, evaluate
from detectors.faster_rcnn_network import Architecture, FasterRCNNNetwork
from detectors.training import GoldImage, TrainingOptions, TrainingStep, train
from detectors.vocabulary import Vocabulary, read_vocabulary
from detectors.weights import read_trainable, save_weights, sha256_of
from training.gold_images import gold_images, image_files, read_split

SIZES: dict[str, tuple[Architecture, Conventions]] = {
    "resnet101": (Architecture(), Conventions()),
    # 2048-d regions like its big sister's, from bottlenecks an eighth as wide: a laptop trains it over a lunch.
    "small": (
        Architecture(
            blocks=(1, 2, 3, 1),
            width_per_group=8,
            rpn_channels=32,
            anchors=rounded_anchors((32, 64, 128, 256)),
            class_embedding_dim=32,
            attribute_hidden_dim=64,
        ),
        Conventions(
            pooling_size=7, short_side=256, long_side=427, pixel_stds=(57.4, 57.1, 58.4),
            rpn_before_nms=1000, rpn_after_nms=150, boxes="regressed",
        ),
    ),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class DetectorCommand:
    """Train and evaluate a Faster R-CNN with attributes on Visual Genome annotations.

    vinculum-train detector --annotations world/visual_genome --images world/images --size small --out run
    """

    annotations: Path
    """Folder with objects.json, attributes.json, image_data.json, train.txt and val.txt."""
    images: tuple[Path, ...]
    """Folders with the image files, named by their ids."""
    out: Path
    """Folder for detector.safetensors, metrics.json and losses.jsonl."""
    size: Literal["resnet101", "small"] = "resnet101"
    """Network: ResNet-101-C4, or the one the toy world's detector has."""
    init: str | None = None
    """Weights to start from, with frozen norms: a detector of this vocabulary, ours or published, or a ResNet of
    torchvision's; without them the network starts from noise, with trained norms."""
    vocabulary: Path | None = None
    """Folder with objects_vocab.txt and attributes_vocab.txt; that of the annotations by default."""
    options: Annotated[TrainingOptions, tyro.conf.arg(name="")] = field(default_factory=TrainingOptions)
    json: bool = False
    """Print one machine-readable summary as the last line."""

    def run(self) -> dict[str, object]:
        """Train, evaluate on the val split, write everything under `out`, and return the summary."""
        vocabulary = read_vocabulary(self.vocabulary or self.annotations)
        drops = Drops()
        gold = list(
            gold_images(read_objects(self.annotations, drops=drops), image_files(self.images), vocabulary, drops)
        )
        val_ids = read_split(self.annotations / "val.txt")
        train_ids = read_split(self.annotations / "train.txt") - val_ids
        for reason, count in drops.counts.items():
            print(f"left out {count}: {reason} (first: {drops.first[reason]})", file=sys.stderr)
        network, conventions = self._start(vocabulary)
        self.out.mkdir(parents=True, exist_ok=True)
        self._train(network, [image for image in gold if image.image_id in train_ids], conventions)
        save_weights(self.out / "detector.safetensors", network, conventions, vocabulary)
        # What is scored is the file as others will load it, float16 tensors and all.
        stored, _ = read_trainable(str(self.out / "detector.safetensors"), vocabulary)
        scores = evaluate(stored, [image for image in gold if image.image_id in val_ids], conventions)
        return self._summarise(scores)

    def _start(self, vocabulary: Vocabulary) -> tuple[FasterRCNNNetwork, Conventions]:
        if self.init is not None:
            return read_trainable(self.init, vocabulary)
        shape, conventions = SIZES[self.size]
        shape_for_vocabulary = asdict(shape) | {
            "num_classes": len(vocabulary.classes),
            "num_attributes": len(vocabulary.attributes),
        }
        torch.manual_seed(self.options.seed)
        return FasterRCNNNetwork(Architecture(**shape_for_vocabulary), conventions, nn.BatchNorm2d), conventions

    def _train(self, network: FasterRCNNNetwork, images: list[GoldImage], conventions: Conventions) -> None:
        with (
            tqdm(total=self.options.steps, unit="step", disable=not sys.stderr.isatty()) as bar,
            (self.out / "losses.jsonl").open("w", encoding="utf-8") as log,
        ):

            def on_step(step: TrainingStep) -> None:
                bar.update()
                bar.set_postfix_str(" ".join(f"{name} {value:.3f}" for name, value in step.losses.items()))
                log.write(json.dumps(asdict(step)) + "\n")
                if step.step % 100 == 0:
                    log.flush()

            train(network, images, conventions, self.options, on_step)

    def _summarise(self, scores: DetectorScores) -> dict[str, object]:
        weights = self.out / "detector.safetensors"
        summary = {"weights": str(weights), "sha256": sha256_of(weights), **asdict(scores)}
        (self.out / "metrics.json").write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
        return summary
