"""Rolling a run back to an earlier checkpoint on request; see `TrainingRun.roll_back` for the automatic rollback."""

from dataclasses import dataclass
from pathlib import Path

from visagist.core.errors import RunError
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
from visagist.training.run import CHECKPOINTS, PREVIEWS, RECORD, RunRecord, run_lock, save_weights


@dataclass(frozen=True)
class Rewound:
    """Progress of a run and its available checkpoints.

    Attributes:
        path: the run's folder.
        iteration: iterations done.
        iterations: iterations planned.
        checkpoints: iterations that the run can go back to.
    """

    path: Path
    iteration: int
    iterations: int
    checkpoints: tuple[int, ...]

    def __fspath__(self) -> str:
        return str(self.path)

    def as_text(self) -> str:
        """The state in one line."""
        done = f"{self.path}: {self.iteration} of {self.iterations} iterations are done"
        return f"{done}; available checkpoints: {listed(self.checkpoints)}"


def rewind(run: StrPath, iteration: int | None = None) -> Rewound:
    """Go back to an earlier checkpoint of a run; `train` then continues from there to the same total.

    The run's weights become those of that iteration, and later checkpoints and previews are deleted. If the call is
    interrupted, the same call, or `train`, completes it.

    Args:
        run: the run's folder.
        iteration: of a checkpoint; None only lists those available.

    Raises:
        RunError: the folder is not a run, has no checkpoint of that iteration, is damaged, or is being trained.
        OutputError: the run cannot be written.
    """
    run = Path(run)
    record, folder = RunRecord.read(run), run / CHECKPOINTS
    if iteration is not None:
        with run_lock(run):
            _go_back(run, record, iteration)
    saved = saved_iterations(folder)
    try:
        state = read_state(folder)
    except RunError as error:
        raise RunError(f"{error} (available: {listed(saved)})") from error
    done = state.latest if state else 0
    return Rewound(run, done, record.plan.total, tuple(i for i in saved if i < done))


def _go_back(run: Path, record: RunRecord, iteration: int) -> None:
    folder = run / CHECKPOINTS
    if iteration not in (saved := saved_iterations(folder)):
        raise RunError(f"{run}: no checkpoint at iteration {iteration} (available: {listed(saved)})")
    checkpoint = load_checkpoint(folder, iteration)  # completely, before anything is deleted
    try:
        state = read_state(folder) or State(latest=iteration)
    except RunError:  # damaged; rewinding repairs it
        state = State(latest=iteration)
    if record.finished is not None:  # first: `train` can complete a rewind killed after the next line
        record = record.model_copy(update={"finished": None})
        record.save(run / RECORD)
    write_state(folder, state.model_copy(update={"latest": iteration, "failures": 0, "before_interruption": None}))
    delete_after(folder, iteration)
    delete_after(run / PREVIEWS, iteration, ".png")
    save_weights(run, checkpoint.average, record, iteration)
