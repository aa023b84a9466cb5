"""The training loop.

A run that was stopped, killed or crashed resumes exactly: on the same machine with the same number of threads, it ends
with the weights of an uninterrupted run.
"""

import threading
import time
from contextlib import nullcontext
from statistics import median

from visagist.core.device import peak_memory
from visagist.core.events import Metric, Note, Progress, Result, Warned, silent
from visagist.core.files import sha256
from visagist.models.bundle import WEIGHTS
from visagist.training.budget import DISCARDED_ITERATIONS, MEASURED_AFTER, OVERHEAD
from visagist.training.checkpoint import saved_iterations
from visagist.training.early_stopping import validation_trend
from visagist.training.memory import GIB, explained
from visagist.training.preview import sheet, write_sheet
from visagist.training.run import PREVIEWS, STEP, VALIDATION, Run, duration, logged, speed
from visagist.training.schedule import learning_rate
from visagist.training.signals import interrupts
from visagist.training.stability import COLLAPSE_PATIENCE
from visagist.training.training_run import TrainingRun
from visagist.training.validation import validate, validation_faces

METRIC_EVERY = 10  # iterations
PREVIEW_ROWS = 4


def loop(run: TrainingRun, stop: threading.Event) -> None:
    """Train to the end of the plan, or until `stop` is set."""
    trainer, options = run.trainer, run.options
    while run.iteration < trainer.plan.total:
        before, run.step_in_progress = time.perf_counter(), True
        loss = trainer.step(run.iteration).item()  # seeded by (seed, attempt, iteration): exact resume
        fault = run.loss_watch.check(loss)
        if fault is None:
            run.iteration += 1
            run.seconds.append(time.perf_counter() - before)
        else:
            run.roll_back(fault)  # to the last good checkpoint, with half the learning rate
        run.step_in_progress = False
        if fault is None:
            report(run)
            is_end = run.iteration == trainer.plan.total
            if is_end or run.iteration % options.preview_every == 0:
                validate_and_preview(run)  # early stopping may shorten the plan here
            if is_end or run.is_save_due():
                run.save()
        if run.world.any(stop.is_set()):  # on all processes or none, after everything is written
            raise KeyboardInterrupt


def train_run(run: TrainingRun) -> Run:
    """Train a run to the end of its plan, and log its events.

    Raises:
        CollapseError: the training went wrong too often, or collapsed.
        KeyboardInterrupt: Ctrl-C or SIGTERM; the state is saved, except after a second Ctrl-C.
    """
    with logged(run.events, run.path) if run.world.is_main else nullcontext(silent) as run.events:
        started, trainer = time.perf_counter(), run.trainer
        run.begin()
        begun, total = run.iteration, trainer.plan.total
        if begun < total:
            if begun and run.record.finished is not None:
                cool_down, kept = trainer.plan.cool_down_start, run.record.finished
                extension = f"extends the training from iteration {begun} to {total}, with a cool-down from {cool_down}"
                run.events(Note(STEP, f"{extension}; until then the run keeps the weights of iteration {kept}"))
            with explained(trainer), interrupts(run.events) as (stop, run.events):
                try:
                    if begun and begun % run.options.preview_every == 0:  # interrupted before or after a validation
                        stop_early(run) if begun in run.validations else validate_and_preview(run)
                    loop(run, stop)
                except KeyboardInterrupt:
                    if not run.step_in_progress:
                        run.save_interrupted()
                        run.world.wait()  # torchrun soon kills all others once one has ended
                    raise
            metrics = run.validations.get(run.iteration, {})
        else:
            run.events(Note(STEP, f"all {begun} iterations are done; to continue, raise --iterations or --minutes"))
            metrics = measure(run)
            run.world.wait()  # for the weights
        return Run(
            path=run.path,
            iterations=run.iteration,
            resumed_at=begun,
            seconds=time.perf_counter() - started,
            faces_per_second=run.options.batch / median(run.seconds) if run.seconds else 0.0,
            metrics=metrics,
            rollbacks=trainer.attempt,
            weights_sha256=sha256(run.path / WEIGHTS),
        )


