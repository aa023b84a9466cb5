"""`visagist rewind`: back to an earlier state of a run."""

from pathlib import Path

import visagist
from visagist.training import Rewound


def rewind(run: Path, iteration: int | None = None) -> Rewound:
    """Go back to an earlier state of RUN, and delete later ones; `visagist train` then goes on from there.

    Without ITERATION nothing changes, and what there is to go back to is listed. Training keeps one every 5000
    iterations and the last 3 of them (`--backup-every`, `--backups`).

    Parameters
    ----------
    run:
        The folder of the run.
    iteration:
        Of a checkpoint that is kept.
    """
    return visagist.rewind(run, iteration)
