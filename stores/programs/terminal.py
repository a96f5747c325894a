"""What a person reads on a terminal: text in which a file's name cannot pass for anything but a name."""


def printable(text: str) -> str:
    r"""Return one line without control characters: `\n`, `\x1b`, `\u202e` and the like stand there as written here.

    Names of files and images may hold any of them. Printed raw, one could move the cursor, colour the terminal, turn
    the direction of writing, or begin a line of its own that reads like ours.
    """
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode("ascii") for each in text)


def printable_lines(text: str) -> str:
    """Return a table or another text of our own with its lines, each of them printable."""
    return "\n".join(map(printable, text.split("\n")))
