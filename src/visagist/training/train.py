"""Training from facesets to a run: the loop around `Trainer`.

- `train`: two facesets to a run; continues a run that is there
- `train_crops`: the same from crops in memory
- `TrainSummary`: what came of it

A run continues exactly: stopped, killed or crashed and started again, it ends with the weights that it would have had
in one go (same machine, same number of threads). A run that is asked for more goes on from its last checkpoint, by
schedules that span its new length (`plan.py` decides it); that, too, ends alike however often it is interrupted.
"""

import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from statistics import median
from types import MappingProxyType
from typing import TypeVar

import numpy as np
import torch

from visagist.core.device import choose, kept_memory
from visagist.core.errors import CollapseError, ConfigError, RunError
from visagist.core.events import Events, Metric, Note, Progress, Result, Warned, silent
from visagist.core.files import sha256
from visagist.core.settings import save_call
from visagist.faceset import Faceset
from visagist.models import create
from visagist.models.bundle import WEIGHTS
from visagist.training.budget import (
    BESIDES,
    STEP,
    find_rate,
    known_record,
    network_size,
    plan_iterations,
    settle,
    speed,
    with_found_rate,
)
from visagist.training.checkpoint import (
    Checkpoint,
    back_up,
    has_checkpoint,
    load_before,
    load_checkpoint,
    save_checkpoint,
    save_numbers,
)
from visagist.training.config import TrainOptions
from visagist.training.data.crops import Crops, Side, load_crops
from visagist.training.distributed import World, joined, own_device, own_parts
from visagist.training.early_stopping import outlook
from visagist.training.memory import GIB, check_memory, explained, peak
from visagist.training.optimizers import micro_batches
from visagist.training.presets import with_preset
from visagist.training.preview import Seal, own_seal, preview_path, sheet, write_sheet
from visagist.training.rollback import alone, forget_future
from visagist.training.run import (
    BACKUPS,
    CHECKPOINT,
    EVENTS,
    PREVIEWS,
    RECORD,
    Instalment,
    RunRecord,
    check_untrained,
    save_weights,
    weights_iteration,
)
from visagist.training.schedule import COOL_DOWN, FADE, learning_rate, warmed_up, warp_strength
from visagist.training.signals import LOOK, interrupts, logged, logged_looks
from visagist.training.stability import ATTEMPTS, Guard, check_attempts
from visagist.training.trainer import Trainer, faces_each
from visagist.training.validation import held_out, judge
from visagist.training.warm_start import SHARED, check_start, frozen, start_from

METRIC_EVERY = 10  # iterations
CALL = "train.toml"  # in the run: the resolved call
PREVIEW_ROWS = 4
OVERDUE = 100  # iterations that a save waits for the guard to be sure: it is within 70
FALLING = ("cosine", "linear")  # decays that go on all along


@dataclass(frozen=True)
class TrainSummary:
    """What came of a training.

    Attributes:
        run: its folder.
        iterations: done in all.
        resumed_at: iteration from which this call went on; 0 for a new run.
        seconds: that this call took.
        faces_per_second: median over this call's iterations; 0 when there was nothing left to do.
        figures: of held-out faces at the end: `ssim_source`, `psnr_source`, `ssim_target`, `psnr_target`.
        rollbacks: how often the guard went back.
        weights_sha256: hash of the weights' file.
    """

    run: Path
    iterations: int
    resumed_at: int
    seconds: float
    faces_per_second: float
    figures: dict[str, float]
    rollbacks: int
    weights_sha256: str

    def as_text(self) -> str:
        """A line for people."""
        judged = ", ".join(f"{name} {value:.3g}" for name, value in self.figures.items())
        rate = f" at {speed(self.faces_per_second)}" if self.faces_per_second else ""
        return f"{self.run}: {self.iterations} iterations{rate}; held-out faces: {judged}"


