"""One rank of a detector's run: steps, then scores; what Ray starts on every worker, and tests start alone."""

import hashlib
import json
import math
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import torch
import torch.distributed as dist
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torchvision.ops import FrozenBatchNorm2d

from detectors.evaluation import (
    DetectorScores,
    EvaluationRules,
    Found,
    Precision,
    Seen,
    average_precision,
    gold_of,
    look_at,
    summarise,
    table,
)
from detectors.gold_boxes import GoldBoxes, GoldImage
from detectors.networks.faster_rcnn import FasterRCNNNetwork
from detectors.records import DecodedImage
from detectors.training import LearningDetector
from detectors.weights.files import read_trainable, save_weights
from stores.atomic import replacing, write_json
from training.data.loader import Feed, StepBatches
from training.data.order import parts_of_rank
from training.detector.batches import DetectorBatch, DetectorBatchMaker, image_order
from training.detector.gold_images import image_files, read_image
from training.detector.recipe import DetectorRecipe, DetectorRun, open_detector_run, require_same_images
from training.execution.loop import Loop, StepReport
from training.execution.progress import MetricsLog, forget_after
from training.execution.stop_request import stop_is_requested
from training.execution.worker import Place, newest_checkpoint
from training.runs.checkpoints import load_optimizer, load_weights, save_checkpoint
from training.runs.folder import require_begun_with
from training.runs.optimizers import make_optimizer

T = TypeVar("T")

WEIGHTS, SCORES, CURVE = "detector.safetensors", "scores.json", "scores.jsonl"


@dataclass(frozen=True, kw_only=True)
class DetectorTask:
    """What a rank must know besides the run's folder."""

    run: Path
    images: tuple[Path, ...]
    init: str | None = None
    """Weights to start from."""
    rules: EvaluationRules = field(default_factory=EvaluationRules)
    evaluate_every: int = 0
    """Steps; 0 evaluates at the end alone."""
    accumulation: int = 1
    """Parts of a step's images whose gradients are added up."""
    loader_workers: int = 1
    """Processes that make batches, for each rank."""
    checkpoint_every: int = 1000
    """Steps."""
    keep: int = 2
    """Checkpoints."""
    log_every: int = 10
    """Steps."""

    def __post_init__(self) -> None:
        for name, least in (("evaluate_every", 0), ("checkpoint_every", 1), ("keep", 1), ("log_every", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)}, expected {least} or more")


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A detector's scores, and those of every class and attribute by its row."""

    scores: DetectorScores
    classes: dict[int, Precision]
    attributes: dict[int, Precision]


def train_detector(task: DetectorTask, place: Place) -> None:
    """The run has its last checkpoint, its weights and their scores; it goes on from the newest that it has.

    One that is asked to stop while it learns has a checkpoint of the step that it was at, and no more.

    Raises:
        LoopError: a loss is not finite.
        OrderError: the batch cannot be divided among the ranks.
        DataError, StoreError: an image or a file of the run is not as it should be.
    """
    run, device = open_detector_run(task.run), torch.device(place.device)
    files = image_files(task.images)
    require_same_images(run, files)
    network, first = begin_network(run, place, task.init)
    if first < run.recipe.num_steps and not _learn(task, run, files, network, first, place):
        return
    if run.recipe.num_steps:
        network = _stored(network, run, place).to(device)
        _take_from_first_rank(network.state_dict(), place)
    network.optimise(torch.float32, device)
    measured = measure(network, run, files, task, place)
    if place.rank == 0:
        _write_scores(run, task.rules, measured)


def begin_network(run: DetectorRun, place: Place, init: str | None) -> tuple[FasterRCNNNetwork, int]:
    """Return the network of the run's newest checkpoint, or the first one, and how many steps it has done."""
    newest = newest_checkpoint(run.folder, place)
    if newest is None:
        return first_network(run.recipe, init), 0
    network = _new_network(run.recipe)
    load_weights(newest, network)
    return network, newest.step


def state_sha256(network: FasterRCNNNetwork) -> str:
    """Return a digest of a network's weights."""
    return hashlib.sha256(save(network.state_dict())).hexdigest()


