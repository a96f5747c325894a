"""`vinculum-train`: the commands that consume what `vinculum` prepares."""

import json
import sys
from collections.abc import Sequence
from typing import Any

from stores.errors import StoreError
from stores.programs.command_line import print_error
from stores.programs.commands import Program
from stores.programs.stopping import Stopped, stoppable
from stores.programs.terminal import printable
from training.execution.errors import LoopError
from training.execution.telling import tell

COMMANDS = {
    "detector": "training.commands.detector:DetectorCommand",
    "pretrain": "training.commands.pretrain:PretrainCommand",
    "finetune": "training.commands.finetune:FinetuneCommand",
    "evaluate": "training.commands.evaluate:EvaluateCommand",
    "probe": "training.commands.probe:ProbeCommand",
    "experiment": "training.commands.experiment:ExperimentCommand",
    "import": "training.commands.import_weights:ImportCommand",
    "export": "training.commands.export_weights:ExportCommand",
    "report": "training.commands.report:ReportCommand",
    "presets": "training.commands.presets:PresetsCommand",
    "tasks": "training.commands.tasks:TasksCommand",
}
"""The class of each command; it is imported when the command is named."""

PROGRAM = Program(name="vinculum-train", description="Train on what vinculum prepares.", commands=COMMANDS)

ERRORS = (StoreError, LoopError, OSError, ValueError)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and print its summary.

    Exit status 0 done, 1 an error, 2 wrong usage, 130 after Ctrl-C, 143 after SIGTERM.
    """
    command: Any = None
    try:
        command = PROGRAM.parse(arguments)
        with stoppable():
            summary = command.run()
    except ERRORS as error:
        print_error(PROGRAM.name, error, as_json=command is not None and command.json)
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
