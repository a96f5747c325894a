"""`vinculum`: the commands that prepare data."""

import json
import sys
from collections.abc import Sequence
from typing import Any

from pipeline.cluster.notices import CrewError
from stores.errors import StoreError
from stores.programs.command_line import print_error
from stores.programs.commands import Program
from stores.programs.stopping import Stopped, stoppable
from stores.programs.terminal import printable

COMMANDS = {
    "demo": "pipeline.commands.demo:DemoCommand",
    "toyworld": "pipeline.commands.toyworld:ToyworldCommand",
    "extract": "pipeline.commands.extract:ExtractCommand",
    "align": "pipeline.commands.align:AlignCommand",
    "convert": "pipeline.commands.convert:ConvertCommand",
    "verify": "pipeline.commands.verify:VerifyCommand",
    "repair": "pipeline.commands.repair:RepairCommand",
    "inspect": "pipeline.commands.inspect:InspectCommand",
    "doctor": "pipeline.commands.doctor:DoctorCommand",
    "boxes": "pipeline.commands.boxes:BoxesCommand",
    "parity": "pipeline.commands.parity:ParityCommand",
    "bench": "pipeline.commands.bench:BenchCommand",
}
"""The class of each command; it is imported when the command is named."""

PROGRAM = Program(
    name="vinculum", description="Turn images and public annotations into training shards.", commands=COMMANDS
)

DONE, ERROR, WRONG_USAGE, IN_QUARANTINE = 0, 1, 2, 3
ERRORS = (StoreError, CrewError, OSError, ValueError, ImportError)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status.

    0 done, 1 an error, 2 wrong usage, 3 done but for quarantine, 4 a store that is verified is
    unfinished, 130 after Ctrl-C, 143 after SIGTERM.
    """
    command: Any = None
    try:
        command = PROGRAM.parse(arguments)
        with stoppable():
            result = command.run()
    except ERRORS as error:
        print_error(PROGRAM.name, error, as_json=command is not None and command.json)
        return ERROR
    except Stopped as stopped:
        print("vinculum: stopped; run the same command again to go on", file=sys.stderr)
        return stopped.status
    for line in result.lines:
        print(printable(line))
    if command.json:
        print(json.dumps(result.summary))
    return result.status


if __name__ == "__main__":
    sys.exit(main())