def train(
    source: Path,
    target: Path,
    run: Path,
    options: TrainOptions,
    events: Events,
    others: Mapping[str, Path] = MappingProxyType({}),
) -> TrainSummary:
    """Train a network that draws the source's face with the target's expression.

    Started by `torchrun`, all processes train one network together, and share each batch; the first of them writes the
    run, tells events and has figures in its summary.

    Args:
        source: faceset of the person whose face will appear.
        target: faceset of the performer whose face is to be replaced.
        run: folder of the run. An unfinished one is continued; a finished one is left as it is, unless more iterations
            or minutes are asked for: then it goes on, and its learning rate and random warps follow the new length.
        options: settings; those of a run that is there must be the same, but for its length, the device, and how often
            it is saved and looked at.
        events: told progress, figures, warnings.
        others: facesets of more people, by names of their own: any of all of them can then be swapped onto any.

    Raises:
        FacesetError: a folder is no faceset, or has too few crops.
        RunError: the run is of other facesets, other options or another format, has trained longer than is asked, or
            is being trained by another process; or another process of this training has ended.
        CollapseError: training went wrong more often than it may.
        OutputError: the run cannot be written.
        ConfigError: an unknown model, setting or device, or the run would lie among somebody's crops.
        KeyboardInterrupt: Ctrl-C or SIGTERM; the state is saved, unless it says otherwise.
    """
    folders = named(source, target, others)
    for name, folder in folders.items():
        if run.resolve() == folder.resolve():
            raise ConfigError(f"{run}: is the {name} faceset, and a run needs a folder of its own; give another one")
    with together(run) as world:
        events = events if world.leads else silent

        @cache
        def crops() -> int:
            return sum(len(Faceset.open(folder)) for folder in folders.values())

        options = resolved(options, run, tuple(folders), crops, events)
        tell_memory(options, run, tuple(folders), crops, events)
        size = network_size(options)
        people = {name: load_crops(folder, options.coverage, size, options.margin) for name, folder in folders.items()}
        loop = prepare(people, run, options, events, own_seal() if world.leads else None)
        given = {"source": source, "target": target, "others": dict(others)}
        # Not before all is agreed: a call that is refused must not take the place of the one that made the run.
        if world.leads:
            save_call(run / CALL, {**given, "output": run, **loop.options.model_dump()})
        return go(loop)


def train_crops(
    source: Crops,
    target: Crops,
    run: Path,
    options: TrainOptions,
    events: Events,
    seal: Seal | None = None,
    others: Mapping[str, Crops] = MappingProxyType({}),
) -> TrainSummary:
    """`train`, from crops in memory: `(N, S, S, 3)` with S the network's size times `options.margin`.

    Without `seal` no previews are written: a picture of a synthetic face is signed or not made.

    Raises:
        What `train` raises.
    """
    people = named(source, target, others)
    with together(run):
        options = resolved(
            options, run, tuple(people), lambda: sum(len(each.images) for each in people.values()), events
        )
        return go(prepare(people, run, options, events, seal))


def resolved(
    options: TrainOptions, run: Path, people: tuple[str, ...], crops: Callable[[], int], events: Events
) -> TrainOptions:
    """The options with all that their preset derives, by the first process's memory for all processes.

    Raises:
        ConfigError, RunError: whatever can be refused before a crop is read.
    """
    world = World.now()
    if world.leads:
        options = with_preset(options, run, people, crops, events)
    if world.size > 1:
        options = TrainOptions.model_validate_json(world.told(options.model_dump_json()))
    known_record(run, options)
    if options.batch < len(people):
        raise ConfigError(f"a batch of {options.batch} has no face of each of {len(people)} people; give more --batch")
    own_parts(micro_batches(faces_each(options.batch, len(people)), options.optimizer.accumulate), world)
    with torch.device("meta"):  # shapes only
        frozen(create(options.model, people, **options.settings), options.freeze)
    if not has_checkpoint(run / CHECKPOINT):  # with one, the run that this one began with is no longer needed
        check_untrained(run)
        if options.start is not None:
            check_start(options.start, options)
        elif options.losses.face_style and options.losses.finish == 1:
            raise ConfigError(
                "face_style keeps the faces that the network draws when it begins to act, and with --losses.finish 1 "
                "there are none yet; give less --losses.finish, or --start"
            )
    return options


def tell_memory(
    options: TrainOptions, run: Path, people: tuple[str, ...], crops: Callable[[], int], events: Events
) -> None:
    """Say what a new run will take, by the first process; one that has been trained has fitted before.

    Raises:
        ConfigError: it does not fit.
    """
    if World.now().leads and not (run / RECORD).exists():
        events(Note(STEP, check_memory(options, people, choose(own_device(options.device)), crops())))


