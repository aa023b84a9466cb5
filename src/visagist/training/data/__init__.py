"""Facesets in memory: as arrays (`Crops`), and on the device (`IdentityDataset`)."""

from visagist.training.data.crops import Crops, crops_of, load_crops
from visagist.training.data.dataset import IdentityDataset

__all__ = ["Crops", "IdentityDataset", "crops_of", "load_crops"]
