"""Losses, one file each, in the registry `LOSSES`; `adversary.py` has the adversarial ones."""

from typing import TYPE_CHECKING

from visagist.core.lazy import lazy_names
from visagist.training.losses.registry import LOSSES, FacePrediction, Loss, SwapPrediction, loss

if TYPE_CHECKING:
    from visagist.training.losses.options import LossOptions

__all__ = ["LOSSES", "FacePrediction", "Loss", "LossOptions", "SwapPrediction", "loss"]

__getattr__ = lazy_names(__name__, {"options": ["LossOptions"]})  # imports every loss
