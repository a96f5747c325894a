"""Recipes of older versions, in the words of this one."""

from dataclasses import fields
from typing import Any

from training.data.batches import BatchOptions
from training.data.maker_options import CaptionPairOptions, MakerOptions, RankingGroupOptions

_FORMER = {
    *("max_pieces", "mask_words", "mask_regions", "one_modality", "matched_words", "mask_tokens", "token_share"),
    *("beside_seed", "augmentation", "blank_all", "mismatch", "own_texts", "other_texts", "targets", "grounding"),
    *("soft_answers", "swap_phrases", "candidates"),
}
"""Options of batches up to version 0.1.0, where every maker had all of them and two heeded four or five."""


def upgraded(recipe: Any) -> Any:
    """Return a recipe, as JSON values, whose batches have the options of their maker alone; others had no effect."""
    batches = recipe.get("batches") if isinstance(recipe, dict) else None
    if not isinstance(batches, dict) or "kind" in batches:
        return recipe
    kind = _maker_of(recipe.get("task"), batches)
    foreign = _FORMER - {each.name for each in fields(kind)}
    kept = {name: value for name, value in batches.items() if name not in foreign}
    return recipe | {"batches": kept | {"kind": next(each.default for each in fields(kind) if each.name == "kind")}}


def _maker_of(task: Any, batches: dict[str, Any]) -> type[MakerOptions]:
    if task == "vgp":
        return CaptionPairOptions
    return RankingGroupOptions if batches.get("candidates") else BatchOptions
