"""Training from facesets to a run: the loop around `Trainer`.

- `train`: two facesets to a run; continues a run that is there
- `train_crops`: the same from crops in memory
- `TrainSummary`: what came of it

A run continues exactly: stopped, killed or crashed and started again, it ends with the weights that it would have had
in one go (same machine, same number of threads). `--minutes` is turned into a number of iterations once, by measuring,
before the run's first checkpoint.
"""

import json
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from visagist.device import Compute, choose
from visagist.errors import CollapseError, OutputError, RunError
from visagist.events import Event, Events, Metric, Note, Progress, Result, Warned, as_json
from visagist.files import sha256
from visagist.models import configure
from visagist.provenance import Claim, Signer, sign
from visagist.settings import save_call
from visagist.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint, save_numbers, save_tensors
from visagist.training.data import Crops, Side, load_crops
from visagist.training.guard import Guard, check_attempts
from visagist.training.options import DEFAULT_MINUTES, TrainOptions
from visagist.training.preview import Seal, sheet, write_sheet
from visagist.training.run import CHECKPOINT, EVENTS, PREVIEWS, RECORD, WEIGHTS, Origin, RunRecord
from visagist.training.trainer import IDENTITIES, Trainer

STEP = "train"
MEASURED, DISCARDED = 9, 3  # iterations of the warm-up
BESIDES = 0.05  # part of the time that checkpoints, previews and figures take
METRIC_EVERY = 10  # iterations
CALL = "train.toml"  # beside the run: the resolved call
PREVIEW_ROWS = 4
FREE = {"device", "save_every", "preview_every"}  # options that may differ when a run is continued


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
        speed = f" at {self.faces_per_second:.0f} faces/s" if self.faces_per_second else ""
        return f"{self.run}: {self.iterations} iterations{speed}; held-out faces: {judged}"


def train(
    source: Path, target: Path, run: Path, options: TrainOptions, events: Events, seal: Seal | None = None
) -> TrainSummary:
    """Train a network that draws the source's face with the target's expression.

    Args:
        source: faceset of the person whose face will appear.
        target: faceset of the performer whose face is to be replaced.
        run: folder of the run; an unfinished one is continued, a finished one left as it is.
        options: settings; those of a run that is continued must be the same.
        events: told progress, figures, warnings.
        seal: signs previews (unsigned file, final path); None: with the user's own key.

    Raises:
        FacesetError: a folder is no faceset, or has too few crops.
        RunError: the run is of other facesets, other options or another format.
        CollapseError: training went wrong more often than it may.
        OutputError: the run cannot be written.
        ConfigError: an unknown model, setting or device.
        KeyboardInterrupt: Ctrl-C; the state is saved.
    """
    size = network_size(options)
    crops = [load_crops(folder, options.coverage, size, options.margin) for folder in (source, target)]
    save_call(run / CALL, {"source": source, "target": target, "output": run, **options.model_dump()})
    return train_crops(crops[0], crops[1], run, options, events, seal or own_seal())


def train_crops(
    source: Crops, target: Crops, run: Path, options: TrainOptions, events: Events, seal: Seal | None = None
) -> TrainSummary:
    """`train`, from crops in memory: `(N, S, S, 3)` with S the network's size times `options.margin`.

    Without `seal` no previews are written: a picture of a synthetic face is signed or not made.

    Raises:
        What `train` raises.
    """
    size = network_size(options)
    for crops in (source, target):
        if crops.images.shape[1] != round(size * options.margin):
            wanted = round(size * options.margin)
            raise RunError(f"{crops.name}: crops of {crops.images.shape[1]} px, model '{options.model}' takes {wanted}")
    compute = choose(options.device)
    sides = (Side(source, options.held_out, compute.device), Side(target, options.held_out, compute.device))
    record = known_record(run, options, source, target)
    if record is None:
        iterations = options.iterations or plan_iterations(sides, options, compute, events)
        origins = Origin.of(source), Origin.of(target)
        record = RunRecord(
            iterations=iterations,
            size=size,
            identities=IDENTITIES,
            options=options,
            source=origins[0],
            target=origins[1],
        )
        record.save(run / RECORD)
    with logged(events, run / EVENTS) as said:
        trainer = Trainer(*sides, options, record.iterations, compute)
        return Loop(trainer, run, options, said, seal).finish()


