"""`vinculum-train`: the commands that consume what `vinculum` prepares."""

import json
import sys
from collections.abc import Callable, Sequence
from typing import Any

import tyro.extras

from annotations.guards.drops import DataError
from detectors.images import ImageError
from detectors.vocabulary import VocabularyError
from detectors.weights.files import WeightsError
from stores.errors import StoreError
from stores.programs.command_line import print_error, require_command, whole_numbers
from stores.programs.stopping import Stopped, stoppable
from stores.programs.terminal import printable
from training.commands.detector import DetectorCommand
from training.commands.evaluate import EvaluateCommand
from training.commands.experiment import ExperimentCommand
from training.commands.export_weights import ExportCommand
from training.commands.finetune import FinetuneCommand
from training.commands.import_weights import ImportCommand
from training.commands.pretrain import PretrainCommand
from training.commands.probe import ProbeCommand
from training.commands.report import ReportCommand
from training.data.order import OrderError
from training.execution.loop import LoopError
from training.execution.telling import tell

COMMANDS: dict[str, Callable[..., Any]] = {
    "detector": DetectorCommand,
    "pretrain": PretrainCommand,
    "finetune": FinetuneCommand,
    "evaluate": EvaluateCommand,
    "probe": ProbeCommand,
    "experiment": ExperimentCommand,
    "import": ImportCommand,
    "export": ExportCommand,
    "report": ReportCommand,
}
ERRORS = (
    DataError,
    StoreError,
    VocabularyError,
    WeightsError,
    ImageError,
    LoopError,
    OrderError,
    OSError,
    ValueError,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and print its summary.

    Exit status 0 done, 1 an error, 2 wrong usage, 130 after Ctrl-C, 143 after SIGTERM.
    """
    require_command(arguments, COMMANDS, "vinculum-train")
    command: Any = None
    try:
        command = tyro.extras.subcommand_cli_from_dict(
            COMMANDS,
            prog="vinculum-train",
            description="Train on what vinculum prepares.",
            args=arguments,
            registry=whole_numbers(),
        )
        with stoppable():
            summary = command.run()
    except ERRORS as error:
        print_error("vinculum-train", error, as_json=command is not None and command.json)
        return 1
    except Stopped as stopped:
        print("vinculum-train: stopped; run the same command again to go on", file=sys.stderr)
        return stopped.status
    if command.json:
        print(json.dumps(summary))
    else:
        for line in tell(summary):
            print(printable(line))
    return 0


if __name__ == "__main__":
    sys.exit(main())
