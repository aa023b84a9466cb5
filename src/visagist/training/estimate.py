"""How long a training takes, measured before there are any faces.

- `estimate_seconds`: for the options' number of iterations on this machine
"""

import time
from statistics import median

import numpy as np

from visagist.core.device import choose
from visagist.training.budget import BESIDES, DISCARDED, network_size
from visagist.training.config import TrainOptions
from visagist.training.data.crops import Crops, Side
from visagist.training.trainer import Trainer

MEASURED = 5  # iterations


def estimate_seconds(options: TrainOptions) -> float:
    """Measure some iterations on noise and multiply; takes a few seconds itself.

    Args:
        options: with `iterations`; `minutes` are taken at their word.

    Raises:
        ConfigError: an unknown model, setting or device.
    """
    if options.iterations is None:
        return 60.0 * (options.minutes or 0.0)
    compute = choose(options.device)
    side = round(network_size(options) * options.margin)
    rng = np.random.default_rng(0)
    noise = Crops(
        rng.integers(0, 256, (32, side, side, 3), np.uint8), np.full((32, side, side), 255, np.uint8), name="noise"
    )
    sides = {name: Side(noise, options.held_out, compute.device) for name in ("source", "target")}
    trainer = Trainer(sides, options, options.iterations, compute)
    seconds: list[float] = []
    for iteration in range(DISCARDED + MEASURED):
        before = time.perf_counter()
        trainer.step(iteration)
        seconds.append(time.perf_counter() - before)
    return median(seconds[DISCARDED:]) * options.iterations * (1 + BESIDES)
