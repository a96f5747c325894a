"""A program's commands by name: all are listed without importing any, and the one that is named is imported alone."""

import ast
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, make_dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import tyro.extras

from stores.programs.command_line import require_command, whole_numbers
from stores.programs.terminal import printable
from stores.programs.version import version

COMPLETION = ("--tyro-print-completion", "--tyro-write-completion")
"""Options that want to know the options of every command."""


@dataclass(frozen=True, kw_only=True)
class Program:
    """A command line whose first word names a command."""

    name: str
    description: str
    commands: Mapping[str, str]
    """By name: where the command's dataclass is, as `module:Class`."""

    def parse(self, arguments: Sequence[str] | None) -> Any:
        """Return the command that the arguments name, an instance of its class with their values.

        Raises:
            SystemExit: 0 after --help and --version, 2 where the arguments fit no command.
        """
        given = list(sys.argv[1:] if arguments is None else arguments)
        if given[:1] == ["--version"]:
            print(printable(f"{self.name} {version()}"))
            raise SystemExit(0)
        require_command(given, self.commands, self.name)
        return tyro.extras.subcommand_cli_from_dict(
            self._classes(given[:1]),
            prog=self.name,
            description=f"{self.description}\n\n--version prints the version and the git revision.",
            args=given,
            registry=whole_numbers(),
        )

    def _classes(self, first: Sequence[str]) -> dict[str, Callable[..., Any]]:
        """Return a class for each name: the command's own where it is needed, else one that has its summary alone.

        Beside a command that is named the others are names alone.
        """
        needs_all = any(each.replace("_", "-") in COMPLETION for each in first)
        is_named = any(name in first for name in self.commands)
        return {
            name: command_class(place)
            if needs_all or name in first
            else make_dataclass("Listed", (), namespace={"__doc__": "" if is_named else summary_of(place)})
            for name, place in self.commands.items()
        }


def command_class(place: str) -> Callable[..., Any]:
    """Return the class at `module:Class`, imported."""
    module, _, name = place.partition(":")
    found: Callable[..., Any] = getattr(import_module(module), name)
    return found


def summary_of(place: str) -> str:
    """Return the first paragraph of the docstring of the class at `module:Class`, read from its source."""
    module, _, name = place.partition(":")
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"{place}: no such module, expected the file of a command", name=module)
    for node in ast.parse(Path(spec.origin).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            return " ".join((ast.get_docstring(node) or "").partition("\n\n")[0].split())
    raise AttributeError(f"{spec.origin}: no class {name}, expected that of the command", name=name)
