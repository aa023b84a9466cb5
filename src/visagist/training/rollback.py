"""Going back in a run by hand, and the lock that keeps two trainings out of one folder."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import Timeout

from visagist.core.errors import OutputError, RunError
from visagist.core.locks import lock
from visagist.core.types import StrPath
from visagist.training.checkpoint import (
    State,
    delete_after,
    listed,
    load_checkpoint,
    read_state,
    saved_iterations,
    write_state,
)
from visagist.training.run import CHECKPOINTS, PREVIEWS, RECORD, RunRecord, save_weights

LOCK = "train.lock"


@dataclass(frozen=True)
class Rewound:
    """Where a run is, and where it can go back to.

    Attributes:
        path: its folder.
        iteration: iterations done.
        iterations: iterations planned.
        checkpoints: iterations that it can go back to.
    """

    path: Path
    iteration: int
    iterations: int
    checkpoints: tuple[int, ...]

    def __fspath__(self) -> str:
        return str(self.path)

    def as_text(self) -> str:
        """One line."""
        done = f"{self.path}: {self.iteration} of {self.iterations} iterations are done"
        return f"{done}; it can go back to: {listed(self.checkpoints)}"


def rewind(run: StrPath, iteration: int | None = None) -> Rewound:
    """Go back to an earlier checkpoint of a run; `train` then continues from there, to the same length as before.

    The run's weights are then those of that iteration, and later checkpoints and previews are deleted. Killed on the
    way, the same call, or `train`, finishes it.

    Args:
        run: its folder.
        iteration: of a checkpoint; None changes nothing, and lists those that there are.

    Raises:
        RunError: the folder is no run, keeps no checkpoint of that iteration, is damaged, or is being trained.
        OutputError: the run cannot be written.
    """
    run = Path(run)
    record, folder = RunRecord.read(run), run / CHECKPOINTS
    there = saved_iterations(folder)
    if iteration is not None:
        with run_lock(run):
            if iteration not in there:
                raise RunError(f"{run}: no checkpoint at iteration {iteration} (available: {listed(there)})")
            found = load_checkpoint(folder, iteration)  # all of it, before anything is deleted
            try:
                state = read_state(folder) or State(latest=iteration)
            except RunError:  # damaged, which is what this repairs
                state = State(latest=iteration)
            if record.finished is not None:  # first: what is killed after the next line is finished by `train`
                record = record.model_copy(update={"finished": None})
                record.save(run / RECORD)
            write_state(folder, state.model_copy(update={"latest": iteration, "failures": 0}))
            delete_after(folder, iteration)
            delete_after(run / PREVIEWS, iteration, ".png")
            save_weights(run, found.average, record, iteration)
    try:
        state = read_state(folder)
        done = state.latest if state else 0
    except RunError as error:
        raise RunError(f"{error} (available: {listed(there)})") from error
    return Rewound(run, done, record.plan.total, tuple(i for i in saved_iterations(folder) if i < done))


@contextmanager
def run_lock(run: Path) -> Iterator[None]:
    """Keep other trainings out of a run's folder for the time of the block.

    Raises:
        RunError: another process is training there.
        OutputError: the folder cannot be written or locked.
    """
    if run.is_file():
        raise OutputError(f"{run}: is a file, not a folder; give the run another name, or move the file away")
    try:
        mine = lock(run / LOCK, wait=False)
    except Timeout as error:
        raise RunError(
            f"{run}: another training is using this folder; wait for its end, or train into another run"
        ) from error
    with mine:
        yield
