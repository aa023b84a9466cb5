"""A run in training: saving, restoring and rolling back."""

from dataclasses import dataclass, field
from pathlib import Path

from visagist.core.errors import CollapseError
from visagist.core.events import EventCallback, Note, Warned
from visagist.models.bundle import WEIGHTS, read_record
from visagist.training import checkpoint as disk
from visagist.training.checkpoint import Checkpoint, State, read_state, save_checkpoint, saved_iterations, write_state
from visagist.training.config import TrainOptions
from visagist.training.distributed import World
from visagist.training.preview import Sign
from visagist.training.resume import leave_cool_down
from visagist.training.run import CHECKPOINTS, PREVIEWS, RECORD, STEP, RunRecord, logged_validations, save_weights
from visagist.training.stability import MAX_ROLLBACKS, CollapseWatch, LossWatch
from visagist.training.trainer import Trainer

ADVICE = (
    "remove crops that do not show the subject's face from the facesets, halve the --learning-rate or choose another "
    "--seed, and train into a new run"
)


@dataclass
class TrainingRun:
    """State of a run in training."""

    trainer: Trainer
    path: Path
    record: RunRecord
    options: TrainOptions
    events: EventCallback
    sign: Sign | None
    world: World = field(default_factory=World.current)
    iteration: int = 0  # iterations done
    state: State = field(default_factory=lambda: State(latest=-1))  # as on disk, once a checkpoint exists
    loss_watch: LossWatch = field(default_factory=LossWatch)
    collapse_watch: CollapseWatch = field(default_factory=CollapseWatch)
    validations: dict[int, dict[str, float]] = field(default_factory=dict)  # metrics of validation faces, by iteration
    seconds: list[float] = field(default_factory=list)  # duration of each iteration of this call
    step_in_progress: bool = False  # weights and optimizer state may be inconsistent

    def __post_init__(self) -> None:
        self.checkpoints, self.full_rate = self.path / CHECKPOINTS, self.trainer.rate

    def begin(self) -> None:
        """Restore the latest checkpoint or save the first one; clean up after a killed process."""
        if self.world.is_main:
            leave_cool_down(self.path, self.record)
        self.world.wait()
        is_new = not self.restore()
        if self.world.is_main:
            self.clean_up()
        self.recall(logged_validations(self.path, self.iteration))
        if is_new:
            self.save()
        elif self.state.before_interruption is None:
            self.prune()  # a process may have been killed between saving and pruning

    def restore(self) -> bool:
        """Restore the latest checkpoint; False if there is none."""
        state = read_state(self.checkpoints)
        if state is None:
            return False
        found = disk.load_checkpoint(self.checkpoints, state.latest)
        self.trainer.restore(found.tensors)
        self.trainer.rate, self.trainer.attempt = self.full_rate * state.rate, state.attempt
        self.state, self.loss_watch = state, LossWatch(**found.stability)
        self.iteration = state.latest
        return True

    def recall(self, validations: dict[int, dict[str, float]]) -> None:
        """Restore the validation metrics so far."""
        self.validations, self.collapse_watch = validations, CollapseWatch()
        for iteration, metrics in validations.items():
            self.collapse_watch.check(iteration, metrics)

    def is_save_due(self) -> bool:
        """Whether a scheduled checkpoint is due; never during a jump or a collapse, when the state may be bad."""
        is_cool_down = self.iteration == self.trainer.plan.cool_down_start
        next_save = (self.state.scheduled // self.options.save_every + 1) * self.options.save_every
        is_well = not (self.loss_watch.high or self.collapse_watch.collapsed)
        return (is_cool_down or self.iteration >= next_save) and is_well

    def save(self) -> None:
        """Save a scheduled checkpoint."""
        if self.state.scheduled == self.iteration:
            return
        self._save(self.state.model_copy(update={"latest": self.iteration, "failures": 0, "before_interruption": None}))
        self.prune()

    def prune(self) -> None:
        """Delete checkpoints that are no longer needed."""
        if self.world.is_main:
            pinned = self.trainer.plan.cool_down_start, self.collapse_watch.last_good  # to extend from; to go back to
            disk.prune(self.checkpoints, self.options.backup_every, self.options.backups, pinned)

    def save_interrupted(self) -> None:
        """Save a checkpoint to resume from.

        Rollbacks skip it and the next scheduled checkpoint replaces it, so an interrupted run ends like an
        uninterrupted one even if it is rolled back later.
        """
        if self.state.latest != self.iteration:
            update = {"latest": self.iteration, "before_interruption": self.state.scheduled}
            self._save(self.state.model_copy(update=update))

    def _save(self, state: State) -> None:
        """Save the current state as the latest checkpoint, and the EMA weights as the run's weights."""
        before, self.state = self.state, state
        if not self.world.is_main:
            return
        # Weights first: if the final checkpoint exists, everything is complete.
        if self.iteration and not self.keeps_finished_weights:
            save_weights(self.path, self.trainer.average, self.record, self.iteration)
        trainer = self.trainer
        found = Checkpoint(self.iteration, trainer.plan, trainer.tensors(), self.loss_watch.numbers())
        save_checkpoint(self.checkpoints, found, state)
        if before.before_interruption is not None and before.latest != state.latest:
            disk.delete(disk.checkpoint_path(self.checkpoints, before.latest))

    @property
    def keeps_finished_weights(self) -> bool:
        """Whether the run keeps the weights of its finished training, because its extension has not ended."""
        return self.record.finished is not None and self.iteration < self.trainer.plan.total

    def clean_up(self) -> None:
        """Delete files of later iterations, and write the run's weights if they are missing or out of date."""
        disk.delete_after(self.checkpoints, self.iteration)
        disk.delete_after(self.path / PREVIEWS, self.iteration, ".png")
        weights = read_record(self.path) if (self.path / WEIGHTS).exists() else None
        saved = weights.iteration if weights else 0
        # A run killed right after writing its final weights has them, but not yet the final checkpoint.
        if self.keeps_finished_weights and saved in (self.record.finished, self.trainer.plan.total):
            return
        if saved != self.iteration or (weights and weights.origins != self.record.origins):
            save_weights(self.path, self.trainer.average, self.record, self.iteration)

    def roll_back(self, reason: str) -> None:
        """Restore the last scheduled checkpoint with half the learning rate and new random numbers.

        If that checkpoint was restored before, it may be bad itself, and the one before it is restored.

        Raises:
            CollapseError: the training was rolled back too often.
        """
        failed, state = self.iteration + 1, self.state
        earlier = saved_iterations(self.checkpoints, state.scheduled - 1)
        to = earlier[-1] if state.failures and earlier else state.scheduled
        if state.attempt >= MAX_ROLLBACKS:
            self.give_up(to, f"training failed {state.attempt + 1} times, last at iteration {failed}: {reason}")
        failures = state.failures + 1 if to == state.scheduled else 1
        self.go_to(to, attempt=state.attempt + 1, rate=state.rate / 2, failures=failures)
        rate, count = self.trainer.rate, f"{self.trainer.attempt} of {MAX_ROLLBACKS}"
        self.events(
            Warned(STEP, f"iteration {failed}: {reason}; back to iteration {to} with learning rate {rate:g} ({count})")
        )

    def give_up(self, kept: int, reason: str) -> None:
        """End a failed training at its best checkpoint.

        Raises:
            CollapseError: always.
        """
        self.go_to(kept, failures=0)
        self.world.wait()  # until the weights are written
        left = f"the weights of iteration {kept} are kept" if kept else "no weights are kept"
        raise CollapseError(f"{reason}; {left}. To continue, {ADVICE}")

    def go_to(self, iteration: int, **changes: float) -> None:
        """Restore an earlier checkpoint, make it the latest, and delete later ones."""
        self.world.wait()  # until all processes have read the old state
        if self.world.is_main:
            update = {"latest": iteration, "before_interruption": None, **changes}
            write_state(self.checkpoints, self.state.model_copy(update=update))
        self.world.wait()
        self.restore()
        self.recall({at: metrics for at, metrics in self.validations.items() if at <= iteration})
        if self.world.is_main:
            self.clean_up()

    def start_cool_down(self) -> None:
        """Begin the cool-down now; the training ends with it."""
        plan = self.trainer.plan
        shorter = plan.cut_short(self.iteration, self.options.schedule)
        self.save()  # so that the plan changes at this iteration after a crash, too
        self.record = self.record.model_copy(update={"plan": shorter, "plateau": self.iteration})
        self.trainer.plan = shorter
        if self.world.is_main:
            self.record.save(self.path / RECORD)
            self.clean_up()  # without a cool-down this is the end, so write the run's weights
        self.events(
            Note(STEP, f"plateau: the cool-down begins; the training ends at {shorter.total}, not {plan.total}")
        )
