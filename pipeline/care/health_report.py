"""A diagnosis as people read it."""

from collections.abc import Iterator

from annotations.alignment.region_names import tell_unnamed
from pipeline.care.health import MAX_OOV, MIN_COVERED, Diagnosis, SourceHealth


def report(diagnosis: Diagnosis) -> Iterator[str]:
    """Yield the lines that a person reads: a table of the sources, then the findings, the worst kind first."""
    yield from _table(
        ("source", "sentences", "images", "pointing", "words", "covered", "OOV", "pointers not covered", "missing"),
        *map(_row, diagnosis.sources),
    )
    if diagnosis.regions_changed:
        yield "The region store has changed since the sentences were aligned: align again, into a new folder."
    if diagnosis.growth is not None:
        yield f"The region store grew by {diagnosis.growth}: align again, into this folder, to have their sentences."
    if diagnosis.num_lost_images:
        yield f"{diagnosis.num_lost_images} images of sentences are not in the region store."
    if diagnosis.num_leaks:
        yield f"{diagnosis.num_leaks} photographs are trained on and evaluated:"
        yield from (
            f"  {each.photograph}: trained on by {each.trained_by}, evaluated by {each.evaluated_by}"
            for each in diagnosis.leaks
        )
    for health in diagnosis.sources:
        yield from _findings(health)
    if diagnosis.numbering:
        yield f"{diagnosis.numbering[0].upper()}{diagnosis.numbering[1:]}."
    yield f"{diagnosis.num_unused_images} images of the region store have no sentence."
    yield "Healthy." if diagnosis.is_healthy else "Not healthy: see above."


def _findings(health: SourceHealth) -> Iterator[str]:
    if not health.is_of_these_images:
        yield (
            f"{health.source}: {health.num_other_proportions} sentences were left out, whose images have other "
            "proportions than where they were annotated: other photographs of the same ids? See --ids of align."
        )
    if not health.is_covered:
        yield (
            f"{health.source}: regions cover {_share(health.num_covered, health.num_words)} of the pointed words, "
            f"expected {MIN_COVERED:.0%} or more: the detector does not know such pictures, or regions are of others. "
            "Where there are weights for photographs tells the README, Weights and conventions."
        )
    if not health.is_in_vocabulary:
        yield (
            f"{health.source}: {_share(health.num_oov, health.num_words)} of the pointed words have no vector, "
            f"expected {MAX_OOV:.0%} at most: the vectors are of other texts. GloVe is at "
            "https://nlp.stanford.edu/projects/glove."
        )
    if health.unnamed:
        yield f"{health.source}: {tell_unnamed(health.unnamed)}."
    if health.joins:
        yield f"{health.source}: images {', '.join(f'{told}: {count}' for told, count in health.joins.items())}"
    if health.num_repeated_ids:
        yield f"{health.source}: {health.num_repeated_ids} sentences have the id of an earlier one."
    if health.num_missing:
        yield (
            f"{health.source}: {health.num_missing} sentences were left out, because their images have no regions, or "
            "none that are known to be theirs:"
        )
        yield from (f"  {where}" for where in health.missing)
    if health.oov_words:
        told = ", ".join(f"{word} ({count})" for word, count in health.oov_words)
        yield f"{health.source}: words without a vector that point most often: {told}"
    if health.worst:
        yield f"{health.source}: phrases that regions cover least:"
        yield from (
            f"  IoU {each.iou:.2f}  {each.words!r}  sentence {each.sentence_id}, image {each.image_id}, "
            f"box {', '.join(f'{value:g}' for value in each.box_xyxy)}"
            for each in health.worst
        )


def _row(health: SourceHealth) -> tuple[str, ...]:
    return (
        health.source,
        f"{health.num_sentences:,}",
        f"{health.num_images:,}",
        _share(health.num_pointing, health.num_sentences),
        f"{health.num_words:,}",
        _share(health.num_covered, health.num_words),
        _share(health.num_oov, health.num_words),
        f"{health.num_uncovered_pointers:,} of {health.num_boxed_pointers:,}",
        f"{health.num_missing:,}",
    )


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else "-"


def _table(*rows: tuple[str, ...]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for first, *others in rows:
        cells = [first.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True))]
        yield "  ".join(cells)
