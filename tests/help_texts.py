"""What every help text of both programs is held to."""

import re

import pytest

WIDE = 500
"""Columns in which no text has to be wrapped: a line break that is left is one of the source."""

WITHOUT = "(?:required|repeatable|default: .*)"
"""What the end of a text says of a command line without the option."""


def printed_help(main, arguments, columns, capsys, monkeypatch):
    """Return the lines of --help without its frame."""
    monkeypatch.setenv("COLUMNS", str(columns))
    with pytest.raises(SystemExit) as ended:
        main([*arguments, "--help"])
    assert ended.value.code == 0
    return [line.strip(" │") for line in capsys.readouterr().out.splitlines()]


def options_of(lines):
    """Return each option's name and the lines of its text, with what is taken without it at the end."""
    _, *options = re.split(r"^(?=--[a-z]|DIR  )", "\n".join(lines), flags=re.MULTILINE)
    for option in options:
        found = re.search(rf"(?:\s{{2,}}|\n)(\S.*\. \({WITHOUT}\))$", option, re.MULTILINE | re.DOTALL)
        name = option.split()[0].strip(",")
        assert found, f"{name} has no help text that ends with a sentence"
        yield name, found[1].splitlines()


def require_plain_texts(main, command, capsys, monkeypatch):
    """Every option's text is sentences in plain English, each whole in a line of its source, and fits 80 columns."""
    options = dict(options_of(printed_help(main, [command], WIDE, capsys, monkeypatch)))
    assert len(options) >= 2
    for name, lines in options.items():
        text = re.sub(rf" \({WITHOUT}\)$", "", "\n".join(lines))
        assert re.match(r"[A-Z]", text), f"{name} begins without a capital: {text}"
        assert not text.startswith("Of ") and "\nOf " not in text, f"{name} begins with Of: {text}"
        assert len(text.split()) >= 3, f"{name} says too little: {text}"
        for line in text.splitlines():
            assert line.endswith("."), f"{name}: a line breaks within a sentence: {line}"
    framed = [line for line in printed_help(main, [command], 80, capsys, monkeypatch) if len(line) > 76]
    sentences = " ".join(text for lines in options.values() for text in lines)
    assert not [line for line in framed if line in sentences], "an option's text is wider than 80 columns"
