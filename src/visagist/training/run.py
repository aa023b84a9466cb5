"""A run on disk.

run/
  run.toml             options, facesets and plan
  weights.safetensors  EMA weights for predictions, with their record
  events.jsonl         metrics and messages
  checkpoints/         for resuming the training
  previews/            signed sheets
"""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from filelock import Timeout
from pydantic import BaseModel, ValidationError
from torch import Tensor

from visagist.core.errors import OutputError, ReadError, RunError
from visagist.core.events import Event, EventCallback, Progress, as_json
from visagist.core.files import sweep
from visagist.core.locks import lock
from visagist.core.read import read_bytes
from visagist.core.settings import Settings, read_toml
from visagist.models import configure
from visagist.models.bundle import WEIGHTS, Ancestor, NetworkRecord, Origin, save_network
from visagist.training.checkpoint import listed, saved_iterations
from visagist.training.config import TrainOptions
from visagist.training.schedule import Plan
from visagist.training.warm_start import retrained

FORMAT = 2
RECORD, EVENTS, LOCK = "run.toml", "events.jsonl", "train.lock"
CHECKPOINTS, PREVIEWS = "checkpoints", "previews"
STEP = "train"
MAX_LOG = 1 << 30  # bytes of events.jsonl
VALIDATION = "validation"  # step of events with validation metrics


@dataclass(frozen=True)
class Run:
    """A finished training; accepted wherever a path is.

    Attributes:
        path: the run's folder.
        iterations: total iterations done.
        resumed_at: iteration from which this call continued; 0 for a new run.
        seconds: duration of this call.
        faces_per_second: median over this call's iterations; 0 if there were none.
        metrics: of validation faces at the end: `ssim_source`, `psnr_source`, `ssim_target`, `psnr_target`, ...
        rollbacks: number of rollbacks.
        weights_sha256: hash of the weights file.
    """

    path: Path
    iterations: int
    resumed_at: int = 0
    seconds: float = 0.0
    faces_per_second: float = 0.0
    metrics: dict[str, float] = field(default_factory=dict)
    rollbacks: int = 0
    weights_sha256: str = ""

    def __fspath__(self) -> str:
        return str(self.path)

    def as_text(self) -> str:
        """The result in one line."""
        shown = {name: value for name, value in self.metrics.items() if not name.startswith("variation_")}
        metrics = ", ".join(f"{name} {value:.3g}" for name, value in shown.items())
        rate = f" at {speed(self.faces_per_second)}" if self.faces_per_second else ""
        return f"{self.path}: {self.iterations} iterations{rate}; validation: {metrics}"


def speed(rate: float) -> str:
    """Faces per second in words."""
    return f"{rate:.{0 if rate >= 10 else 2}f} faces/s"


def duration(seconds: float) -> str:
    """A duration in words.

    >>> duration(600), duration(8 * 3600), duration(5400), duration(20.4)
    ('10 minutes', '8 hours', '90 minutes', '20 seconds')
    """
    units = (("days", 86400), ("hours", 3600), ("minutes", 60), ("seconds", 1))
    unit, length = next((unit, length) for unit, length in units if seconds >= 2 * length or length == 1)
    return f"{seconds / length:.{1 if seconds < 10 * length else 0}f} {unit}".replace(".0 ", " ")


class RunRecord(Settings):
    """Description of a run, fixed before its first checkpoint except for its plan and length."""

    format: int = FORMAT
    plan: Plan
    size: int
    identities: tuple[str, ...]  # the source first, the target second
    options: TrainOptions
    origins: dict[str, Origin]
    ancestor: Ancestor | None = None  # None: random weights
    plateau: int | None = None  # iteration at which early stopping began the cool-down
    finished: int | None = None  # iteration of the finished weights, which the run keeps until an extension ends

    @classmethod
    def read(cls, folder: Path) -> "RunRecord":
        """Read the record of a run.

        Raises:
            RunError: the folder is not a run, or has another format.
            ConfigError: a field of the record is wrong.
        """
        path = folder / RECORD
        if not path.is_file():
            raise RunError(f"{folder}: not a run (no {RECORD}); make one with `visagist train`")
        values: dict[str, Any] = read_toml(path)
        if values.get("format") != FORMAT:
            raise RunError(
                f"{path}: run format {values.get('format')}, this visagist reads {FORMAT}; train into "
                "another run folder (in a swap: another --workspace), or use the visagist that made it"
            )
        return cls.parse(values, path)