def first_network(recipe: DetectorRecipe, init: str | None) -> FasterRCNNNetwork:
    """Return the network that a run begins with: that of `init`, where it has heads, and noise of the recipe's seed."""
    torch.manual_seed(recipe.seed)
    if init is None:
        return _new_network(recipe)
    network, _ = read_trainable(init, recipe.vocabulary)
    require_begun_with(recipe.data, "init", state_sha256(network))
    return network


def measure(
    network: FasterRCNNNetwork, run: DetectorRun, files: Mapping[str, str], task: DetectorTask, place: Place
) -> Measured:
    """Return the scores on the val images: each rank looks at its share of them, then computes its share of classes.

    What one rank keeps of an image is a few hundred boxes.
    """
    network.eval()
    recipe, gold = run.recipe, run.gold
    numbers = [number for number, is_val in enumerate(gold.is_val) if is_val]
    mine = _decoded_ahead(gold, numbers[place.rank :: place.num_ranks], files, num_threads=1 + task.loader_workers)
    share = Seen.join([look_at(network, *each, recipe.conventions, task.rules) for each in mine])
    seen = Seen.join(_of_all_ranks(share, place))

    def precision(gold_boxes: Found, found: Found, names: Sequence[str]) -> dict[int, Precision]:
        rows = range(1 + place.rank, len(names) + 1, place.num_ranks)
        share = average_precision(gold_boxes, found, rows, per_image=task.rules.detections_per_image)
        return dict(sorted(pair for part in _of_all_ranks(share, place) for pair in part.items()))

    gold_objects, gold_attributes = gold_of(gold, numbers)
    classes = precision(gold_objects, seen.objects, recipe.vocabulary.classes)
    attributes = precision(gold_attributes, seen.attributes, recipe.vocabulary.attributes)
    return Measured(
        scores=summarise(classes, attributes, seen, num_images=len(numbers)), classes=classes, attributes=attributes
    )


def _learn(
    task: DetectorTask,
    run: DetectorRun,
    files: Mapping[str, str],
    network: FasterRCNNNetwork,
    first: int,
    place: Place,
) -> bool:
    """The network has done all its steps, and the run has their last checkpoint; False: it was asked to stop before."""
    recipe, device = run.recipe, torch.device(place.device)
    model = LearningDetector(network, recipe.training, bfloat16=recipe.precision == "bfloat16").to(device)
    optimizer = make_optimizer(network, recipe.optimization)
    if newest := newest_checkpoint(run.folder, place):
        load_optimizer(newest, network, optimizer)
    feed = Feed(
        _batches(run, files, task, place),
        range(first, recipe.num_steps),
        num_workers=task.loader_workers,
        device=device,
    )
    loop = Loop(
        # Every loss goes through all layers, be there nothing to learn in a part: no gradient is waited for in vain.
        model=model if place.num_ranks == 1 else DistributedDataParallel(model),
        optimizer=optimizer,
        optimization=recipe.optimization,
        weights=lambda step: model.weights,
        num_steps=recipe.num_steps,
        precision="float32",  # the model itself knows which of its parts are not
        device=device,
        seed=recipe.seed,
        rank=place.rank,
        num_ranks=place.num_ranks,
        stop_is_asked=lambda: stop_is_requested(run.folder),
    )
    last = first

    def is_measured(step: int) -> bool:
        return task.evaluate_every > 0 and step % task.evaluate_every == 0 and step < recipe.num_steps

    def evaluate() -> DetectorScores:
        _take_from_first_rank(dict(network.named_buffers()), place)  # norms have counted on each rank by itself
        scores = measure(network, run, files, task, place).scores
        model.train()
        return scores

    def help_first_rank(report: StepReport) -> None:
        nonlocal last
        last = report.step
        if is_measured(report.step):
            evaluate()

    if place.rank:  # only the first one writes
        loop.run(feed, first, help_first_rank)
        return last == recipe.num_steps
    forget_after(run.folder / CURVE, first)
    with MetricsLog(
        run.folder, first=first, every=task.log_every, device=device, num_ranks=place.num_ranks, model=network
    ) as log:

        def after(report: StepReport) -> None:
            nonlocal last
            last = report.step
            log.add(report, feed.take_waited())
            if is_measured(report.step):
                scores = _as_json(evaluate())
                with (run.folder / CURVE).open("a", encoding="utf-8") as file:
                    file.write(json.dumps({"step": report.step, **scores}) + "\n")
                log.draw(scores, report.step)
            is_last = report.is_stopped or report.step == recipe.num_steps
            if is_last or report.step % task.checkpoint_every == 0:
                log.write()
                save_checkpoint(run.folder, step=report.step, model=network, optimizer=optimizer, keep=task.keep)

        loop.run(feed, first, after)
    return last == recipe.num_steps


