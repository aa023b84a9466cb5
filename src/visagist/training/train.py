"""The training loop, and how it stops and continues.

A run continues exactly: stopped, killed or crashed and started again, it ends with the weights of an uninterrupted one
(same machine, same number of threads).
"""

import threading
import time
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from statistics import median

import numpy as np

from visagist.core.device import peak
from visagist.core.errors import CollapseError
from visagist.core.events import EventCallback, Metric, Note, Progress, Result, Warned, silent
from visagist.core.files import sha256
from visagist.models.bundle import WEIGHTS, read_record
from visagist.training import checkpoint as disk
from visagist.training.budget import BESIDES
from visagist.training.checkpoint import Checkpoint, State, read_state, save_checkpoint, saved_iterations, write_state
from visagist.training.config import TrainOptions
from visagist.training.distributed import World
from visagist.training.early_stopping import outlook
from visagist.training.memory import GIB, explained
from visagist.training.preview import Sign, sheet, write_sheet
from visagist.training.resume import leave_cool_down
from visagist.training.run import (
    CHECKPOINTS,
    EVENTS,
    PREVIEWS,
    RECORD,
    Run,
    RunRecord,
    save_weights,
    weights_iteration,
)
from visagist.training.schedule import learning_rate
from visagist.training.signals import STEP, VALIDATION, interrupts, logged, logged_validations
from visagist.training.stability import CONFIRMATIONS, MAX_ROLLBACKS, CollapseWatch, LossWatch
from visagist.training.trainer import Trainer
from visagist.training.validation import validate, validation_faces

METRIC_EVERY = 10  # iterations
PREVIEW_ROWS = 4
ADVICE = (
    "look through the facesets for crops that do not show this subject's face, choose a smaller --learning-rate (half "
    "of what it was) or another --seed, and train into a new run"
)


