"""`visagist rewind`: returns a run to an earlier checkpoint."""

from pathlib import Path

import visagist
from visagist.cli.command import command
from visagist.training import Rewound

app = command("rewind")


@app.default
def rewind(run: Path, iteration: int | None = None) -> Rewound:
    """Return RUN to an earlier checkpoint and delete later ones; `visagist train` continues from there.

    Without ITERATION nothing changes: the available checkpoints are listed. By default training keeps a backup every
    5000 iterations, and the last 3 of them (`--backup-every`, `--backups`).

    ```
    visagist rewind runs/anna-bert

    visagist rewind runs/anna-bert 15000
    ```

    Parameters
    ----------
    run:
        Folder of the run.
    iteration:
        Iteration of the checkpoint to return to.
    """
    return visagist.rewind(run, iteration)