def _batches(
    run: DetectorRun, files: Mapping[str, str], task: DetectorTask, place: Place
) -> StepBatches[DetectorBatch]:
    recipe = run.recipe
    maker = DetectorBatchMaker(
        run.gold,
        files,
        recipe.conventions,
        recipe.training,
        num_attributes=len(recipe.vocabulary.attributes),
        seed=recipe.seed,
    )
    order = image_order(run.gold, recipe.conventions, batch_size=recipe.batch_size, seed=recipe.seed)
    parts = parts_of_rank(recipe.batch_size, rank=place.rank, num_ranks=place.num_ranks, accumulation=task.accumulation)
    return StepBatches(maker, order, parts)


def _stored(network: FasterRCNNNetwork, run: DetectorRun, place: Place) -> FasterRCNNNetwork:
    """Return the network as others will load it, float16 tensors and all; the first rank alone writes and reads it."""
    if place.rank:  # another machine's view of a shared disk may be seconds old
        return _new_network(replace(run.recipe, has_frozen_norms=True))
    with replacing(run.folder / WEIGHTS) as temporary:
        save_weights(temporary, network, run.recipe.conventions, run.recipe.vocabulary)
    return read_trainable(str(run.folder / WEIGHTS), run.recipe.vocabulary)[0]


def _new_network(recipe: DetectorRecipe) -> FasterRCNNNetwork:
    norm_layer = FrozenBatchNorm2d if recipe.has_frozen_norms else nn.BatchNorm2d
    return FasterRCNNNetwork(recipe.architecture, recipe.conventions, norm_layer)


def _write_scores(run: DetectorRun, rules: EvaluationRules, measured: Measured) -> None:
    """The run has its scores, and is finished."""
    vocabulary = run.recipe.vocabulary
    tables = {
        "classes.tsv": table(measured.classes, vocabulary.classes),
        "attributes.tsv": table(measured.attributes, vocabulary.attributes),
    }
    for name, text in tables.items():
        with replacing(run.folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    write_json(run.folder / SCORES, {"rules": asdict(rules), "scores": _as_json(measured.scores)})


def _as_json(scores: DetectorScores) -> dict[str, float]:
    return {name: each for name, each in asdict(scores).items() if not math.isnan(each)}


def _decoded_ahead(
    gold: GoldBoxes, numbers: Sequence[int], files: Mapping[str, str], *, num_threads: int
) -> Iterator[tuple[int, GoldImage, DecodedImage]]:
    """Yield these images, a few of them decoded on threads before they are asked for."""
    waiting: deque[tuple[int, GoldImage, Future[DecodedImage]]] = deque()
    with ThreadPoolExecutor(num_threads) as threads:
        for number in numbers:
            image = gold.image(number)
            waiting.append((number, image, threads.submit(read_image, image, files)))
            if len(waiting) > 2 * num_threads:
                yield _awaited(waiting)
        while waiting:
            yield _awaited(waiting)


def _awaited(
    waiting: deque[tuple[int, GoldImage, Future[DecodedImage]]],
) -> tuple[int, GoldImage, DecodedImage]:
    number, image, decoding = waiting.popleft()
    return number, image, decoding.result()


def _of_all_ranks(value: T, place: Place) -> list[T]:
    """Return the values of all ranks."""
    values = [value] * place.num_ranks
    if place.num_ranks > 1:
        dist.all_gather_object(values, value)
    return values


def _take_from_first_rank(tensors: Mapping[str, Tensor], place: Place) -> None:
    """The tensors of every rank are those of the first."""
    if place.num_ranks > 1:
        for each in tensors.values():
            dist.broadcast(each, src=0)
