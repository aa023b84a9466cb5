"""Options of a training."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from visagist.core.settings import Settings, shown
from visagist.faces import Coverage
from visagist.models import ARCHITECTURES
from visagist.training.augment import Augmentation
from visagist.training.losses import LossOptions
from visagist.training.optimizers import OptimizerOptions
from visagist.training.schedule import ScheduleOptions

if TYPE_CHECKING:
    Architecture = str
else:
    Architecture = ARCHITECTURES.choice

DEFAULT_MINUTES = 8.5

PresetName = Literal["draft", "standard", "final"]


class TrainOptions(Settings):
    """Settings of a training. `iterations` or `minutes` are totals of the run; give at most one of them.

    When a run is continued, only its length, `until`, `device`, `checkpointing` and the intervals may change.
    """

    group = "Training"

    preset: Annotated[PresetName | None, shown(first=True)] = None
    """Choose model, size, batch size, losses and length for this device: `draft` (10 minutes) checks the footage,
    `standard` takes 4 hours with CUDA, 8 elsewhere, and `final` (12 hours with CUDA, 48 elsewhere) gives the best
    result. Options that you give take precedence. A continued run keeps the choice, which its run.toml shows."""

    model: Annotated[Architecture, shown(first=True)] = "visage"
    """Network architecture. `--model NAME --help` lists the settings of each."""

    settings: dict[str, Any] = Field(default_factory=dict)
    """Settings of the model, such as `--settings.latent 512`; the others keep their defaults. Listed below for the
    default model; `--model NAME --help` lists those of another."""

    coverage: Annotated[Coverage, shown(first=True)] = "full"
    """How much of the head the network sees and replaces."""

    iterations: Annotated[int | None, shown(first=True)] = Field(default=None, ge=1, le=99_999_999)
    """Total training iterations of the run; raise it to continue a finished run. Without `--iterations` and
    `--minutes`, a new run takes 8.5 minutes and an existing one keeps its length."""

    minutes: Annotated[float | None, shown(first=True)] = Field(default=None, gt=0, le=100_000)
    """Total training time of the run, instead of `--iterations`; raise it to continue a finished run. It is converted
    to iterations by timing a few."""

    start: Literal["base", "none"] | Annotated[Path, AfterValidator(Path.absolute)] = "base"
    """Initial weights. `base`: the pretrained weights that ship with visagist if they fit model, size and coverage, and
    random weights otherwise. `none`: random weights. Or the folder of a run with the same model and settings: to adapt
    a pretrained network, to continue with other options, or to add an identity in `train` (it starts as a copy of the
    last one)."""

    freeze: tuple[str, ...] = ()
    """Weights to freeze; repeatable. Parts of the network such as `encoder`, names of identities (their own weights),
    or `shared` (all other weights). To add an identity without changing the existing ones: `--freeze shared --freeze
    source --freeze target`."""

    until: Literal["end", "plateau"] = "end"
    """When to stop. `plateau`: early stopping; the cool-down begins once validation metrics no longer improve."""

    batch: int = Field(default=8, ge=2, le=4096)
    """Batch size across all identities, at least one face each. Unless given, a new run on a CPU takes 4: there, more
    iterations beat larger batches; a GPU takes 8 to 32 in about the same time."""

    learning_rate: float | None = Field(default=None, gt=0, le=1)
    """Learning rate. By default one that suits model and optimizer."""

    find_rate: bool = False
    """Find the learning rate of a new run by a range test of 100 iterations, unless `--learning-rate` is given. For
    third-party models and unusual batch sizes."""

    losses: LossOptions = LossOptions()
    """Losses and their weights."""

    optimizer: OptimizerOptions = OptimizerOptions()
    """Optimizer and its settings."""

    schedule: ScheduleOptions = ScheduleOptions()
    """Warm-up and cool-down of the learning rate and the random warp."""

    seed: int = Field(default=0, ge=0, lt=2**28)
    """Random seed; the same seed gives the same run."""

    device: Annotated[str, shown(first=True)] = "auto"
    """Where to compute: `auto`, `cpu`, `mps`, `cuda` or `cuda:N`."""

    checkpointing: bool = False
    """Gradient checkpointing: the same result in less memory and a third more time."""

    margin: float = Field(default=1.25, ge=1, le=2)
    """Size of the crops kept in memory, relative to the network's input. Larger margins leave room for rotation and
    shift."""

    augmentation: Augmentation = Augmentation()
    """Random variations of the faces."""

    held_out: float = Field(default=0.06, gt=0, lt=0.5)
    """Fraction of each faceset, taken from its end, that is held out for validation."""

    preview_every: Annotated[int, shown(unit="iterations")] = Field(default=500, ge=1)
    """Interval between validations, each with a preview."""

    save_every: Annotated[int, shown(unit="iterations")] = Field(default=250, ge=1)
    """Interval between checkpoints. The last two are kept; each also updates the weights that `merge` uses."""

    backup_every: Annotated[int, shown(unit="iterations")] = Field(default=5000, ge=1)
    """Interval between backups: checkpoints that are kept longer, for `visagist rewind`."""

    backups: int = Field(default=3, ge=0)
    """Number of backups to keep, each as large as a checkpoint."""

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        if self.iterations is not None and self.minutes is not None:
            raise ValueError("give iterations or minutes, not both")
        return self


def plain(value: object) -> str:
    """Format the value of an option as on the command line.

    >>> plain((96, 192, 320)), plain(0.05)
    ('96,192,320', '0.05')
    """
    return ",".join(map(str, value)) if isinstance(value, tuple | list) else str(value)  # pyright: ignore[reportUnknownArgumentType]


def by_flag(values: Mapping[str, Any]) -> dict[str, Any]:
    """Flatten values of options by their names on the command line.

    >>> by_flag({"batch": 8, "losses": {"gan_dims": 4}})
    {'--batch': 8, '--losses.gan-dims': 4}
    """
    flat: dict[str, Any] = {}
    for name, value in values.items():
        parts = {f"{name}.{part}": each for part, each in value.items()} if isinstance(value, dict) else {name: value}  # pyright: ignore[reportUnknownVariableType]
        flat |= {f"--{part.replace('_', '-')}": each for part, each in parts.items()}
    return flat
