"""Going back in a run.

- `rewind`: to one of its backups, or to the checkpoint before the latest; `Rewound`: what came of it
- `forget_future`: deletes what is later than where a run has gone back to
- `alone`: keeps other trainings out of a run's folder
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import Timeout

from visagist.core.errors import OutputError, RunError
from visagist.core.locks import lock
from visagist.training.checkpoint import bring_back, checkpoint_iteration, earlier, forget_after, listed
from visagist.training.preview import forget_previews_after
from visagist.training.run import BACKUPS, CHECKPOINT, PREVIEWS, RECORD, RunRecord, save_weights

LOCK = "train.lock"


@dataclass(frozen=True)
class Rewound:
    """Where a run is, and where it can go back to.

    Attributes:
        run: its folder.
        iteration: done at its checkpoint.
        iterations: planned in all.
        backups: iterations that it can go back to: of backups, and of the checkpoint before the latest.
    """

    run: Path
    iteration: int
    iterations: int
    backups: tuple[int, ...]

    def as_text(self) -> str:
        """A line for people."""
        done = f"{self.run}: {self.iteration} of {self.iterations} iterations are done"
        return f"{done}; it can go back to: {listed(self.backups)}"


def rewind(run: Path, iteration: int | None = None) -> Rewound:
    """Go back to an earlier state of a run; `train` then goes on from there, and trains to the same length as before.

    What the run draws with is then of that iteration, too, and later backups and previews are deleted: they are of a
    future that will not be. Killed on the way, the same call, or `train`, finishes it (`settle`, `Loop.finish`).

    Args:
        run: its folder.
        iteration: of a backup or of the checkpoint before the latest; None changes nothing, and only says which there
            are.

    Raises:
        RunError: the folder is no run, keeps nothing of that iteration, is damaged, or is being trained by another
            process.
        OutputError: the run cannot be written.
    """
    record = RunRecord.read(run)
    if iteration is not None:
        with alone(run):
            found = bring_back(run / CHECKPOINT, run / BACKUPS, iteration)
            save_weights(run, found.average, record, iteration)
            record = record.rewound(iteration)
            record.save(run / RECORD)
            forget_future(run, iteration)
    there = tuple(earlier(run / CHECKPOINT, run / BACKUPS))
    try:
        done = checkpoint_iteration(run / CHECKPOINT)
    except RunError as error:  # whose remedy is to call this with one of them
        raise RunError(f"{error} (there are: {listed(there)})") from error
    return Rewound(run, done, record.iterations, there)


def forget_future(run: Path, iteration: int) -> None:
    """Delete backups and previews of later iterations.

    Raises:
        OutputError: one cannot be deleted.
    """
    forget_after(run / BACKUPS, iteration)
    forget_previews_after(run / PREVIEWS, iteration)


@contextmanager
def alone(run: Path) -> Iterator[None]:
    """Keep other trainings out of a run's folder for the time of the block.

    Raises:
        RunError: one is at work there.
        OutputError: the folder cannot be written, or nothing can be locked there.
    """
    if run.is_file():
        raise OutputError(f"{run}: is a file, not a folder; give a run another name, or move the file away")
    try:
        mine = lock(run / LOCK, wait=False)
    except Timeout as error:
        raise RunError(
            f"{run}: another training is at work there; wait for its end, or train into another run"
        ) from error
    with mine:
        yield