@contextmanager
def together(run: Path) -> Iterator[World]:
    """All processes that `torchrun` has started, at work in a run's folder that is kept from all others.

    Raises:
        What `joined` and `alone` raise.
    """
    with joined() as world, kept_memory(), alone(run) if world.leads else nullcontext():
        world.wait()  # for the first one to have the folder, or to have ended because it cannot
        yield world


T = TypeVar("T")


def named(source: T, target: T, others: Mapping[str, T]) -> dict[str, T]:
    """Everybody by name, the source first.

    Raises:
        ConfigError: one of the others has a name that is no name, or is taken.
    """
    for name in others:
        if name in ("source", "target", SHARED) or not name.isidentifier():
            raise ConfigError(
                f"'{name}' cannot name a person; use letters, digits and _, and not source, target or {SHARED}"
            )
    return {"source": source, "target": target, **others}


def prepare(people: Mapping[str, Crops], run: Path, options: TrainOptions, events: Events, seal: Seal | None) -> "Loop":
    """A training that can begin, by options that are `resolved`: the run's record is on the disk."""
    events = events if World.now().leads else silent
    wanted = round(network_size(options) * options.margin)
    for crops in people.values():
        if crops.images.shape[1] != wanted:
            raise RunError(f"{crops.name}: crops of {crops.images.shape[1]} px, model '{options.model}' takes {wanted}")
    compute = choose(own_device(options.device))
    distinct = {id(crops): crops for crops in people.values()}  # a pool is both people's, and held once
    held = {
        key: Side(crops, options.held_out, compute.device, options.augmentation.yaw_bins)
        for key, crops in distinct.items()
    }
    sides = {name: held[id(crops)] for name, crops in people.items()}
    is_new = not has_checkpoint(run / CHECKPOINT)
    start = start_from(options.start, options) if options.start is not None and is_new else None
    if options.find_rate and options.learning_rate is None and known_record(run, options) is None:
        curve = find_rate(sides, options, compute, start)
        events(Note(STEP, curve.as_text()))
        options = options.model_copy(update={"learning_rate": curve.suggestion})
    measure = partial(plan_iterations, sides, options, compute, events)
    record = settle(run, options, people, measure, start.beginning if start else None)
    options = with_found_rate(options, record.options)
    if options.iterations is None and options.minutes is None:
        length = {name: getattr(record.options, name) for name in ("iterations", "minutes")}
        options = options.model_copy(update=length)  # what the run has, so that the saved call says it
    trainer = Trainer(sides, options, record.iterations, compute, start)
    trainer.landing = record.landing
    if options.losses.late and not trainer.objective.is_late((record.iterations - 1) / record.iterations):
        never = f"of {record.iterations} iterations the last {options.losses.finish:.2g} is less than one"
        events(Warned(STEP, f"{', '.join(options.losses.late)} will not act: {never}; give more --losses.finish"))
    if start is not None:
        last = start.beginning.identities[-1]
        new = [f"{name} begins as a copy of {last}" for name in people if name not in start.beginning.identities]
        events(Note(STEP, "; ".join([f"begins with the weights of {options.start}", *new])))
    return Loop(trainer, run, options, events, seal, record.instalments[-1] if record.instalments else None)


def go(loop: "Loop") -> TrainSummary:
    """Train to the end, with a log."""
    if not World.now().leads:
        return loop.finish()
    with logged(loop.events, loop.run / EVENTS) as said:
        return replace(loop, events=said).finish()


