"""The command line: a thin wrapper around the public functions, one file per command.

Exit codes: 0 done, 1 failed with a one-line message, 2 usage error, 130 interrupted with the state saved.
"""

from visagist.cli.app import main

__all__ = ["main"]
