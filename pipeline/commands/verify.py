"""What `vinculum verify` takes; a field's docstring is its --help."""

import math
from dataclasses import asdict, dataclass

from pipeline.care.verify import Verdict, verify
from pipeline.commands.arguments import Store
from pipeline.commands.result import Result

VERIFY_STATUS = {"whole": 0, "damaged": 1, "unfinished": 4}


@dataclass(frozen=True, kw_only=True)
class VerifyCommand:
    """Re-read a whole store against its manifest; the exit status is 0 if it is whole, 4 if it is unfinished but
    undamaged, 1 if anything is damaged.

    vinculum verify regions
    """

    store: Store
    """Store that vinculum extract, align or convert wrote."""
    sample: str = "100%"
    """Share of the shards to read, such as 1%, others each time; of the rest only sizes are compared."""
    json: bool = False
    """Print one machine-readable summary as the last line."""

    def run(self) -> Result:
        verdict = verify(self.store, share=_share("--sample", self.sample))
        lines = (*map(str, verdict.damages), f"{self.store}: {verdict.state}{_what_was_seen(verdict)}")
        summary = {
            "store": str(self.store),
            "state": verdict.state,
            "damages": [asdict(damage) for damage in verdict.damages],
            "num_shards": verdict.num_shards,
            "num_planned": verdict.num_planned,
            "num_read": verdict.num_read,
        }
        return Result(summary=summary, lines=lines, status=VERIFY_STATUS[verdict.state])


def _share(option: str, text: str) -> float:
    """Return what `1%` or `0.01` means; raises ValueError where it is no share."""
    try:
        share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        share = math.nan
    if not 0 < share <= 1:
        raise ValueError(f"{option} is {text!r}, expected a share of the shards, such as 1% or 0.01")
    return share


def _what_was_seen(verdict: Verdict) -> str:
    """Return what people should know beside the word, in clauses."""
    clauses = []
    if verdict.is_finished is False:
        known = f"{verdict.num_shards} of {verdict.num_planned}" if verdict.num_planned else f"{verdict.num_shards}"
        clauses.append(f"{known} shards are made; run vinculum {verdict.command} again to go on")
    if verdict.is_finished is None:
        clauses.append(
            "whether it is finished is not recorded, since an older version wrote it; run vinculum "
            f"{verdict.command} again to know"
        )
    if verdict.num_read < verdict.num_shards:
        left = verdict.num_shards - verdict.num_read
        clauses.append(
            f"{verdict.num_read} of {verdict.num_shards} shards were read, of {left} only the sizes compared"
        )
    return "".join(f"; {clause}" for clause in clauses)
