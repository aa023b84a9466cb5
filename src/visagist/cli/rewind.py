"""`visagist rewind`: back to a backup of a run."""

from pathlib import Path

import visagist
from visagist.training import Rewound


def rewind(run: Path, iteration: int | None = None) -> Rewound:
    """Go back to a backup of RUN, and delete later ones; `visagist train` then goes on from there.

    Without ITERATION nothing changes, and the backups that there are are listed. Training keeps one every 5000
    iterations and the last 3 of them (`--backup-every`, `--backups`).

    Parameters
    ----------
    run:
        The folder of the run.
    iteration:
        Of the backup.
    """
    return visagist.rewind(run, iteration)
