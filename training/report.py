"""The report: one page on which runs stand side by side, by recipe, by curve, by figure, and by what they look at."""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from annotations.drops import DataError
from annotations.records import Split
from stores.atomic import replacing
from stores.manifest import fingerprint
from stores.pages.page import as_script, page_environment
from stores.pages.pictures import Picture, load_picture, planned_sources
from training.checkpoints import latest_checkpoint
from training.model import Model, num_parameters
from training.models.two_stream import TwoStreamShape
from training.probes.attention_maps import read_attention_maps
from training.probes.modalities import MODALITIES
from training.progress import read_metrics
from training.report_curves import HEIGHT, WIDTH, plot_layers, plot_terms
from training.report_sentences import choose_sentences, find_sentences, make_exhibit
from training.report_tables import describe_encoder, figure_tables, read_figures, recipe_differences
from training.runs import Run
from training.shards import JoinedShards
from training.targets import COVERING_IOU
from training.weights import load_model

TEMPLATE = "report.html.j2"


@dataclass(frozen=True, kw_only=True)
class ReportOptions:
    """What is shown."""

    num_sentences: int = 12
    """0 where runs are compared that learnt on different regions: no sentence shows them all."""
    split: Split = "val"
    sentence_ids: tuple[str, ...] = ()
    """Instead of a choice."""
    layer: int | None = None
    """The one shown first, counted from 1, of those in which words and regions meet; the last but one unless given."""

    def __post_init__(self) -> None:
        if self.num_sentences < 0:
            raise ValueError(f"--sentences-shown is {self.num_sentences}, expected at least 0")


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
    page: Path, runs: Mapping[str, Path], *, regions: Path, sentences: Path, options: ReportOptions
) -> dict[str, Any]:
    """`page` is one self-contained HTML file about the runs; returns what it shows.

    Args:
        runs: folders of runs or of checkpoints, by the names that they have on the page.

    Raises:
        DataError: a run is none, or it learnt on other regions.
        StoreError: the stores do not belong together, or lack what is to be shown.
        ValueError: a layer that no run has.
    """
    loaded = [_load(name, folder) for name, folder in runs.items()]
    layer = _first_layer(loaded, options.layer)
    modalities = [read_figures(each.run.folder / MODALITIES) for each in loaded]
    with JoinedShards(regions, sentences) as shards:
        numbers = _numbers(shards, options)
        for each in loaded if numbers else ():
            _require_same_regions(each, shards)
        data: dict[str, Any] = {
            "runs": [each.name for each in loaded],
            "covering_iou": COVERING_IOU,
            "sentences": _exhibits(loaded, shards, numbers),
            "pictures": _pictures(shards, numbers),
        }
    html = (
        page_environment(Path(__file__).parent)
        .get_template(TEMPLATE)
        .render(
            nonce=secrets.token_hex(16),  # what a hostile caption could smuggle in has no right to run
            runs=loaded,
            folders={"regions": regions.absolute().name, "sentences": sentences.absolute().name},
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
            has_alignment=any(each.model.alignment is not None for each in loaded),
            covering_iou=COVERING_IOU,
            num_shown=len(numbers),
            split="" if options.sentence_ids else options.split,
            data=as_script(data),
        )
    )
    with replacing(page) as temporary:
        temporary.write_text(html, encoding="utf-8", errors="backslashreplace")
    return {"out": str(page), "runs": len(loaded), "sentences": len(numbers), "layer": layer, "bytes": len(html)}


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


def _require_same_regions(loaded: LoadedRun, shards: JoinedShards) -> None:
    found, expected = loaded.run.recipe.data.get("regions"), fingerprint(shards.regions.manifest.configuration)
    if found not in (None, expected):
        raise DataError(
            f"{loaded.run.folder} learnt on regions of fingerprint {found}, {shards.regions.folder} has {expected}; "
            "use the regions that it learnt on"
        )
    feature_dim = shards.read_regions(0).feature_dim
    if loaded.run.recipe.encoder.feature_dim != feature_dim:
        raise DataError(
            f"{loaded.run.folder} takes features of {loaded.run.recipe.encoder.feature_dim} numbers, but "
            f"{shards.regions.folder} has {feature_dim}; use the regions that it learnt on"
        )


def _numbers(shards: JoinedShards, options: ReportOptions) -> list[int]:
    if options.sentence_ids:
        return find_sentences(shards, options.sentence_ids)
    return choose_sentences(shards, options.split, options.num_sentences) if options.num_sentences else []


def _exhibits(runs: Sequence[LoadedRun], shards: JoinedShards, numbers: Sequence[int]) -> list[dict[str, Any]]:
    maps = [list(read_attention_maps(each.run, each.model, shards, numbers)) for each in runs]
    return [
        make_exhibit(
            shards.sentences.read(*shards.place(number)),
            shards.read_regions(int(shards.images_of(number)[0])),
            shards.regions.manifest.configuration,
            of_runs,
        )
        for number, *of_runs in zip(numbers, *maps, strict=True)
    ]


def _pictures(shards: JoinedShards, numbers: Sequence[int]) -> dict[str, dict[str, str]]:
    """Return every picture shown, once, or why there is none."""
    sources = planned_sources(shards.regions.folder)
    pictures = {}
    for image in dict.fromkeys(int(shards.images_of(number)[0]) for number in numbers):
        record = shards.read_regions(image)
        source = sources.find(record.image_id)
        picture = Picture(missing="the region store's plan does not tell where the picture is")
        if source is not None:
            picture = load_picture(source, width=record.image_width, height=record.image_height)
        pictures[record.image_id] = {"uri": picture.data_uri, "missing": picture.missing}
    return pictures