def own_seal() -> Seal:
    """Signs previews with the user's key, as made by a network that is still in training."""
    signer = Signer.default()
    return lambda unsigned, output: sign(unsigned, output, Claim(None, ()), None, signer)


def network_size(options: TrainOptions) -> int:
    """Side in px of the faces of the model that the options name.

    Raises:
        ConfigError: an unknown model or setting.
    """
    return configure(options.model, options.settings).size


def known_record(run: Path, options: TrainOptions, source: Crops, target: Crops) -> RunRecord | None:
    """The record of a run that is to be continued, None where there is none yet.

    Raises:
        RunError: it is of other facesets, other options or another format.
    """
    if not (run / RECORD).exists():
        return None
    record = RunRecord.read(run)
    for crops, origin, name in ((source, record.source, "source"), (target, record.target, "target")):
        if crops.fingerprint != origin.fingerprint:
            raise RunError(
                f"{run}: this run was begun with another {name} faceset ({origin.crops} crops, now "
                f"{len(crops.images)}); train into a new run"
            )
    before, now = (o.model_dump(mode="json", exclude=FREE) for o in (record.options, options))
    changed = [name for name in now if now[name] != before[name]]
    if changed:
        words = ", ".join(f"{name} was {before[name]}, now {now[name]}" for name in changed)
        raise RunError(f"{run}: this run was begun with other options ({words}); train into a new run, or delete it")
    return record


def plan_iterations(sides: tuple[Side, Side], options: TrainOptions, compute: Compute, events: Events) -> int:
    """Turn minutes into iterations by measuring some on a network that is thrown away."""
    minutes = options.minutes or DEFAULT_MINUTES
    start = time.perf_counter()
    trainer = Trainer(*sides, options, 10**6, compute)
    times: list[float] = []
    for iteration in range(DISCARDED + MEASURED):
        before = time.perf_counter()
        trainer.step(iteration)
        times.append(time.perf_counter() - before)
    each = median(times[DISCARDED:])
    left = max(0.0, 60 * minutes - (time.perf_counter() - start))
    iterations = max(1, int(left * (1 - BESIDES) / each))
    rate = options.batch / each
    events(Note(STEP, f"{compute}: {rate:.0f} faces/s, so {minutes:g} minutes are {iterations} iterations"))
    return iterations