def report(run: TrainingRun) -> None:
    """Emit progress, and metrics every few iterations."""
    trainer, iteration, total = run.trainer, run.iteration, run.trainer.plan.total
    run.events(Progress(STEP, iteration, total, "iterations"))
    if len(run.seconds) == MEASURED_AFTER and run.options.iterations is not None:
        seconds = median(run.seconds[DISCARDED_ITERATIONS:])
        left = duration(seconds * (total - iteration) * (1 + OVERHEAD))
        rate = speed(run.options.batch / seconds)
        run.events(Note(STEP, f"{trainer.compute}: {rate}, so {total - iteration} iterations take about {left}"))
    if iteration % METRIC_EVERY and iteration != total:
        return
    seconds, memory = median(run.seconds[-50:]), peak_memory(trainer.compute.device)
    metrics = {
        "loss": sum(part.item() for part in trainer.losses.values()),
        **{f"loss_{name}": part.item() for name, part in trainer.losses.items()},
        **{f"loss_{name}_discriminator": part.item() for name, part in trainer.discriminator_losses.items()},
        "learning_rate": trainer.rate * learning_rate(iteration - 1, trainer.plan, run.options.schedule),
        "faces_per_second": run.options.batch / seconds,
        "seconds_left": seconds * (total - iteration) * (1 + OVERHEAD),
        **({} if memory is None else {"memory_gib": memory / GIB}),
    }
    run.events(Metric(STEP, iteration, metrics))


def measure(run: TrainingRun) -> dict[str, float]:
    """Metrics of validation faces, predicted with the EMA weights; empty except on the main process."""
    if not run.world.is_main:
        return {}
    trainer = run.trainer
    return validate(trainer.datasets, trainer.predict, trainer.network.size, run.options.coverage)


def validate_and_preview(run: TrainingRun) -> None:
    """Validate and write a preview; stop early on a plateau, give up after a collapse."""
    trainer, iteration = run.trainer, run.iteration
    if run.world.is_main:
        metrics = run.validations[iteration] = measure(run)
        run.events(Metric(VALIDATION, iteration, metrics))
        if run.sign is not None:
            size = trainer.network.size
            faces = {name: validation_faces(each, PREVIEW_ROWS, size)[:, :3] for name, each in trainer.datasets.items()}
            path = run.path / PREVIEWS / f"{iteration:08}.png"
            write_sheet(sheet(faces, trainer.predict), path, run.sign)
            run.events(Result("preview", path))
        if fault := run.collapse_watch.check(iteration, metrics):
            run.events(Warned(STEP, f"iteration {iteration}: {fault}"))
    if run.world.any(run.collapse_watch.collapsed >= COLLAPSE_PATIENCE):
        last_good = run.world.broadcast_number(run.collapse_watch.last_good)
        saved = saved_iterations(run.checkpoints)
        kept = max((each for each in saved if each <= last_good), default=saved[0])
        run.give_up(
            kept, f"the training collapsed after iteration {last_good}, confirmed {COLLAPSE_PATIENCE} times in a row"
        )
    stop_early(run)


def stop_early(run: TrainingRun) -> None:
    """Report the trend of the validation metrics; with `--until plateau`, begin the cool-down on a plateau."""
    plan, is_plateau = run.trainer.plan, False
    is_well = not (run.loss_watch.high or run.collapse_watch.collapsed)
    if run.world.is_main and is_well and run.iteration + 1 < plan.cool_down_start:
        trend = validation_trend(run.validations, plan)
        if trend.window:
            an_hour = 3600 / median(run.seconds[-50:]) if run.seconds else None  # None: just resumed
            run.events(Note(STEP, trend.as_text(an_hour)))
        is_plateau = run.options.until == "plateau" and trend.is_plateau
    if run.world.any(is_plateau and plan.cut_short(run.iteration, run.options.schedule).total < plan.total):
        run.start_cool_down()
