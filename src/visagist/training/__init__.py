"""Facesets to a trained run.

- `train.py`: `train`, the whole way; `train_crops` from arrays in memory
- `TrainOptions`, `Augmentation`: what may be chosen
- `pretrain`: a run of many people, for others to begin with
- `rewind`: back to a backup of a run
"""

from visagist.training.augment import Augmentation
from visagist.training.config import TrainOptions
from visagist.training.data.crops import Crops
from visagist.training.recipes.pretrain import pretrain
from visagist.training.rollback import Rewound, rewind
from visagist.training.train import TrainSummary, train_crops

__all__ = [
    "Augmentation",
    "Crops",
    "Rewound",
    "TrainOptions",
    "TrainSummary",
    "pretrain",
    "rewind",
    "train_crops",
]
