"""`vinculum-train detector`: a Faster R-CNN with attributes from Visual Genome annotations."""

import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import tyro

from annotations.datasets.visual_genome import read_objects
from annotations.guards.drops import DataError, Drops
from detectors.conventions import Conventions
from detectors.devices import device_of
from detectors.digests import sha256_of
from detectors.evaluation import EvaluationRules
from detectors.gold_boxes import GoldBoxes
from detectors.networks.anchors import rounded_anchors
from detectors.networks.faster_rcnn import Architecture
from detectors.precision import Precision, resolve_precision
from detectors.training import TrainingOptions
from detectors.vocabulary import Vocabulary, read_vocabulary
from detectors.weights.files import read_trainable
from stores.programs.terminal import printable
from stores.programs.volume import Volume
from training.detector.batches import image_order
from training.detector.gold_images import collect_gold, image_files, read_split
from training.detector.recipe import PRESETS, DetectorRecipe, PresetName, begin_detector_run, optimization_of
from training.detector.worker import SCORES, WEIGHTS, DetectorTask, state_sha256, train_detector
from training.execution.settings import Execution, absolute
from training.report.tables import read_figures

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

FILES = ("objects.json", "attributes.json", "image_data.json", "train.txt", "val.txt")


@dataclass(frozen=True, kw_only=True)
class DetectorCommand:
    """Train and evaluate a Faster R-CNN with attributes on Visual Genome annotations; run again, it goes on.

    vinculum-train detector --annotations world/visual_genome --images world/images --size small --out run
    """

    annotations: Path
    """Folder with objects.json, attributes.json, image_data.json, train.txt and val.txt."""
    images: tuple[Path, ...]
    """Folders with the image files, named by their ids."""
    out: Path
    """Folder of the run.
    It gets detector.safetensors, scores, the recipe, checkpoints, metrics.jsonl and TensorBoard's curves."""
    size: Literal["resnet101", "small"] | None = None
    """Size of the network, where there is no --init; by default resnet101, which is ResNet-101-C4."""
    init: str | None = None
    """Weights to start from, with frozen norms: a detector of this vocabulary, or a ResNet of torchvision's.
    Without them the network starts from noise, with trained norms."""
    vocabulary: Path | None = None
    """Folder with objects_vocab.txt and attributes_vocab.txt; by default the one of the annotations."""
    preset: PresetName = "adamw"
    """Optimizer and schedule: `adamw` along a cosine, or SGD with momentum and steps as a public model had it."""
    steps: int | None = None
    """Number of optimizer steps; by default the preset's 3,000, 380,000 or 180,000.
    With 0 the weights of --init are measured as they are."""
    batch_size: int | None = None
    """Number of images in a step of all workers together; by default the preset's 8."""
    learning_rate: float | None = None
    """Peak of the learning rate; by default the preset's 0.001, or 0.01 with detectron2."""
    weight_decay: float | None = None
    """Weight decay; by default the preset's 0.0001, or 0.0005 with bottom-up-attention."""
    training: Annotated[TrainingOptions, tyro.conf.arg(name="")] = field(default_factory=TrainingOptions)
    precision: Precision = "auto"
    """Number format of the ResNet; `auto` takes bfloat16 on GPUs that have units for it, else float32."""
    seed: int = 0
    """Seed of the initial weights, the order of images and every random draw."""
    evaluate_every: int = 0
    """Number of steps between two measurements on the val images; with 0 only the end is measured."""
    rules: Annotated[EvaluationRules, tyro.conf.arg(name="")] = field(default_factory=EvaluationRules)
    execution: Annotated[Execution, tyro.conf.arg(name="")] = field(default_factory=Execution)
    volume: Annotated[Volume, tyro.conf.arg(name="")] = field(default_factory=Volume)
    json: bool = False
    """Print one machine-readable summary as the last line."""

    def run(self) -> dict[str, Any]:
        """Train what is missing, evaluate on the val split, and return the summary."""
        recipe = self._recipe(read_vocabulary(self.vocabulary or self.annotations))
        if recipe.num_steps:
            self.execution.require_parts(recipe.batch_size)
        task = DetectorTask(
            run=self.out.resolve(),
            images=tuple(folder.resolve() for folder in self.images),
            init=absolute(self.init),
            rules=self.rules,
            evaluate_every=self.evaluate_every,
            accumulation=self.execution.accumulation,
            loader_workers=self.execution.loader_workers,
            checkpoint_every=self.execution.checkpoint_every,
            keep=self.execution.keep,
            log_every=self.execution.log_every,
        )
        files = image_files(self.images)
        begin_detector_run(self.out, recipe, lambda: self._read_gold(recipe, files), files)
        if self._scores() is None:
            with self.volume.applied():
                self.execution.launch(train_detector, task, num_steps=recipe.num_steps)
        weights = self.out / WEIGHTS
        trained = {"weights": str(weights), "sha256": sha256_of(weights)} if recipe.num_steps else {}
        return {"out": str(self.out), **trained, **(self._scores() or {})}

    def _recipe(self, vocabulary: Vocabulary) -> DetectorRecipe:
        preset = PRESETS[self.preset]
        num_steps = preset.num_steps if self.steps is None else self.steps
        if num_steps == 0 and self.init is None:
            raise ValueError("0 steps of weights that are noise; expected --init with those that are to be measured")
        if self.size is not None and self.init is not None:
            raise ValueError(f"--size {self.size}: the network is that of --init {self.init}; expected one of the two")
        data = {name: sha256_of(self.annotations / name) for name in FILES if (self.annotations / name).is_file()}
        architecture, conventions = SIZES[self.size or "resnet101"]
        if self.init is not None:
            torch.manual_seed(self.seed)  # of the heads, where a ResNet has none
            network, conventions = read_trainable(self.init, vocabulary)
            architecture = network.architecture
            data["init"] = state_sha256(network)
        frozen_stages = self.training.frozen_stages
        if frozen_stages is None:
            frozen_stages = 0 if self.init is None else 2
        return DetectorRecipe(
            architecture=replace(
                architecture, num_classes=len(vocabulary.classes), num_attributes=len(vocabulary.attributes)
            ),
            conventions=conventions,
            has_frozen_norms=self.init is not None,
            vocabulary=vocabulary,
            training=replace(self.training, frozen_stages=frozen_stages),
            optimization=optimization_of(preset, learning_rate=self.learning_rate, weight_decay=self.weight_decay),
            batch_size=preset.batch_size if self.batch_size is None else self.batch_size,
            num_steps=num_steps,
            precision=self._precision(),
            seed=self.seed,
            data=data,
        )

    def _precision(self) -> Literal["float32", "bfloat16"]:
        gpu = device_of(self.execution.device) == "cuda"
        if self.precision == "auto" and not gpu:
            return "float32"
        format_ = resolve_precision(self.precision, torch.device("cuda" if gpu else "cpu"))
        return "bfloat16" if format_ == torch.bfloat16 else "float32"

    def _read_gold(self, recipe: DetectorRecipe, files: Mapping[str, str]) -> GoldBoxes:
        drops = Drops()
        train, val = (read_split(self.annotations / name) for name in ("train.txt", "val.txt"))
        annotated = read_objects(self.annotations, drops=drops)
        gold = collect_gold(annotated, files, recipe.vocabulary, train=train, val=val, drops=drops)
        for reason, count in drops.counts.items():
            print(printable(f"left out {count}: {reason} (first: {drops.first[reason]})"), file=sys.stderr)
        if not gold.is_val.any():
            raise DataError(f"{self.annotations}: no image of val.txt is left to measure on; expected one or more")
        if recipe.num_steps:
            image_order(gold, recipe.conventions, batch_size=recipe.batch_size, seed=recipe.seed)
        return gold

    def _scores(self) -> dict[str, Any] | None:
        """Return what the run's weights have scored by these rules, if they were measured."""
        found = read_figures(self.out / SCORES, advice="remove it, and run again to measure")
        scores: dict[str, Any] | None = found.get("scores") if found.get("rules") == asdict(self.rules) else None
        return scores
