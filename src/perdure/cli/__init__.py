"""The command `perdure`: where it begins, and what its exit code says.

Nothing is imported before it is needed, so that `perdure --version` answers at once.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line. Exit code 1, with the error's code on stderr, when perdure refuses; 2 for wrong usage."""
    if sys.argv[1:] == ["--version"]:
        from perdure.model.version import VERSION

        print(f"perdure {VERSION}")
        return
    from perdure.cli.commands import perdure
    from perdure.model.errors import PerdureError

    try:
        perdure(prog_name="perdure")
    except PerdureError as error:
        print(f"perdure: {error}", file=sys.stderr)
        sys.exit(1)
