"""The command line: a thin face of the public functions, one file a command.

Exit codes: 0 done, 1 failed with a one-line message, 2 wrong usage, 130 interrupted with the state saved.
"""

from visagist.cli.app import main

__all__ = ["main"]
