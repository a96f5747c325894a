"""What both command lines do alike: know a command, read numbers, and end with an error."""

import json
import sys
from collections.abc import Collection, Sequence
from difflib import get_close_matches
from typing import Any

from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from stores.errors import told
from stores.locations import without_secrets
from stores.programs.terminal import printable

WRONG_USAGE = 2


def require_command(arguments: Sequence[str] | None, commands: Collection[str], prog: str) -> None:
    """The first argument is a command or an option; anything else ends the program with one line."""
    given = list(sys.argv[1:] if arguments is None else arguments)[:1]
    if not given or given[0].startswith("-") or given[0] in commands:
        return
    print(printable(f"{prog} {given[0]}: no such command; {did_you_mean(given[0], commands)}"), file=sys.stderr)
    raise SystemExit(WRONG_USAGE)


def did_you_mean(given: str, known: Collection[str]) -> str:
    """Return the nearest of the known names as a question, and all of them."""
    nearest = get_close_matches(given, known, n=1)
    question = f"did you mean {nearest[0]}? " if nearest else ""
    return f"{question}expected one of {', '.join(known)}"


def print_error(prog: str, error: BaseException, *, as_json: bool) -> None:
    """One line on the standard error says what is wrong; with `as_json` the standard output's last line has it too."""
    message = without_secrets(told(error))
    print(printable(f"{prog}: {message}"), file=sys.stderr)
    if as_json:
        print(json.dumps({"error": message}))


def whole_numbers() -> ConstructorRegistry:
    """Return how options are read: as tyro does, but for the words in which a number is asked for."""
    registry = ConstructorRegistry()

    @registry.primitive_rule
    def read_int(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
        return None if info.type is not int else PrimitiveConstructorSpec(1, "INT", _int, _is_int, _as_text)

    return registry


def _int(texts: list[str]) -> int:
    try:
        return int(texts[0])
    except ValueError as error:
        raise ValueError(f"{texts[0]!r} is no whole number, expected one such as 24") from error


def _is_int(value: Any) -> bool:
    return isinstance(value, int)


def _as_text(value: Any) -> list[str]:
    return [str(value)]
