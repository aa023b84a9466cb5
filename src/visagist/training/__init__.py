"""Training of networks on facesets. `train.py` has the loop; users call `visagist.jobs.train`."""

from typing import TYPE_CHECKING

from visagist.core.lazy import lazy_names

if TYPE_CHECKING:
    from visagist.training.augment import Augmentation
    from visagist.training.config import TrainOptions
    from visagist.training.data import Crops
    from visagist.training.rollback import Rewound, rewind
    from visagist.training.run import Run
    from visagist.training.setup import train_crops

__all__ = ["Augmentation", "Crops", "Rewound", "Run", "TrainOptions", "rewind", "train_crops"]

# Lazily, so that losses can be listed without importing torch.
__getattr__ = lazy_names(
    __name__,
    {
        "augment": ["Augmentation"],
        "config": ["TrainOptions"],
        "data": ["Crops"],
        "rollback": ["Rewound", "rewind"],
        "run": ["Run"],
        "setup": ["train_crops"],
    },
)
