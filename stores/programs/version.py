"""Which version of the programs this is."""

import subprocess
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from annotations.guards.plain_json import parse_json

NAME = "vinculum"
ROOT = Path(__file__).parent.parent.parent


def version() -> str:
    """Return the version and the git revision, as far as they are known, such as `0.1.0 (1b847a7, changed)`.

    In a checkout the revision is its own; of an installed wheel it is the one that the installer recorded.
    """
    try:
        installed = distribution(NAME)
    except PackageNotFoundError:
        return f"not installed{_in_brackets(_of_checkout())}"
    return f"{installed.version}{_in_brackets(_of_checkout() or _recorded(installed.read_text('direct_url.json')))}"


def _in_brackets(revision: str) -> str:
    return f" ({revision})" if revision else ""


def _of_checkout() -> str:
    """Return the revision of the checkout that these files lie in, and whether they changed since; else nothing."""
    if not (ROOT / ".git").exists():
        return ""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--exclude=*", "--dirty=, changed"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def _recorded(direct_url: str | None) -> str:
    """Return the revision in what pip writes beside a package that it took from a repository; else nothing."""
    told = parse_json(direct_url or "{}").get("vcs_info", {})
    return str(told.get("commit_id", ""))[:12]
