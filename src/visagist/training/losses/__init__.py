"""Losses of a training, one file each.

`registry.py` says what a loss is; `options.py` makes an option of each. `discriminators.py` and `adversary.py` are the
adversarial losses, which are networks in training themselves.
"""

from visagist.training.losses.options import LossOptions
from visagist.training.losses.registry import LOSSES, FacePrediction, Loss, SwapPrediction, loss

__all__ = ["LOSSES", "FacePrediction", "Loss", "LossOptions", "SwapPrediction", "loss"]
