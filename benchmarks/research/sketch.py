"""Training speed of a model in faces per second, compared with an early sketch of a network.

    .venv/bin/python -m benchmarks.research.sketch [--model quick] [--batch 8] [--rounds 8]

Both networks are trained by the same trainer on the same random crops in one process, in turns, so that load from
outside slows both; medians are reported. An iteration includes sampling, augmentation, losses, optimizer and EMA.

The sketch was used for the project's first estimates: 23 M parameters, four strided convolutions to 256 channels
at 8x8, dense 256, three 3x3 doublings with residual blocks of 256, 192 and 96 channels, a sub-pixel head.
"""

import argparse
import resource
import time
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.measure import random_datasets
from visagist.core.device import reuse_freed_memory, select_device
from visagist.models import ARCHITECTURES, Swapper
from visagist.models.blocks.layers import depth_to_space
from visagist.training.config import TrainOptions
from visagist.training.schedule import Plan
from visagist.training.trainer import Trainer


@dataclass(frozen=True)
class SketchConfig:
    """Config of the sketch."""

    size: int = 128
    latent: int = 256


class Block(nn.Module):
    """Doubles the side with a 3x3 convolution and a residual block."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.up = nn.Conv2d(channels, 4 * out, 3, padding=1)
        self.conv1 = nn.Conv2d(out, out, 3, padding=1)
        self.conv2 = nn.Conv2d(out, out, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.leaky_relu(depth_to_space(self.up(x), 2), 0.1)
        return F.leaky_relu(x + self.conv2(F.leaky_relu(self.conv1(x), 0.1)), 0.1)


class Sketch(Swapper):
    """Encoder of strided convolutions, dense latent, one decoder of three blocks per identity."""

    Config = SketchConfig
    learning_rate = 5e-4

    def __init__(self, identities: tuple[str, ...], config: SketchConfig) -> None:
        super().__init__(identities, config)
        widths = (3, 48, 96, 192, 256)
        self.down = nn.ModuleList(nn.Conv2d(a, b, 5, stride=2, padding=2) for a, b in pairwise(widths))
        self.squeeze = nn.Linear(256 * 64, config.latent)
        self.spread = nn.Linear(config.latent, 256 * 64)
        self.decoders = nn.ModuleList(
            nn.Sequential(Block(256, 256), Block(256, 192), Block(192, 96), nn.Conv2d(96, 16, 3, padding=1))
            for _ in identities
        )

    def encode(self, faces: Tensor) -> Tensor:
        x = faces
        for layer in self.down:
            x = F.leaky_relu(layer(x), 0.1)
        x = self.spread(self.squeeze(x.flatten(1)))
        return x.unflatten(1, (256, 8, 8)).contiguous(memory_format=torch.channels_last)  # (B, 256, 8, 8)

    def decode(self, latent: Tensor, identity: str) -> tuple[Tensor, Tensor]:
        drawn = torch.sigmoid(depth_to_space(self.decoders[self.index(identity)](latent), 2).float())
        return drawn[:, :3], drawn[:, 3:]


def cost(network: Swapper) -> float:
    """Billions of multiplications per face in a training pass; the backward pass takes twice the forward pass."""
    faces = torch.zeros(1, 3, network.size, network.size)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(faces, network.identities[0])
    return 3 * counter.get_total_flops() / 2e9


@reuse_freed_memory()  # as in a training; both networks benefit
def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="quick")
    parser.add_argument("--batch", type=int, default=TrainOptions().batch)
    parser.add_argument("--rounds", type=int, default=8, help="turns of 3 iterations a network")
    arguments = parser.parse_args()
    compute = select_device("auto")
    ARCHITECTURES.register(Sketch, name="sketch")
    trainers: dict[str, Trainer] = {}
    for name in (arguments.model, "sketch"):
        options = TrainOptions(model=name, batch=arguments.batch)
        size = ARCHITECTURES[name].Config().size
        datasets = random_datasets(round(size * options.margin), compute.device)
        trainers[name] = Trainer(datasets, options, Plan.of(1000, options.schedule), compute)
    seconds: dict[str, list[float]] = {name: [] for name in trainers}
    for turn in range(arguments.rounds + 1):
        for name, trainer in trainers.items():
            for i in range(3):
                start = time.perf_counter()
                trainer.step(100 + 3 * turn + i)
                if turn:  # the first turn warms up
                    seconds[name].append(time.perf_counter() - start)
    print(f"{compute}, {torch.get_num_threads()} threads, {arguments.batch} faces per iteration\n")
    print(f"{'model':10} {'faces/s':>8} {'ms/iteration':>13} {'M parameters':>13} {'G mult/face':>12}")
    for name, values in seconds.items():
        network, middle = trainers[name].network, median(values)
        size = sum(p.numel() for p in network.parameters()) / 1e6
        rate = arguments.batch / middle
        print(f"{name:10} {rate:8.1f} {middle * 1e3:13.0f} {size:13.1f} {cost(network):12.1f}")
    ratio = median(b / a for a, b in zip(*seconds.values(), strict=True))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"\n{arguments.model} is {ratio:.2f} times as fast as the sketch; peak memory of both together {peak:.2f} GiB"
    )


if __name__ == "__main__":
    main()
