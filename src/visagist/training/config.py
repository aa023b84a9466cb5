"""Options of a training."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from visagist.core.settings import Settings
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

    preset: PresetName | None = None
    """`draft` (10 minutes, to check the footage), `standard` (some hours) or `final` (the best result): chooses
    network, size, batch, losses and length, unless given, by the device and its memory; see docs/training.md. A run
    that is continued keeps the choice, which run.toml shows."""

    model: Architecture = "visage"
    """Architecture of the network; docs/networks.md compares them."""

    settings: dict[str, Any] = Field(default_factory=dict)
    """Settings of the model, such as --settings.latent 512; others keep their defaults."""

    coverage: Coverage = "full"
    """How much of the head the faces show."""

    iterations: int | None = Field(default=None, ge=1, le=99_999_999)
    """Total iterations of the run, 1 to 99999999; raise it to continue a finished run. With neither iterations nor
    minutes, a new run takes 8.5 minutes and an existing one keeps its length."""

    minutes: float | None = Field(default=None, gt=0, le=100_000)
    """Total training time of the run instead, above 0 to 100000 (ten weeks), converted to iterations by measuring a
    few; raise it to continue a finished run."""

    start: Literal["base", "none"] | Annotated[Path, AfterValidator(Path.absolute)] = "base"
    """Initial weights. `base`: the pretrained weights that ship with visagist if they fit model, size and coverage,
    random ones otherwise. `none`: random weights. Or a run of the same model and settings: to fit a pretrained network
    to two people, to continue with other options, or to add an identity with --others (it starts as a copy of the last
    known one)."""

    freeze: tuple[str, ...] = ()
    """Weights to freeze: parts of the network such as encoder, identities (their own weights), or shared (all other
    weights). To add an identity without changing the others, freeze shared, source and target, each with its own
    --freeze."""

    until: Literal["end", "plateau"] = "end"
    """`plateau`: early stopping; begin the cool-down once validation metrics no longer improve, and end with it."""

    batch: int = Field(default=8, ge=2, le=4096)
    """Batch size across all identities, 2 to 4096, at least one face each; unless given, a new run on a CPU takes 4.
    There, more iterations beat larger batches; a GPU takes 8 to 32 in about the same time."""

    learning_rate: float | None = Field(default=None, gt=0, le=1)
    """Learning rate, above 0 to 1; by default the one that suits the model and the optimizer."""

    find_rate: bool = False
    """Find a learning rate for a new run by a range test of 100 iterations from 0.000001 to 0.1, unless --learning-rate
    is given. For your own networks and unusual batch sizes."""

    losses: LossOptions = LossOptions()
    """Losses and their weights."""

    optimizer: OptimizerOptions = OptimizerOptions()
    """Optimizer and its settings."""

    schedule: ScheduleOptions = ScheduleOptions()
    """Warm-up and cool-down of the learning rate and the random warp."""

    seed: int = Field(default=0, ge=0, lt=2**28)
    """Random seed, 0 to below 268435456; the same seed gives the same run."""

    device: str = "auto"
    """auto, cpu, mps, cuda or cuda:N."""

    checkpointing: bool = False
    """Gradient checkpointing: less memory for a third more time, with the same result."""

    margin: float = Field(default=1.25, ge=1, le=2)
    """Size of the crops in memory relative to the network's faces, 1 to 2."""

    augmentation: Augmentation = Augmentation()
    """Random variations of the faces."""

    held_out: float = Field(default=0.06, gt=0, lt=0.5)
    """Fraction of each faceset, at its end, held out for validation; above 0 to below 0.5."""

    preview_every: int = Field(default=500, ge=1)
    """Iterations between validations, each with a preview; 1 or more."""

    save_every: int = Field(default=250, ge=1)
    """Iterations between checkpoints (the last two are kept) and updates of the weights to merge with; 1 or more."""

    backup_every: int = Field(default=5000, ge=1)
    """Iterations between backups: checkpoints that are kept longer, to go back to with `visagist rewind RUN N`; 1 or
    more."""

    backups: int = Field(default=3, ge=0)
    """Number of backups to keep, each of the size of a checkpoint; 0 or more."""

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        if self.iterations is not None and self.minutes is not None:
            raise ValueError("give iterations or minutes, not both")
        return self


def plain(value: object) -> str:
    """The value of an option as written on the command line.

    >>> plain((96, 192, 320)), plain(0.05)
    ('96,192,320', '0.05')
    """
    return ",".join(map(str, value)) if isinstance(value, tuple | list) else str(value)  # pyright: ignore[reportUnknownArgumentType]


def by_flag(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values of options, by their names on the command line.

    >>> by_flag({"batch": 8, "losses": {"gan_dims": 4}})
    {'--batch': 8, '--losses.gan-dims': 4}
    """
    flat: dict[str, Any] = {}
    for name, value in values.items():
        parts = {f"{name}.{part}": each for part, each in value.items()} if isinstance(value, dict) else {name: value}  # pyright: ignore[reportUnknownVariableType]
        flat |= {f"--{part.replace('_', '-')}": each for part, each in parts.items()}
    return flat
