"""The report: one page on which runs stand side by side, by recipe, by curve, by figure, and by what they look at."""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from annotations.guards.drops import DataError
from annotations.records import Split
from stores.atomic import replacing
from stores.locations import path_of, shown
from stores.pages.page import as_script, page_environment
from stores.pages.pictures import Picture, load_picture
from training.data.identity import compare_with_learnt
from training.data.shards import JoinedShards, open_shards
from training.data.targets import COVERING_IOU
from training.execution.progress import read_metrics
from training.model import Model, num_parameters
from training.models.two_stream import TwoStreamShape
from training.models.visual_parser import VisualParserShape
from training.objectives.word_object_alignment import WordObjectAlignment
from training.probes.attention_maps import read_attention_maps
from training.probes.modalities import MODALITIES
from training.report.curves import HEIGHT, WIDTH, plot_layers, plot_terms
from training.report.sentences import COVERING_SHARE, choose_sentences, find_sentences, make_exhibit
from training.report.tables import describe_encoder, figure_tables, read_figures, recipe_differences
from training.runs.checkpoints import latest_checkpoint
from training.runs.folder import Run
from training.weights.ours import load_model

TEMPLATE = "page.html.j2"


@dataclass(frozen=True, kw_only=True)
class ReportOptions:
    """What is shown."""

    num_sentences: int = 12
    """0 where runs are compared that see different regions, or other cells: no sentence shows them all."""
    split: Split = "val"
    sentence_ids: tuple[str, ...] = ()
    """Instead of a choice."""
    layer: int | None = None
    """The one shown first, counted from 1, of those in which words and regions meet; the last but one unless given."""

    def __post_init__(self) -> None:
        if self.num_sentences < 0:
            raise ValueError(f"--sentences-shown is {self.num_sentences}, expected at least 0")

    @property
    def shows_sentences(self) -> bool:
        return bool(self.sentence_ids or self.num_sentences)


@dataclass(frozen=True, kw_only=True, eq=False)
class Shown:
    """Sentences and their pictures, as the page's script takes them."""

    sentences: Sequence[Mapping[str, Any]] = ()
    pictures: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """By the images' ids."""
    grid: tuple[int, int] | None = None
    """Rows and columns, where words look at cells; None: at regions."""


@dataclass(frozen=True, kw_only=True, eq=False)
class LoadedRun:
    """One of the runs, at the checkpoint that is shown."""

    name: str
    run: Run
    model: Model
    step: int
    metrics: Sequence[Mapping[str, Any]]

    @property
    def num_layers(self) -> int:
        """Layers in which words and regions meet."""
        return len(self.model.encoder.meeting_layers)

    @property
    def num_parameters(self) -> int:
        return num_parameters(self.model)

    @property
    def has_two_streams(self) -> bool:
        """Whether its build alone decides what flows between words and regions."""
        return isinstance(self.run.recipe.encoder, TwoStreamShape)

    @property
    def encoder(self) -> str:
        return describe_encoder(self.run.recipe.encoder)


def write_report(
    page: Path,
    runs: Mapping[str, Path],
    *,
    options: ReportOptions,
    sentences: Path | None = None,
    regions: Path | None = None,
    images: Sequence[str] = (),
) -> dict[str, Any]:
    """`page` is one self-contained HTML file about the runs; returns what it shows.

    Args:
        runs: folders of runs or of checkpoints, by the names that they have on the page.
        sentences: with `regions` or `images`, of which the runs have learnt, where sentences are to be shown.

    Raises:
        DataError: a run is none, or it learnt on other regions, or takes other pixels.
        StoreError: the stores do not belong together, or lack what is to be shown; an image gives no picture.
        ValueError: a layer that no run has, or it is not told what the sentences are to be shown on.
    """
    loaded = [_load(name, folder) for name, folder in runs.items()]
    layer = _first_layer(loaded, options.layer)
    modalities = [read_figures(each.run.folder / MODALITIES) for each in loaded]
    shown = Shown()
    if options.shows_sentences:
        with _open(loaded, sentences, regions=regions, images=images) as shards:
            shown = _show(loaded, shards, options)
    covering = COVERING_IOU if shown.grid is None else COVERING_SHARE
    data = {"runs": [each.name for each in loaded], "covering": covering, **vars(shown)}
    html = (
        page_environment(Path(__file__).parent)
        .get_template(TEMPLATE)
        .render(
            nonce=secrets.token_hex(16),  # what a hostile caption could smuggle in has no right to run
            runs=loaded,
            places=_places(sentences, regions, images) if options.shows_sentences else {},
            differences=recipe_differences([each.run.recipe for each in loaded]),
            plots=plot_terms([each.metrics for each in loaded]),
            plot_width=WIDTH,
            plot_height=HEIGHT,
            layer_plots=plot_layers(modalities),
            modalities=modalities,
            lengths_differ=_lengths_differ(modalities),
            tables=figure_tables([each.run.folder for each in loaded]),
            layers=range(1, max(each.num_layers for each in loaded) + 1),
            layer=layer,
            has_alignment=any(each.model.head(WordObjectAlignment) is not None for each in loaded),
            covering=covering,
            has_cells=shown.grid is not None,
            num_shown=len(shown.sentences),
            split="" if options.sentence_ids else options.split,
            data=as_script(data),
        )
    )
    with replacing(page) as temporary:
        temporary.write_text(html, encoding="utf-8", errors="backslashreplace")
    return {
        "out": str(page),
        "runs": len(loaded),
        "sentences": len(shown.sentences),
        "layer": layer,
        "bytes": len(html),
    }