@dataclass
class Loop:
    """The state of one call of `train`."""

    trainer: Trainer
    run: Path
    options: TrainOptions
    events: Events
    seal: Seal | None
    guard: Guard = field(default_factory=Guard)
    iteration: int = 0
    saved: int = -1  # iteration of the latest checkpoint
    amid: bool = False  # an iteration has begun and not ended: weights and optimizer do not belong together
    times: list[float] = field(default_factory=list)
    figures: dict[str, float] = field(default_factory=dict)

    def finish(self) -> TrainSummary:
        """Train until the planned iterations are done."""
        start = time.perf_counter()
        self.go_back()
        begun = self.iteration
        if begun == 0:
            self.save()
        if begun < self.trainer.iterations:
            self.work()
        else:
            self.figures = self.trainer.judge()
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
        """Iterate; on Ctrl-C or collapse leave the last good weights behind."""
        total = self.trainer.iterations
        try:
            with interrupts() as asked:
                while self.iteration < total and not asked.is_set():
                    self.iterate()
                    if self.iteration % self.options.preview_every == 0 or self.iteration == total:
                        self.look()
                    if self.iteration == total:
                        self.save_weights()  # before the checkpoint: once that says all is done, all is there
                    if self.iteration % self.options.save_every == 0 or self.iteration == total:
                        self.save()
            if self.iteration < total:
                stop()
        except KeyboardInterrupt:
            if not self.amid:
                self.save()
                self.save_weights()
            raise
        except CollapseError:
            self.save_weights()
            raise

    def iterate(self) -> None:
        """One iteration, judged by the guard."""
        before = time.perf_counter()
        self.amid = True
        loss = self.trainer.step(self.iteration)
        self.iteration += 1
        self.amid = False
        self.times.append(time.perf_counter() - before)
        reason = self.guard.verdict(loss)
        if reason is not None:
            self.roll_back(reason)
            return
        total = self.trainer.iterations
        self.events(Progress(STEP, self.iteration, total, "iterations"))
        if self.iteration % METRIC_EVERY == 0 or self.iteration == total:
            each = median(self.times[-50:])
            values = {
                "loss": loss,
                "faces_per_second": self.options.batch / each,
                "seconds_left": each * (total - self.iteration) * (1 + BESIDES),
            }
            self.events(Metric(STEP, self.iteration, values))

    def roll_back(self, reason: str) -> None:
        """Return to the latest checkpoint with half the learning rate and other random numbers."""
        failed, attempt, rate = self.iteration, self.trainer.attempt, self.trainer.rate
        self.go_back()
        check_attempts(attempt, failed, reason)
        self.trainer.attempt, self.trainer.rate = attempt + 1, rate / 2
        save_numbers(self.run / CHECKPOINT, self.checkpoint())  # or a crash would bring the old rate back
        self.events(
            Warned(
                STEP,
                f"iteration {failed}: {reason}; back to iteration {self.iteration} with learning rate {rate / 2:g} "
                f"(time {attempt + 1} of 3)",
            )
        )

    def go_back(self) -> None:
        """Take over the latest checkpoint, if there is one."""
        latest = load_checkpoint(self.run / CHECKPOINT)
        if latest is None:
            return
        self.trainer.restore(latest.tensors)
        self.trainer.rate, self.trainer.attempt = latest.numbers["rate"], int(latest.numbers["attempt"])
        self.guard = Guard.of(latest.numbers)
        self.iteration = self.saved = latest.iteration

    def checkpoint(self) -> Checkpoint:
        """The state now."""
        numbers = {"rate": self.trainer.rate, "attempt": self.trainer.attempt, **self.guard.numbers()}
        return Checkpoint(self.iteration, numbers, self.trainer.tensors())

    def save(self) -> None:
        """Make the state now the latest checkpoint."""
        if self.saved != self.iteration:
            save_checkpoint(self.run / CHECKPOINT, self.checkpoint())
            self.saved = self.iteration

    def save_weights(self) -> None:
        """Write the EMA weights for predictions."""
        notes = {"model": self.options.model, "iteration": self.iteration}
        save_tensors(self.run / WEIGHTS, self.trainer.average, notes)

    def look(self) -> None:
        """Figures of held-out faces, and a signed preview of some."""
        self.figures = self.trainer.judge()
        self.events(Metric("held out", self.iteration, self.figures))
        if self.seal is None:
            return
        faces = [self.trainer.judged(side, PREVIEW_ROWS)[:, :3] for side in self.trainer.sides]
        rows = min(len(face) for face in faces)
        path = self.run / PREVIEWS / f"{self.iteration:08}.png"
        write_sheet(sheet(faces[0][:rows], faces[1][:rows], self.trainer.predict), path, self.seal)
        self.events(Result("preview", path))


def stop() -> None:
    """Answer a Ctrl-C that waited."""
    raise KeyboardInterrupt


@contextmanager
def interrupts() -> Iterator[threading.Event]:
    """An event that Ctrl-C sets, so that it is answered between two iterations; a second Ctrl-C does not wait."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked  # signals reach the main thread only
        return

    def ask(number: int, frame: object) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def logged(events: Events, path: Path) -> Iterator[Events]:
    """`events` that also go, progress excepted, to a JSON-lines file that only ever grows.

    Raises:
        OutputError: the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+", encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror})") from error

    def write(line: str) -> None:
        try:
            file.write(line)
            file.flush()
        except OSError as error:
            raise OutputError(f"{path}: cannot be written ({error.strerror})") from error

    def say(event: Event) -> None:
        if not isinstance(event, Progress):
            write(json.dumps(as_json(event)) + "\n")
        events(event)

    with file:
        file.seek(0)
        if (before := file.read()) and not before.endswith("\n"):
            write("\n")  # a line that a crash cut short must not spoil the next one
        yield say
