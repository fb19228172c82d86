"""Starts the process beside pytest (serve.py), with the settings that a task would have."""

from __future__ import annotations

import sys

from ops.cli import settings_alone, translate
from ops.testing import serve


def main() -> None:
    """Give databases to the pytest that has started us; what ends it early is told to that as one line."""
    pipe = serve.Pipe()
    sys.stderr = serve.Said(pipe)
    try:
        serve.serve(settings_alone(), pipe)
    except Exception as error:
        exit = translate(error)
        if exit is None:
            sys.stderr = sys.__stderr__
            raise
        pipe.tell(error=exit.message)


if __name__ == "__main__":
    main()