def save_weights(run: Path, average: Mapping[str, Tensor], record: RunRecord, iteration: int) -> None:
    """Write the EMA weights for predictions; at iteration 0, after going back, delete them."""
    if not iteration:
        (run / WEIGHTS).unlink(missing_ok=True)
        return
    options = record.options
    network = NetworkRecord(
        architecture=options.model,
        config=vars(configure(options.model, options.settings)),
        coverage=options.coverage,
        size=record.size,
        identities=record.identities,
        origins=record.origins,
        ancestor=record.ancestor,
        retrained=retrained(options, record.identities, iteration) if record.ancestor else (),
        iteration=iteration,
    )
    save_network(run / WEIGHTS, dict(average), network)


def check_untrained(run: Path) -> None:
    """Raise RunError if a run without a state has weights or checkpoints, which a new training would delete."""
    remedies: list[str] = []
    if kept := [iteration for iteration in saved_iterations(run / CHECKPOINTS) if iteration]:
        remedies.append(f"`visagist rewind {run} {kept[-1]}` brings back a checkpoint (available: {listed(kept)})")
    if (run / WEIGHTS).exists():
        remedies.append(f"its weights can still be merged, and `--start {run} -o ANOTHER` continues from them")
    if remedies:
        raise RunError(
            f"{run}: this run was trained, but the state of its {CHECKPOINTS}/ is gone, so it cannot continue; "
            f"{'; '.join(remedies)}; to train from scratch, choose another run folder (in a swap: another --workspace)"
        )


@contextmanager
def run_lock(run: Path) -> Iterator[None]:
    """Lock a run's folder against other trainings; a folder created here is removed if it stays empty.

    Raises:
        RunError: another process is training there.
        OutputError: the folder cannot be written or locked.
    """
    if run.is_file():
        raise OutputError(f"{run}: is a file, not a folder; give the run another name, or move the file away")
    made = [folder for folder in (run, *run.parents) if not folder.exists()]
    try:
        held = lock(run / LOCK, wait=False)
    except Timeout as error:
        raise RunError(
            f"{run}: another training is using this folder; wait until it ends, or train into another run"
        ) from error
    with held:
        for folder in (run, run / CHECKPOINTS, run / PREVIEWS):
            sweep(folder)
        try:
            yield
        finally:
            with suppress(OSError):
                if made and [file.name for file in run.iterdir()] == [LOCK]:  # refused before anything was written
                    (run / LOCK).unlink()
                    for folder in made:
                        folder.rmdir()


@contextmanager
def logged(events: EventCallback, run: Path) -> Iterator[EventCallback]:
    """Append `events`, except progress, to the run's log as well."""
    with _output_errors(run / EVENTS):
        run.mkdir(parents=True, exist_ok=True)
        file = (run / EVENTS).open("ab+")

    def write(line: str) -> None:
        with _output_errors(run / EVENTS):
            file.write(line.encode())
            file.flush()

    def emit(event: Event) -> None:
        if not isinstance(event, Progress):
            write(json.dumps(as_json(event)) + "\n")
        events(event)

    with file:
        if file.seek(0, os.SEEK_END):
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                write("\n")  # end a line that a crash has cut short
        yield emit


@contextmanager
def _output_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror})") from error


class _Metric(BaseModel):
    """The line of a metric event."""

    event: Literal["metric"]
    step: str
    iteration: int
    values: dict[str, float]


def logged_validations(run: Path, until: int) -> dict[int, dict[str, float]]:
    """Validation metrics by iteration, up to `until`, from the run's log.

    Where the training went back (after a crash, rollback or rewind), later lines replace earlier ones. Lines that are
    not valid events, such as those cut short by a crash, are skipped.
    """
    validations: dict[int, dict[str, float]] = {}
    if not (run / EVENTS).exists():
        return validations
    try:
        lines = read_bytes(run / EVENTS, MAX_LOG).splitlines()
    except ReadError as error:
        raise RunError(f"{error}; move it away, and the run continues without its history") from error
    for line in lines:
        try:
            event = _Metric.model_validate_json(line)
        except ValidationError:
            continue
        while validations and next(reversed(validations)) >= event.iteration:
            validations.popitem()  # the training went back before it
        if event.step == VALIDATION:
            validations[event.iteration] = event.values
    return {at: metrics for at, metrics in validations.items() if at <= until}
