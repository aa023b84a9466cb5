"""A training on disk.

run/
  run.toml             what is trained, from what, by which plan
  weights.safetensors  EMA weights for predictions, with a record of what they are
  events.jsonl         metrics and messages
  checkpoints/         from which the training continues
  previews/            signed sheets
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from visagist.core.errors import RunError
from visagist.core.settings import Settings, read_toml
from visagist.faceset.split import validation_count
from visagist.models import configure
from visagist.models.bundle import WEIGHTS, Ancestor, NetworkRecord, Origin, read_record, save_network
from visagist.training.checkpoint import listed, saved_iterations
from visagist.training.config import TrainOptions
from visagist.training.data.crops import Crops
from visagist.training.schedule import Plan

FORMAT = 2
RECORD, EVENTS = "run.toml", "events.jsonl"
CHECKPOINTS, PREVIEWS = "checkpoints", "previews"


@dataclass(frozen=True)
class Run:
    """A training that has come to its end, or to where it was asked to come.

    Attributes:
        path: its folder; a `Run` can be given wherever a path is.
        iterations: done in all.
        resumed_at: iteration from which this call continued; 0 for a new run.
        seconds: that this call took.
        faces_per_second: median over this call's iterations; 0 if there was nothing left to do.
        metrics: of validation faces at the end: `ssim_source`, `psnr_source`, `ssim_target`, `psnr_target`, ...
        rollbacks: how often the training was rolled back.
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
        """One line."""
        shown = {name: value for name, value in self.metrics.items() if not name.startswith("variation_")}
        metrics = ", ".join(f"{name} {value:.3g}" for name, value in shown.items())
        rate = f" at {speed(self.faces_per_second)}" if self.faces_per_second else ""
        return f"{self.path}: {self.iterations} iterations{rate}; validation: {metrics}"


def speed(rate: float) -> str:
    """Faces per second in words.

    >>> speed(0.309), speed(61.7)
    ('0.31 faces/s', '62 faces/s')
    """
    return f"{rate:.{0 if rate >= 10 else 2}f} faces/s"


class RunRecord(Settings):
    """What a run is, decided before its first checkpoint. Only its plan can change."""

    format: int = FORMAT
    plan: Plan
    size: int
    identities: tuple[str, ...]  # the source first, the target second
    options: TrainOptions
    origins: dict[str, Origin]
    ancestor: Ancestor | None = None  # None: random weights
    plateau: int | None = None  # iteration at which early stopping began the cool-down
    finished: int | None = None  # iteration of finished weights, which stay the run's until an extension has ended

    @classmethod
    def read(cls, folder: Path) -> "RunRecord":
        """The record of the run in `folder`.

        Raises:
            RunError: the folder is not a run, or one of another format.
            ConfigError: the record has a wrong field.
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

    def network(self, iteration: int) -> NetworkRecord:
        """The record of the weights of an iteration."""
        return NetworkRecord(
            architecture=self.options.model,
            config=vars(configure(self.options.model, self.options.settings)),
            coverage=self.options.coverage,
            size=self.size,
            identities=self.identities,
            origins=self.origins,
            ancestor=self.ancestor,
            iteration=iteration,
        )


def origin_of(crops: Crops, part: float) -> Origin:
    """The origin of crops of which `part` is held out for validation."""
    return Origin(
        crops=len(crops.images),
        validation=validation_count(len(crops.images), part) if crops.validation is None else crops.validation,
        fingerprint=crops.fingerprint,
        footage=crops.footage,
        centroid=crops.centroid,
        is_alone=crops.is_alone,
        people=crops.people,
    )


def save_weights(run: Path, average: Mapping[str, Tensor], record: RunRecord, iteration: int) -> None:
    """Write the EMA weights of an iteration for predictions; iteration 0 has none, and removes those that are there.

    Raises:
        OutputError: they cannot be written.
    """
    if iteration:
        save_network(run / WEIGHTS, dict(average), record.network(iteration))
    else:
        (run / WEIGHTS).unlink(missing_ok=True)


def weights_iteration(run: Path) -> int:
    """The iteration of the weights of a run, 0 if it has none.

    Raises:
        RunError: they are damaged, or of another format.
    """
    return read_record(run).iteration if (run / WEIGHTS).exists() else 0


def check_untrained(run: Path) -> None:
    """Refuse to begin a run that has been trained but has lost its state: what is left would be deleted.

    Raises:
        RunError: it has weights or checkpoints.
    """
    remedies: list[str] = []
    if kept := [iteration for iteration in saved_iterations(run / CHECKPOINTS) if iteration]:
        remedies.append(f"`visagist rewind {run} {kept[-1]}` brings back a checkpoint (available: {listed(kept)})")
    if (run / WEIGHTS).exists():
        remedies.append(f"its weights can still be merged, and `--start {run} -o ANOTHER` trains on from them")
    if remedies:
        raise RunError(
            f"{run}: this run was trained, but the state of its {CHECKPOINTS}/ is gone, so it cannot continue; "
            f"{'; '.join(remedies)}; to train from scratch, choose another run folder (in a swap: another --workspace)"
        )
