"""What `vinculum repair` takes; a field's docstring is its --help."""

from dataclasses import asdict, dataclass

from pipeline.care.verify import repair
from pipeline.commands.arguments import Store
from pipeline.commands.result import Result


@dataclass(frozen=True, kw_only=True)
class RepairCommand:
    """Mark a store's damaged shards as still to be made; the next run of its command makes them again.

    vinculum repair regions
    """

    store: Store
    """Store that vinculum extract or vinculum align wrote."""
    json: bool = False
    """Print one machine-readable summary as the last line."""

    def run(self) -> Result:
        repairs = repair(self.store)
        lines = tuple(str(each) for each in repairs) or (f"{self.store}: nothing to repair",)
        return Result(summary={"store": str(self.store), "repairs": [asdict(each) for each in repairs]}, lines=lines)