class Training:
    """One call of a training: the loop, and the state around the `Trainer`.

    Attributes:
        iteration: iterations done.
        saved: iteration of the latest checkpoint, -1 without one.
        state: where the training is, as on disk.
        validations: metrics of validation faces by iteration.
        step_in_progress: weights and optimizer state may be inconsistent.
    """

    def __init__(
        self,
        trainer: Trainer,
        run: Path,
        record: RunRecord,
        options: TrainOptions,
        events: EventCallback,
        sign: Sign | None,
    ) -> None:
        self.trainer, self.run, self.record, self.options = trainer, run, record, options
        self.events, self.sign, self.world = events, sign, World.now()
        self.folder, self.full_rate = run / CHECKPOINTS, trainer.rate
        self.iteration, self.saved = 0, -1
        self.state = State(latest=0)
        self.watch, self.collapse = LossWatch(), CollapseWatch()
        self.times: list[float] = []
        self.validations: dict[int, dict[str, float]] = {}
        self.metrics: dict[str, float] = {}
        self.step_in_progress = False

    def loop(self, stop: threading.Event) -> None:
        """Train to the end of the plan, or until a signal asks to stop."""
        trainer, options = self.trainer, self.options
        while self.iteration < trainer.plan.total:
            before, self.step_in_progress = time.perf_counter(), True
            loss = trainer.step(self.iteration).item()  # seeded by (seed, attempt, iteration): exact resume
            reason = self.watch.check(loss)
            if reason is None:
                self.iteration += 1
                self.times.append(time.perf_counter() - before)
            else:
                self.roll_back(reason)  # to the last good checkpoint, with half the learning rate
            self.step_in_progress = False
            if reason is None:
                self.report()
                is_end = self.iteration == trainer.plan.total
                if is_end or self.iteration % options.preview_every == 0:
                    self.validate()  # early stopping may shorten the plan here
                if is_end or self.is_save_due():
                    self.save()
            if self.world.any(stop.is_set()):  # on all processes or on none, and after everything is written
                raise KeyboardInterrupt

    def finish(self) -> Run:
        """Train to the end, with a log."""
        log = logged(self.events, self.run / EVENTS) if self.world.is_main else nullcontext(silent)
        with log as self.events:
            return self._finish()

    def _finish(self) -> Run:
        started, plan = time.perf_counter(), self.trainer.plan
        if self.world.is_main:
            leave_cool_down(self.run, self.record)
        self.world.wait()
        is_new = not self.restore()
        begun = self.iteration
        if self.world.is_main:
            self.tidy()
        self.recall(logged_validations(self.run / EVENTS, begun))
        if is_new:
            self.save()
        if begun < plan.total:
            if begun and self.record.finished is not None:
                self.events(
                    Note(
                        STEP,
                        f"extends the training from iteration {begun} to {plan.total}, with a cool-down from "
                        f"{plan.cool_down_start}; until then the weights of iteration {self.record.finished} stay",
                    )
                )
            self._run_loop()
        else:
            self.events(Note(STEP, f"all {begun} iterations are done; larger --iterations or --minutes train on"))
            self.metrics = self.measure()
            self.world.wait()  # for the weights
        return Run(
            path=self.run,
            iterations=self.iteration,
            resumed_at=begun,
            seconds=time.perf_counter() - started,
            faces_per_second=self.options.batch / median(self.times) if self.times else 0.0,
            metrics=self.metrics,
            rollbacks=self.trainer.attempt,
            weights_sha256=sha256(self.run / WEIGHTS),
        )

    def _run_loop(self) -> None:
        trainer = self.trainer
        crops = sum(len(each.planes) for each in set(trainer.datasets.values()))
        fits = explained(self.options, tuple(trainer.datasets), trainer.compute, crops)
        with fits, interrupts(self.events) as (stop, self.events):
            try:
                if self.iteration and self.iteration % self.options.preview_every == 0:
                    if self.iteration not in self.validations:  # interrupted just before it
                        self.validate()
                    else:
                        self.stop_early()
                self.loop(stop)
            except KeyboardInterrupt:
                if not self.step_in_progress:
                    self.save()
                    self.world.wait()  # torchrun soon kills all others once one has ended
                raise
            except CollapseError:
                self.world.wait()  # for the weights
                raise

    def report(self) -> None:
        """Emit progress, and metrics now and then."""
        total = self.trainer.plan.total
        self.events(Progress(STEP, self.iteration, total, "iterations"))
        if self.iteration % METRIC_EVERY and self.iteration != total:
            return
        trainer, each = self.trainer, median(self.times[-50:])
        memory = peak(trainer.compute.device)
        metrics = {
            "loss": sum(part.item() for part in trainer.losses.values()),
            **{f"loss_{name}": part.item() for name, part in trainer.losses.items()},
            **{f"loss_{name}_judge": part.item() for name, part in trainer.judged.items()},
            "learning_rate": trainer.rate * learning_rate(self.iteration - 1, trainer.plan, self.options.schedule),
            "faces_per_second": self.options.batch / each,
            "seconds_left": each * (total - self.iteration) * (1 + BESIDES),
            **({} if memory is None else {"memory_gib": memory / GIB}),
        }
        self.events(Metric(STEP, self.iteration, metrics))

    def is_save_due(self) -> bool:
        """Whether a checkpoint is due; not while the loss jumps, when the state may be bad."""
        is_cool_down = self.iteration == self.trainer.plan.cool_down_start
        next_save = (self.saved // self.options.save_every + 1) * self.options.save_every
        return (is_cool_down or self.iteration >= next_save) and not (self.watch.high or self.collapse.collapsed)

    def save(self) -> None:
        """Make the state now the latest checkpoint, and its average the run's weights."""
        if self.saved == self.iteration:
            return
        self.saved = self.iteration
        trainer = self.trainer
        self.state = self.state.model_copy(update={"latest": self.iteration, "failures": 0})
        if self.world.is_main:
            # Weights first: a checkpoint of the end says that all is there.
            if self.iteration and not self.keeps_finished_weights:
                save_weights(self.run, trainer.average, self.record, self.iteration)
            found = Checkpoint(self.iteration, trainer.plan, trainer.tensors(), self.watch.numbers())
            save_checkpoint(self.folder, found, self.state)
            pinned = trainer.plan.cool_down_start, self.collapse.last_good  # to extend from, and to go back to
            disk.prune(self.folder, self.options.backup_every, self.options.backups, pinned)

    @property
    def keeps_finished_weights(self) -> bool:
        """Whether the weights of a finished training stay the run's, because its extension has not ended."""
        return self.record.finished is not None and self.iteration < self.trainer.plan.total

    def restore(self) -> bool:
        """Take over the latest checkpoint; False if there is none."""
        state = read_state(self.folder)
        if state is None:
            return False
        found = disk.load_checkpoint(self.folder, state.latest)
        self.trainer.restore(found.tensors)
        self.trainer.rate, self.trainer.attempt = self.full_rate * state.rate, state.attempt
        self.state, self.watch = state, LossWatch.of(found.stability)
        self.iteration = self.saved = state.latest
        return True

    def recall(self, validations: dict[int, dict[str, float]]) -> None:
        """Take over the metrics of validation faces up to now."""
        self.validations, self.collapse = validations, CollapseWatch()
        for iteration, metrics in validations.items():
            self.collapse.check(iteration, _variations(metrics))

    def tidy(self) -> None:
        """Delete what a kill has left, and write weights that are missing, of a future that was gone back on, or whose
        record is out of date."""
        disk.delete_after(self.folder, self.iteration)
        disk.delete_after(self.run / PREVIEWS, self.iteration, ".png")
        there = weights_iteration(self.run)
        # Killed right after they were written, weights of the end are there before their checkpoint is.
        if self.keeps_finished_weights and there in (self.record.finished, self.trainer.plan.total):
            return
        is_current = there == self.iteration and (not there or read_record(self.run).origins == self.record.origins)
        if not is_current:
            save_weights(self.run, self.trainer.average, self.record, self.iteration)

    def roll_back(self, reason: str) -> None:
        """Restore the last good checkpoint with half the learning rate and other random numbers.

        A checkpoint that has been gone back to before may be bad itself: then it is the one before.
        """
        failed, state = self.iteration + 1, self.state
        earlier = saved_iterations(self.folder, state.latest - 1)
        to = earlier[-1] if state.failures and earlier else state.latest
        if state.attempt >= MAX_ROLLBACKS:
            self.give_up(to, f"training went wrong {state.attempt + 1} times, last at iteration {failed}: {reason}")
        update = {"latest": to, "attempt": state.attempt + 1, "rate": state.rate / 2}
        self.go_to(state.model_copy(update=update | {"failures": state.failures + 1 if to == state.latest else 1}))
        rate, count = self.trainer.rate, f"{self.trainer.attempt} of {MAX_ROLLBACKS}"
        self.events(
            Warned(STEP, f"iteration {failed}: {reason}; back to iteration {to} with learning rate {rate:g} ({count})")
        )

    def go_to(self, state: State) -> None:
        """Make an earlier checkpoint the latest, delete what came after it, and restore it."""
        self.world.wait()  # until every process has read the old state
        if self.world.is_main:
            write_state(self.folder, state)
        self.world.wait()
        self.restore()
        self.recall({at: metrics for at, metrics in self.validations.items() if at <= self.iteration})
        if self.world.is_main:
            self.tidy()

    def give_up(self, kept: int, reason: str) -> None:
        """End a training that went wrong, at the best checkpoint.

        Raises:
            CollapseError: always.
        """
        self.go_to(self.state.model_copy(update={"latest": kept, "failures": 0}))
        left = f"the weights of iteration {kept} are kept" if kept else "no weights are kept"
        raise CollapseError(f"{reason}; {left}. To go on, {ADVICE}")

    def measure(self) -> dict[str, float]:
        """Metrics of validation faces by the EMA weights; on the main process."""
        if not self.world.is_main:
            return {}
        trainer = self.trainer
        return validate(trainer.datasets, trainer.predict, trainer.network.size, self.options.coverage)

    def validate(self) -> None:
        """Measure and preview validation faces; stop early on a plateau, give up on a collapse."""
        if self.world.is_main:
            self.metrics = self.validations[self.iteration] = self.measure()
            self.events(Metric(VALIDATION, self.iteration, self.metrics))
            if self.sign is not None:
                size = self.trainer.network.size
                faces = {
                    name: validation_faces(each, PREVIEW_ROWS, size)[:, :3]
                    for name, each in self.trainer.datasets.items()
                }
                path = self.run / PREVIEWS / f"{self.iteration:08}.png"
                write_sheet(sheet(faces, self.trainer.predict), path, self.sign)
                self.events(Result("preview", path))
            if reason := self.collapse.check(self.iteration, _variations(self.metrics)):
                self.events(Warned(STEP, f"iteration {self.iteration}: {reason}"))
        if self.world.any(self.collapse.collapsed >= CONFIRMATIONS):
            last_good = self.world.agreed(self.collapse.last_good)
            there = saved_iterations(self.folder)
            kept = [iteration for iteration in there if iteration <= last_good] or there[:1]
            self.give_up(
                kept[-1], f"the training collapsed after iteration {last_good}, seen {CONFIRMATIONS} times in a row"
            )
        self.stop_early()

    def stop_early(self) -> None:
        """Tell what going on would bring; begin the cool-down now if that is nothing, and it is asked for."""
        plan, schedule = self.trainer.plan, self.options.schedule
        shorter = plan.cut_short(self.iteration, schedule)
        if self.world.any(self.is_plateau() and shorter.total < plan.total):
            self.save()  # the plan changes here: after a crash, too
            self.record = self.record.model_copy(update={"plan": shorter, "plateau": self.iteration})
            self.trainer.plan = shorter
            if self.world.is_main:
                self.record.save(self.run / RECORD)
                self.tidy()  # without a cool-down this is the end, whose weights are the run's
            self.events(
                Note(STEP, f"plateau: the cool-down begins; the training ends at {shorter.total}, not {plan.total}")
            )

    def is_plateau(self) -> bool:
        """Whether validation faces gain nothing more; says so, where there is a trend. On the main process."""
        plan = self.trainer.plan
        if plan.is_finishing(self.iteration + 1) or self.watch.high or self.collapse.collapsed:
            return False
        seen = {at: found for at, found in self.validations.items() if plan.warm_up < at <= plan.cool_down_start}
        if not seen:
            return False
        ssim = [[value for name, value in found.items() if name.startswith("ssim_")] for found in seen.values()]
        trend = outlook(list(seen), np.array(ssim))
        if not trend.window:
            return False
        an_hour = 3600 / median(self.times[-50:]) if self.times else None  # none: interrupted just before
        self.events(Note(STEP, trend.as_text(an_hour)))
        return self.options.until == "plateau" and trend.is_plateau


def _variations(metrics: Mapping[str, float]) -> dict[str, float]:
    return {name.removeprefix("variation_"): value for name, value in metrics.items() if name.startswith("variation_")}
