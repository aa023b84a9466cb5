"""Facesets to a trained run.

- `train`: the whole way; `train_crops` from arrays in memory
- `TrainOptions`, `Augmentation`: what may be chosen
- `Run`: a finished training, ready to draw
"""

from visagist.training.augment import Augmentation
from visagist.training.data import Crops
from visagist.training.loop import TrainSummary, train, train_crops
from visagist.training.options import TrainOptions
from visagist.training.run import Run

__all__ = ["Augmentation", "Crops", "Run", "TrainOptions", "TrainSummary", "train", "train_crops"]
