"""Exit 1 where another distribution owns one of our five import names: its code would run in place of ours."""

import sys
from importlib.metadata import packages_distributions

NAMES = ("annotations", "detectors", "stores", "pipeline", "training")


def main() -> int:
    """Print what owns each name, and return the exit status."""
    owners = packages_distributions()
    strangers = {name: owners.get(name, []) for name in NAMES if set(owners.get(name, [])) != {"vinculum"}}
    for name, found in strangers.items():
        print(f"{name}: belongs to {', '.join(found) or 'nobody'}, expected vinculum alone", file=sys.stderr)
    return 1 if strangers else 0


if __name__ == "__main__":
    sys.exit(main())
