"""`vinculum-train`: the commands that consume what `vinculum` prepares."""

import json
import sys
from collections.abc import Callable, Sequence
from typing import Any

import tyro.extras

from annotations.drops import DataError
from detectors.images import ImageError
from detectors.vocabulary import VocabularyError
from detectors.weights import WeightsError
from stores.command_line import print_error, require_command, whole_numbers
from stores.errors import StoreError
from stores.stopping import Stopped, stoppable
from stores.terminal import printable
from training.detector_command import DetectorCommand
from training.evaluate_command import EvaluateCommand
from training.experiment_command import ExperimentCommand
from training.export_command import ExportCommand
from training.finetune_command import FinetuneCommand
from training.import_command import ImportCommand
from training.loop import LoopError
from training.order import OrderError
from training.pretrain_command import PretrainCommand
from training.probe_command import ProbeCommand
from training.report_command import ReportCommand
from training.telling import tell

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
