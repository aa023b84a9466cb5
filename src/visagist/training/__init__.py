"""Facesets to a trained run. `train.py` has the loop; `visagist.jobs.train` is what users call."""

from visagist.training.augment import Augmentation
from visagist.training.config import TrainOptions
from visagist.training.data import Crops
from visagist.training.rollback import Rewound, rewind
from visagist.training.run import Run
from visagist.training.setup import train_crops

__all__ = ["Augmentation", "Crops", "Rewound", "Run", "TrainOptions", "rewind", "train_crops"]
