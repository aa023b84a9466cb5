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
    """Settings of a training. Give `iterations` or `minutes`, of the run as a whole.

    With neither, a new run takes 8.5 minutes and one that is there keeps the length that it has. When a run goes on,
    its length, `until`, `device`, `checkpointing`, and how often it is saved and validated may change; all else must be
    what it was started with.
    """

    preset: PresetName | None = None
    """`draft` (10 minutes, to see whether the footage will do), `standard` (some hours) or `final` (the best there is
    time for): fills all that you do not give, network, size, batch, losses and length, by the device and its memory;
    docs/training.md says with what. The run's run.toml has the result, and keeps it when the run goes on."""

    model: Architecture = "visage"
    """Architecture of the network; docs/networks.md compares them."""

    settings: dict[str, Any] = Field(default_factory=dict)
    """Of the model's config, such as --settings.latent 512; the rest keep their defaults."""

    coverage: Coverage = "full"
    """How much of the head the network's faces show."""

    iterations: int | None = Field(default=None, ge=1, le=99_999_999)
    """Of the run in all, not of this call; 1 to 99999999. More than before trains on. Or give minutes; with neither, a
    new run takes 8.5 minutes, and one that is there keeps its length."""

    minutes: float | None = Field(default=None, gt=0, le=100_000)
    """Training time of the run in all, not of this call, above 0 to 100000 (ten weeks); measured, and turned into
    iterations. More trains on; 8.5 for a new run where neither minutes nor iterations are given."""

    start: Annotated[Path, AfterValidator(Path.absolute)] | None = None
    """A run of the same model and settings whose weights this one begins with: to fit a pretrained network to two
    people, to go on with other options, or to add a person with --others (who begins as a copy of the last known)."""

    freeze: tuple[str, ...] = ()
    """Parts of the network that keep their weights, such as encoder, or people, whose own weights are meant, or shared,
    all weights that are nobody's own; to add a person to a good run without changing the others, freeze shared, source
    and target, each with its own --freeze."""

    until: Literal["end", "plateau"] = "end"
    """`plateau`: begin the cool-down once validation faces gain nothing more, and end with it; at the latest with the
    iterations or minutes given."""

    batch: int = Field(default=8, ge=2, le=4096)
    """Faces an iteration, everybody's together; 2 to 4096, at least one of each person. More steps beat larger ones."""

    learning_rate: float | None = Field(default=None, gt=0, le=1)
    """How far a step goes, above 0 to 1. Without it, the one that suits the model and the optimizer."""

    find_rate: bool = False
    """Try learning rates from 0.000001 to 0.1 before a new run begins, 100 iterations in all, and take the one found.
    For networks and batches of your own, where nobody knows what suits. Where --learning-rate is given, none is
    tried."""

    losses: LossOptions = LossOptions()
    """What training minimises."""

    optimizer: OptimizerOptions = OptimizerOptions()
    """How gradients become steps."""

    schedule: ScheduleOptions = ScheduleOptions()
    """How the learning rate and the random warp change over the training."""

    seed: int = Field(default=0, ge=0, lt=2**28)
    """Of all random numbers; the same seed gives the same run. 0 to below 268435456."""

    device: str = "auto"
    """auto, cpu, mps, cuda or cuda:N."""

    checkpointing: bool = False
    """Less memory for a third more time: what the blocks of the network compute is not kept for the backward pass but
    computed again there (gradient checkpointing). For sizes and batches that do not fit else; the network becomes the
    same."""

    margin: float = Field(default=1.25, ge=1, le=2)
    """How much larger than the network's faces the crops in memory are; 1 to 2 times."""

    augmentation: Augmentation = Augmentation()
    """How far faces are varied."""

    held_out: float = Field(default=0.06, gt=0, lt=0.5)
    """Part of each faceset, its end, held out for validation; above 0 to below 0.5."""

    preview_every: int = Field(default=500, ge=1)
    """Iterations between validations, with a preview each; 1 or more."""

    save_every: int = Field(default=250, ge=1)
    """Iterations between checkpoints, of which the last two are kept, and between weights to merge with; 1 or more."""

    backup_every: int = Field(default=5000, ge=1)
    """Iterations between backups: checkpoints that are kept beside the latest two; `visagist rewind RUN N` goes back to
    one. 1 or more."""

    backups: int = Field(default=3, ge=0)
    """How many backups are kept, each of the size of a checkpoint; 0 (none) or more."""

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        if self.iterations is not None and self.minutes is not None:
            raise ValueError("give iterations or minutes, not both")
        return self


def plain(value: object) -> str:
    """The value of an option, as one would write it on the command line.

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
