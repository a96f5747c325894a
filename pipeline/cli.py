"""`vinculum`: the commands that prepare data."""

import json
import sys
from collections.abc import Callable, Sequence
from typing import Any

import torch
import tyro.extras

from annotations.guards.drops import DataError
from detectors.images import ImageError
from pipeline.cluster.crew import CrewError
from pipeline.commands.align import AlignCommand
from pipeline.commands.bench import BenchCommand
from pipeline.commands.boxes import BoxesCommand
from pipeline.commands.convert import ConvertCommand
from pipeline.commands.demo import DemoCommand
from pipeline.commands.doctor import DoctorCommand
from pipeline.commands.extract import ExtractCommand
from pipeline.commands.inspect import InspectCommand
from pipeline.commands.parity import ParityCommand
from pipeline.commands.repair import RepairCommand
from pipeline.commands.toyworld import ToyworldCommand
from pipeline.commands.verify import VerifyCommand
from stores.errors import StoreError
from stores.programs.command_line import print_error, require_command, whole_numbers
from stores.programs.stopping import Stopped, stoppable
from stores.programs.terminal import printable

COMMANDS: dict[str, Callable[..., Any]] = {
    "demo": DemoCommand,
    "toyworld": ToyworldCommand,
    "extract": ExtractCommand,
    "align": AlignCommand,
    "convert": ConvertCommand,
    "verify": VerifyCommand,
    "repair": RepairCommand,
    "inspect": InspectCommand,
    "doctor": DoctorCommand,
    "boxes": BoxesCommand,
    "parity": ParityCommand,
    "bench": BenchCommand,
}

DONE, ERROR, WRONG_USAGE, IN_QUARANTINE = 0, 1, 2, 3
ERRORS = (StoreError, CrewError, DataError, ImageError, OSError, ValueError, ImportError, torch.OutOfMemoryError)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status.

    0 done, 1 an error, 2 wrong usage, 3 done but for quarantine, 4 a store that is verified is
    unfinished, 130 after Ctrl-C, 143 after SIGTERM.
    """
    require_command(arguments, COMMANDS, "vinculum")
    command = tyro.extras.subcommand_cli_from_dict(
        COMMANDS,
        prog="vinculum",
        description="Turn images and public annotations into training shards.",
        args=arguments,
        registry=whole_numbers(),
    )
    try:
        with stoppable():
            result = command.run()
    except ERRORS as error:
        print_error("vinculum", error, as_json=command.json)
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
