"""Facesets to a trained run.

- `train`: the whole way; `train_crops` from arrays in memory
- `TrainOptions`, `Augmentation`: what may be chosen
- `pretrain`: a run of many people, for others to begin with
- `rewind`: back to a backup of a run
- `Run`: a finished training, ready to draw
"""

from visagist.training.augmentation import Augmentation
from visagist.training.data import Crops
from visagist.training.loop import TrainSummary, train, train_crops
from visagist.training.options import TrainOptions
from visagist.training.pretraining import pretrain
from visagist.training.rewinding import Rewound, rewind
from visagist.training.run import Run

__all__ = [
    "Augmentation",
    "Crops",
    "Rewound",
    "Run",
    "TrainOptions",
    "TrainSummary",
    "pretrain",
    "rewind",
    "train",
    "train_crops",
]