def _load(name: str, folder: Path) -> LoadedRun:
    run, model = load_model(folder)
    return LoadedRun(
        name=name, run=run, model=model, step=latest_checkpoint(folder).step, metrics=read_metrics(run.folder)
    )


def _first_layer(runs: Sequence[LoadedRun], asked: int | None) -> int:
    if asked is None:
        return max(1, min(each.num_layers for each in runs) - 1)
    if not 1 <= asked <= max(each.num_layers for each in runs):
        has = ", ".join(f"{each.name} has {each.num_layers}" for each in runs)
        raise ValueError(f"--layer is {asked}, expected one where words and regions meet, counted from 1: {has}")
    return asked


def _lengths_differ(modalities: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether sequences do, on average by more than tokenizers that were trained alike."""
    lengths = [[each[name] for each in modalities if each] for name in ("pieces", "regions")]
    return any(max(each) > 1.02 * min(each) for each in lengths if each)


def _open(
    runs: Sequence[LoadedRun], sentences: Path | None, *, regions: Path | None, images: Sequence[str]
) -> JoinedShards:
    """Return the sentences joined with what the runs see, which is the same for all of them."""
    if sentences is None:
        raise ValueError("expected --sentences, the store that vinculum align wrote, or --sentences-shown 0")
    first, *others = runs
    shape = first.run.recipe.encoder
    for each in others:
        if (found := _seen(each)) != (expected := _seen(first)):
            raise DataError(
                f"{each.run.folder} sees {found}, {first.run.folder} {expected}; sentences are shown on what all runs "
                "see, expected --sentences-shown 0 to compare them by their figures"
            )
    return open_shards(shape, regions=regions, images=images, sentences=sentences)


def _seen(loaded: LoadedRun) -> str:
    shape = loaded.run.recipe.encoder
    if not isinstance(shape, VisualParserShape) or shape.trunk is None:
        return "what is stored"
    return f"images of {shape.trunk.image_size} pixels in {shape.trunk.side} x {shape.trunk.side} cells"


def _show(runs: Sequence[LoadedRun], shards: JoinedShards, options: ReportOptions) -> Shown:
    for each in runs:
        if shards.side.recorded_as == "regions":
            _require_same_regions(each, shards)
        compare_with_learnt(shards, each.run.recipe.data, each.run.folder)
    numbers = _numbers(shards, options)
    return Shown(sentences=_exhibits(runs, shards, numbers), pictures=_pictures(shards, numbers), grid=shards.side.grid)


def _places(sentences: Path | None, regions: Path | None, images: Sequence[str]) -> dict[str, str]:
    """Return by what it is where the page's sentences are from, in names that say nothing of this machine."""
    folders = {"sentences": sentences, "regions": regions}
    named = {what: folder.absolute().name for what, folder in folders.items() if folder is not None}
    return named | ({"images": ", ".join(path_of(each).name or shown(each) for each in images)} if images else {})


def _require_same_regions(loaded: LoadedRun, shards: JoinedShards) -> None:
    found, expected = loaded.run.recipe.data.get("regions"), shards.side.fingerprint
    if found not in (None, expected):
        raise DataError(
            f"{loaded.run.folder} learnt on regions of fingerprint {found}, {shards.side.location} has {expected}; "
            "use the regions that it learnt on"
        )
    feature_dim = shards.side.feature_dim
    if loaded.run.recipe.encoder.feature_dim != feature_dim:
        raise DataError(
            f"{loaded.run.folder} takes features of {loaded.run.recipe.encoder.feature_dim} numbers, but "
            f"{shards.side.location} has {feature_dim}; use the regions that it learnt on"
        )


def _numbers(shards: JoinedShards, options: ReportOptions) -> list[int]:
    if options.sentence_ids:
        return find_sentences(shards, options.sentence_ids)
    return choose_sentences(shards, options.split, options.num_sentences)


def _exhibits(runs: Sequence[LoadedRun], shards: JoinedShards, numbers: Sequence[int]) -> list[dict[str, Any]]:
    maps = [list(read_attention_maps(each.run, each.model, shards, numbers)) for each in runs]
    return [
        make_exhibit(
            shards.sentences.read(*shards.place(number)),
            shards.side.regions(int(shards.images_of(number)[0])),
            shards.side.configuration,
            of_runs,
            grid=shards.side.grid,
        )
        for number, *of_runs in zip(numbers, *maps, strict=True)
    ]


def _pictures(shards: JoinedShards, numbers: Sequence[int]) -> dict[str, dict[str, str]]:
    """Return every picture shown, once, or why there is none."""
    pictures = {}
    for image in dict.fromkeys(int(shards.images_of(number)[0]) for number in numbers):
        record = shards.side.regions(image)
        source = shards.side.source(record.image_id)
        picture = Picture(missing="the region store's plan does not tell where the picture is")
        if source is not None:
            size = {"width": record.image_width, "height": record.image_height}
            picture = load_picture(source, **size, sha256=record.image_sha256)
        pictures[record.image_id] = {"uri": picture.data_uri, "missing": picture.missing}
    return pictures
