"""What a user may choose about a training.

- `TrainOptions`: everything that decides what the network becomes, and how often it is looked at and saved
"""

from typing import Any, Self

from pydantic import Field, model_validator

from visagist.faces import Coverage
from visagist.settings import Settings
from visagist.training.augment import Augmentation

DEFAULT_MINUTES = 8.5


class TrainOptions(Settings):
    """Settings of a training. Give `iterations` or `minutes`; with neither it is 8.5 minutes."""

    model: str = "quick"
    settings: dict[str, Any] = Field(default_factory=dict)  # of the model's config; the rest keep their defaults
    coverage: Coverage = "full"
    iterations: int | None = Field(default=None, ge=1)
    minutes: float | None = Field(default=None, gt=0)
    batch: int = Field(default=8, ge=2)  # faces an iteration, both people together; more steps beat larger ones
    learning_rate: float | None = Field(default=None, gt=0)  # without it, the one that suits the model
    seed: int = Field(default=0, ge=0, lt=2**31)
    device: str = "auto"
    margin: float = Field(default=1.25, ge=1, le=2)  # how much larger than the network's faces the crops in memory are
    augmentation: Augmentation = Augmentation()
    held_out: float = Field(default=0.06, gt=0, lt=0.5)  # part of each faceset, its end, that is only judged
    preview_every: int = Field(default=500, ge=1)  # iterations between previews and figures of held-out faces
    save_every: int = Field(default=250, ge=1)  # iterations between checkpoints

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        if self.iterations is not None and self.minutes is not None:
            raise ValueError("give iterations or minutes, not both")
        return self
