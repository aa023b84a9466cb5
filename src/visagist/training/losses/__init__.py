"""Losses of a training, one file each.

`registry.py` says what a loss is; `options.py` makes an option of each. `discriminators.py` and `adversary.py` are the
adversarial losses, which are networks in training themselves.
"""

from typing import TYPE_CHECKING

from visagist.core.lazy import lazy_names
from visagist.training.losses.registry import LOSSES, FacePrediction, Loss, SwapPrediction, loss

if TYPE_CHECKING:
    from visagist.training.losses.options import LossOptions

__all__ = ["LOSSES", "FacePrediction", "Loss", "LossOptions", "SwapPrediction", "loss"]

__getattr__ = lazy_names(__name__, {"options": ["LossOptions"]})  # imports every loss