@dataclass
class Loop:
    """The state of one call of `train`."""

    trainer: Trainer
    run: Path
    options: TrainOptions
    events: Events
    seal: Seal | None
    earlier: Instalment | None = None  # the plan before this one
    guard: Guard = field(default_factory=Guard)
    iteration: int = 0
    saved: int = -1  # iteration of the latest checkpoint
    failures: int = 0  # how often the guard has gone back to it
    amid: bool = False  # an iteration is not done and judged: weights and optimizer may not belong together, or be bad
    times: list[float] = field(default_factory=list)
    looks: dict[int, dict[str, float]] = field(default_factory=dict)  # figures of held-out faces by iteration
    figures: dict[str, float] = field(default_factory=dict)
    world: World = field(default_factory=World.now)

    def finish(self) -> TrainSummary:
        """Train until the planned iterations are done."""
        start = time.perf_counter()
        self.go_back()
        begun = self.iteration
        if self.world.leads:  # killed while going back, or while saving; or the weights have been deleted
            if begun:
                forget_future(self.run, begun)
            if not (self.run / WEIGHTS).exists() or weights_iteration(self.run) > begun:
                self.save_weights()
        self.looks = logged_looks(self.run / EVENTS, begun)
        if begun == 0:
            self.save()
        if begun < self.trainer.iterations:
            if (plan := self.plan_left()) is not None:
                self.events(Note(STEP, self.change_of(plan)))
            self.work()
        else:
            if self.plan_left() is not None and self.world.leads:  # cut short here: a save after it may have been begun
                self.save_weights()
            self.events(Note(STEP, f"all {begun} iterations are done; larger --iterations or --minutes train on"))
            self.figures = self.judge()
            self.world.wait()  # for the weights
        return TrainSummary(
            run=self.run,
            iterations=self.iteration,
            resumed_at=begun,
            seconds=time.perf_counter() - start,
            faces_per_second=self.options.batch / median(self.times) if self.times else 0.0,
            figures=self.figures,
            rollbacks=self.trainer.attempt,
            weights_sha256=sha256(self.run / WEIGHTS),
        )

    def work(self) -> None:
        """Iterate; on Ctrl-C, SIGTERM or collapse leave the last good weights behind."""
        trainer = self.trainer
        crops = sum(len(side.planes) for side in set(trainer.sides.values()))  # a pool is one
        fits = explained(self.options, tuple(trainer.sides), trainer.compute, crops)
        # Until all is saved: a signal that comes twice must not undo its own first time.
        with fits, interrupts(self.events) as (asked, self.events):
            try:
                self.go_on(asked)
            except KeyboardInterrupt:
                if not self.amid:
                    self.save()
                    self.world.wait()  # torchrun soon kills all others once one has ended
                raise
            except CollapseError:
                self.world.wait()  # for the weights
                raise

    def go_on(self, asked: threading.Event) -> None:
        """Iterate to the end, or until a signal has asked for one."""
        if self.iteration and self.iteration % self.options.preview_every == 0:
            if self.iteration not in self.looks:  # interrupted just before it
                self.look()
            self.agree()
        while self.iteration < self.trainer.iterations:
            if self.iterate():
                self.tend()
            if self.world.any(asked.is_set()):  # on all or on none; and nobody goes on before all is written
                raise KeyboardInterrupt

    def tend(self) -> None:
        """After an iteration: look at faces, save and back up, where it is time for that."""
        ended = self.iteration == self.trainer.iterations
        periods = [self.options.save_every] + [self.options.backup_every] * (self.options.backups > 0)
        due = [(self.saved // period + 1) * period for period in periods]  # the first of each since the latest save
        if self.iteration % self.options.preview_every == 0 or ended:
            self.look()
            self.agree()
        waits = self.guard.is_suspicious and self.iteration < min(due) + OVERDUE
        if ended or (self.iteration >= min(due) and not waits):
            self.save()
            if self.options.backups > 0 and self.iteration >= due[-1] and self.world.leads:
                back_up(self.run / CHECKPOINT, self.run / BACKUPS, self.options.backups)

    def agree(self) -> None:
        """Take over the first process's plan: a look may have brought the end nearer."""
        total = self.world.agreed(self.trainer.iterations)
        if total != self.trainer.iterations:
            self.follow(RunRecord.read(self.run))
            self.saved, self.failures = self.iteration, 0  # as the first one did: all go back to the same checkpoint

    def follow(self, record: RunRecord) -> None:
        """Take over a record's plan, which a plateau has cut short, or which was that of before."""
        self.trainer.iterations, self.trainer.landing = record.iterations, record.landing
        self.earlier = record.instalments[-1] if record.instalments else None

    def iterate(self) -> bool:
        """One iteration, judged by the guard; whether it counts, or the training went back."""
        before = time.perf_counter()
        self.amid = True
        loss = self.trainer.step(self.iteration)
        self.iteration += 1
        self.times.append(time.perf_counter() - before)
        # Losses of the end, and of the swap, may come and grow without anything being wrong.
        reason = self.guard.verdict(self.trainer.likeness() if math.isfinite(loss) else loss)
        for name, variation in self.trainer.variations.items():
            reason = reason or self.guard.variation_verdict(name, variation.item())
        if reason is not None:
            self.roll_back(reason)
        self.amid = False
        if reason is not None:
            return False
        total = self.trainer.iterations
        self.events(Progress(STEP, self.iteration, total, "iterations"))
        if self.iteration % METRIC_EVERY == 0 or self.iteration == total:
            self.events(Metric(STEP, self.iteration, self.state()))
        return True

    def state(self) -> dict[str, float]:
        """Figures of the latest iteration; the parts of the loss are those of its sum, discriminators' are apart."""
        trainer, each = self.trainer, median(self.times[-50:])
        rate = trainer.rate * learning_rate(self.iteration - 1, trainer.iterations, self.options.schedule)
        parts = {name: part.item() for name, part in trainer.losses.items()}
        most = peak(trainer.compute.device)
        return {
            "loss": parts.pop("loss"),
            **{f"loss_{name}": part for name, part in parts.items()},
            **{f"loss_{name}_judge": part.item() for name, part in trainer.judges.items()},
            "learning_rate": rate,
            "faces_per_second": self.options.batch / each,
            "seconds_left": each * (trainer.iterations - self.iteration) * (1 + BESIDES),
            **({} if most is None else {"memory_gib": most / GIB}),
        }

    def roll_back(self, reason: str) -> None:
        """Return to the latest checkpoint with half the learning rate and other random numbers.

        Where that has been gone back to before, it may be bad itself: then to the one before it.
        """
        failed, attempt, rate = self.iteration, self.trainer.attempt, self.trainer.rate
        failures = self.failures + 1
        before = load_before(self.run / CHECKPOINT) if failures > 1 else None
        changes = self.go_back(before)
        self.world.wait()  # all have read before the numbers change
        self.failures = failures if before is None else 1
        ends = attempt >= ATTEMPTS
        self.trainer.attempt, self.trainer.rate = (attempt, rate) if ends else (attempt + 1, rate / 2)
        if self.world.leads:
            save_numbers(self.run / CHECKPOINT, self.checkpoint())  # or a crash would bring the old rate back
            if changes:  # `settle` does it after a crash
                RunRecord.read(self.run).rewound(self.iteration).save(self.run / RECORD)
            if before is not None or ends:
                self.save_weights()
                forget_future(self.run, self.iteration)
        check_attempts(attempt, failed, reason, self.iteration)
        self.events(
            Warned(
                STEP,
                f"iteration {failed}: {reason}; back to iteration {self.iteration} with learning rate {rate / 2:g} "
                f"(time {attempt + 1} of 3)",
            )
        )

    def go_back(self, before: Checkpoint | None = None) -> bool:
        """Take over the latest checkpoint, if there is one, or the one `before`; whether that was by another plan."""
        latest = before or load_checkpoint(self.run / CHECKPOINT)
        if latest is None:
            return False
        self.trainer.restore(latest.tensors)
        self.trainer.rate, self.trainer.attempt = latest.numbers["rate"], int(latest.numbers["attempt"])
        self.failures = int(latest.numbers.get("failures", 0))
        self.iteration = self.saved = latest.iteration
        changes = before is not None and self.earlier is not None and self.iteration < self.earlier.until
        if changes:
            self.follow(RunRecord.read(self.run).rewound(self.iteration))
        self.looks = {at: figures for at, figures in self.looks.items() if at <= self.iteration}
        self.guard = Guard.of(latest.numbers)
        if self.plan_left() is not None:
            self.guard = Guard()  # with the random warp back, the loss may double without anything being wrong
            self.trainer.known = {}  # what face style is to keep has become better
        return changes

    def plan_left(self) -> Instalment | None:
        """The plan that ended at just this iteration, where there is one."""
        return self.earlier if self.earlier is not None and self.earlier.until == self.iteration else None

    def change_of(self, plan: Instalment) -> str:
        """What leaving `plan` at this iteration does to the schedules, in words."""
        at, total, before = self.iteration, self.trainer.iterations, plan.iterations
        schedule = self.options.schedule
        rate, warp = learning_rate(at, total, schedule), self.trainer.warp(at)
        rate_before, warp_before = learning_rate(at, before, schedule), warp_strength(at, before, schedule)
        return (
            f"goes on from iteration {at} to {total} in place of {before}; the schedules now span {total}: the "
            f"learning rate goes from {rate_before:.0%} to {rate:.0%} of {self.trainer.rate:g}, the random warp from "
            f"{warp_before:.0%} to {warp:.0%} and from there down to 0"
        )

    def checkpoint(self) -> Checkpoint:
        """The state now."""
        numbers = {"rate": self.trainer.rate, "attempt": self.trainer.attempt, "failures": self.failures}
        numbers |= self.guard.numbers()
        return Checkpoint(self.iteration, numbers, self.trainer.tensors())

    def save(self) -> None:
        """Make the state now the latest checkpoint, and what the run draws with."""
        if self.saved != self.iteration:
            self.failures = 0
            if self.world.leads:
                if self.iteration:  # before the checkpoint: once that says all is done, all is there
                    self.save_weights()
                save_checkpoint(self.run / CHECKPOINT, self.checkpoint())
            self.saved = self.iteration

    def save_weights(self) -> None:
        """Write the EMA weights for predictions."""
        save_weights(self.run, self.trainer.average, RunRecord.read(self.run), self.iteration)

    def judge(self) -> dict[str, float]:
        """Figures of held-out faces, drawn with the EMA weights; by the first process alone."""
        if not self.world.leads:
            return {}
        trainer = self.trainer
        return judge(trainer.sides, trainer.predict, trainer.network.size, self.options.coverage)

    def weigh(self) -> None:
        """Say what going on would bring; end before the planned end, where that is nothing and is asked for."""
        total, decay = self.trainer.iterations, self.options.schedule.decay
        # Where the rate goes down late, or the warp fades, faces gain by that alone: the trend is that of before.
        fades = self.options.schedule.warp_end - FADE if self.options.augmentation.warp else 1.0
        full = total * min(fades, 1 - COOL_DOWN if decay == "late" else 1.0)
        begun = warmed_up(total, self.options.schedule)
        looks = {at: figures for at, figures in self.looks.items() if begun < at <= full}
        if not looks:
            return
        ssim = [[figure for name, figure in figures.items() if name.startswith("ssim_")] for figures in looks.values()]
        found = outlook(list(looks), np.array(ssim))
        if not found.window or self.iteration > full:
            return
        aside = " (with a learning rate that falls, which brings gains of its own)" if decay in FALLING else ""
        an_hour = 3600 / median(self.times[-50:]) if self.times else None  # none: interrupted just before this look
        self.events(Note(STEP, found.as_text(an_hour) + aside))
        landed = math.ceil(self.iteration / (1 - COOL_DOWN))
        if self.options.until == "plateau" and found.is_plateau and landed < total and not self.guard.is_suspicious:
            self.save()  # the plan changes here: after a crash, too
            record = RunRecord.read(self.run).landed(self.iteration, landed)
            record.save(self.run / RECORD)
            self.follow(record)
            self.events(Note(STEP, f"plateau: the last fifth begins, and ends at iteration {landed}, not {total}"))

    def look(self) -> None:
        """Figures of held-out faces, and a signed preview of some."""
        if not self.world.leads:
            return
        self.figures = self.judge()
        self.events(Metric(LOOK, self.iteration, self.figures))
        self.looks[self.iteration] = self.figures
        self.weigh()
        if self.seal is None:
            return
        sides, size = self.trainer.sides, self.trainer.network.size
        faces = {name: held_out(side, PREVIEW_ROWS, size)[:, :3] for name, side in sides.items()}
        path = preview_path(self.run / PREVIEWS, self.iteration)
        write_sheet(sheet(faces, self.trainer.predict), path, self.seal)
        self.events(Result("preview", path))
