"""`vinculum`: the commands that prepare data."""

import json
import sys
from collections.abc import Callable, Sequence
from typing import Any

import torch
import tyro.extras

from annotations.drops import DataError
from detectors.images import ImageError
from pipeline.align_command import AlignCommand
from pipeline.bench_command import BenchCommand
from pipeline.boxes_command import BoxesCommand
from pipeline.commands import DemoCommand, ExtractCommand, InspectCommand, RepairCommand, ToyworldCommand, VerifyCommand
from pipeline.convert_command import ConvertCommand
from pipeline.crew import CrewError
from pipeline.doctor_command import DoctorCommand
from pipeline.parity_command import ParityCommand
from stores.errors import StoreError

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
    """Run one command and return its exit status: 0 done, 1 an error, 2 wrong usage, 3 done but for quarantine."""
    command = tyro.extras.subcommand_cli_from_dict(
        COMMANDS,
        prog="vinculum",
        description="Turn images and public annotations into training shards.",
        args=arguments,
    )
    try:
        result = command.run()
    except ERRORS as error:
        print(f"vinculum: {error}", file=sys.stderr)
        return ERROR
    except KeyboardInterrupt:
        print("vinculum: stopped; run the same command again to go on", file=sys.stderr)
        return ERROR
    for line in result.lines:
        print(line)
    if command.json:
        print(json.dumps(result.summary))
    return result.status


if __name__ == "__main__":
    sys.exit(main())
