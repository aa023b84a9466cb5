"""Ablation of design choices in a small swapper at equal time, on which `visage` is based.

    OMP_NUM_THREADS=1 python -m benchmarks.research.ablation SOURCE TARGET [--cpu-minutes 5] [--variants plain ...]

SOURCE and TARGET are facesets. Each variant of `Trial` is trained from scratch by visagist's trainer for the same CPU
time on one core, so two can run in parallel. It is evaluated by the reconstruction of validation faces, the similarity
of the swap to the source, and the agreement of its motion with the target's.

Widths are half of those of `quick` and `visage`. On a machine without bf16 units this keeps the ratio of arithmetic to
overhead closer to that of machines with them, and more faces are seen in the same time.
"""

import argparse
import dataclasses
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from visagist.core.device import select_device
from visagist.evaluation.metrics.expression import eye_openness, mouth_openness
from visagist.models import ARCHITECTURES, Swapper
from visagist.models.blocks.layers import depth_to_space, he_init_, scale_, space_to_depth
from visagist.training.config import TrainOptions
from visagist.training.data import IdentityDataset, load_crops
from visagist.training.schedule import Plan
from visagist.training.trainer import Trainer
from visagist.training.validation import swap_similarity, validate
from visagist.zoo.sessions import session

SLOPE = 0.1
MOTION_CROPS = 120  # of the target, to compare the motion of the swap
WARM_UP, TIMED = 5, 15  # iterations; the timed ones determine the total


@dataclass(frozen=True)
class TrialConfig:
    """Design choices; the defaults are those of `quick` at about half the width."""

    size: int = 128
    encoder: tuple[int, int, int] = (48, 96, 160)  # channels at size/4, size/8, size/16
    encoder_depth: tuple[int, int, int] = (0, 0, 1)  # residual blocks at these sizes
    latent: int = 320  # numbers; 0: a spatial latent of `shared` channels at size/16
    shared: int = 64
    decoder: tuple[int, int, int, int] = (160, 128, 64, 32)  # channels at size/16, size/8, size/4, size/2
    depth: tuple[int, int, int, int] = (1, 1, 1, 1)  # residual blocks at these sizes
    block: str = "plain"  # plain, grouped, convnext, bottleneck
    group: int = 0  # channels per group of a grouped convolution; 0: four groups
    up: str = "thin"  # thin: 1x1 and sub-pixels; thick: 3x3 and sub-pixels; resize: nearest and 3x3
    # own: one decoder per identity; lowrank, gain: shared, with weights or gains per identity; low: own up to size/8.
    people: str = "own"
    rank: int = 16


class Plain(nn.Module):
    """Two 3x3 convolutions."""

    def __init__(self, c: int, group: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(c, c, 3, padding=1), nn.Conv2d(c, c, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(x + self.conv2(F.leaky_relu(self.conv1(x), SLOPE)), SLOPE)


class Grouped(nn.Module):
    """A 3x3 convolution in groups, and a 1x1 that mixes them."""

    def __init__(self, c: int, group: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(c, c, 3, padding=1, groups=max(1, c // group) if group else 4)
        self.conv2 = nn.Conv2d(c, c, 1)

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(x + self.conv2(F.leaky_relu(self.conv1(x), SLOPE)), SLOPE)


class Bottleneck(nn.Module):
    """1x1 to half the channels, 3x3, 1x1 back (He et al. 2016)."""

    def __init__(self, c: int, group: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(c, c // 2, 1)
        self.middle = nn.Conv2d(c // 2, c // 2, 3, padding=1)
        self.conv2 = nn.Conv2d(c // 2, c, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = F.leaky_relu(self.middle(F.leaky_relu(self.conv1(x), SLOPE)), SLOPE)
        return F.leaky_relu(x + self.conv2(y), SLOPE)


class ConvNext(nn.Module):
    """A depthwise 5x5, then 1x1 to twice the channels and back (after Liu et al. 2022), without normalisation."""

    def __init__(self, c: int, group: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(c, c, 5, padding=2, groups=c)
        self.conv1, self.conv2 = nn.Conv2d(c, 2 * c, 1), nn.Conv2d(2 * c, c, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(F.leaky_relu(self.conv1(self.depthwise(x)), SLOPE))


BLOCKS: dict[str, type[nn.Module]] = {
    "plain": Plain,
    "grouped": Grouped,
    "bottleneck": Bottleneck,
    "convnext": ConvNext,
}


class Up(nn.Module):
    """Doubles the side."""

    def __init__(self, c: int, out: int, kind: str) -> None:
        super().__init__()
        self.kind = kind
        if kind == "resize":
            self.conv = nn.Conv2d(c, out, 3, padding=1)
        else:
            self.conv = nn.Conv2d(c, 4 * out, 1 if kind == "thin" else 3, padding=int(kind == "thick"))

    def forward(self, x: Tensor) -> Tensor:
        if self.kind == "resize":
            return F.leaky_relu(self.conv(F.interpolate(x, scale_factor=2)), SLOPE)
        return depth_to_space(self.conv(x), 2)


class LowRank(nn.Module):
    """A convolution with a low-rank difference of its weights, or a gain and bias, per identity."""

    def __init__(self, layer: nn.Conv2d, people: int, kind: str, rank: int) -> None:
        super().__init__()
        self.layer, self.kind = layer, kind
        out, rest = layer.weight.shape[0], layer.weight[0].numel()
        if kind == "lowrank":
            self.a = nn.Parameter(torch.randn(people, out, rank) * 0.3 * (2 / rest / rank) ** 0.5)
            self.b = nn.Parameter(torch.randn(people, rank, rest))
        self.gain = nn.Parameter(1 + 0.3 * torch.randn(people, out))
        self.bias = nn.Parameter(torch.zeros(people, out))
        self.person = 0

    def forward(self, x: Tensor) -> Tensor:
        i, layer = self.person, self.layer
        weight = layer.weight
        if self.kind == "lowrank":
            weight = weight + (self.a[i] @ self.b[i]).view_as(weight)
        weight = weight * self.gain[i][:, None, None, None]
        return F.conv2d(x, weight, self.bias[i], layer.stride, layer.padding, groups=layer.groups)


class Stage(nn.Module):
    """Blocks at one resolution."""

    def __init__(self, c: int, depth: int, config: TrialConfig) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*(BLOCKS[config.block](c, config.group) for _ in range(depth)))

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(x)


class Encoder(nn.Module):
    """Encodes faces."""

    def __init__(self, config: TrialConfig) -> None:
        super().__init__()
        c4, c8, c16 = config.encoder
        self.side = config.size // 16
        self.patches = nn.Conv2d(48, c4, 3, padding=1)
        self.down1, self.down2 = nn.Conv2d(c4, c8, 3, 2, 1), nn.Conv2d(c8, c16, 3, 2, 1)
        self.stages = nn.ModuleList(
            Stage(c, d, config) for c, d in zip(config.encoder, config.encoder_depth, strict=True)
        )
        self.narrow = nn.Conv2d(c16, c16 // 4 if config.latent else config.shared, 1)
        self.squeeze = nn.Linear(c16 // 4 * self.side**2, config.latent) if config.latent else None

    def forward(self, faces: Tensor) -> Tensor:
        x = self.stages[0](F.leaky_relu(self.patches(space_to_depth(faces - 0.5, 4)), SLOPE))
        x = self.stages[1](F.leaky_relu(self.down1(x), SLOPE))
        x = self.stages[2](F.leaky_relu(self.down2(x), SLOPE))
        x = self.narrow(x)
        return x if self.squeeze is None else self.squeeze(x.permute(0, 2, 3, 1).flatten(1))


class Low(nn.Module):
    """Decodes a latent up to size/8."""

    def __init__(self, config: TrialConfig) -> None:
        super().__init__()
        self.side = config.size // 16
        c16, c8 = config.decoder[:2]
        self.enter = nn.Conv2d(config.shared, c16, 3, padding=1)
        self.stage = Stage(c16, config.depth[0], config)
        self.up = Up(c16, c8, config.up)

    def forward(self, x: Tensor) -> Tensor:
        return self.up(self.stage(F.leaky_relu(self.enter(x), SLOPE)))


class High(nn.Module):
    """Decodes from size/8 to the image."""

    def __init__(self, config: TrialConfig) -> None:
        super().__init__()
        _, c8, c4, c2 = config.decoder
        _, d8, d4, d2 = config.depth
        self.stages = nn.Sequential(
            Stage(c8, d8, config), Up(c8, c4, config.up), Stage(c4, d4, config), Up(c4, c2, config.up),
            Stage(c2, d2, config),
        )  # fmt: skip
        self.draw = nn.Conv2d(c2, 4 * 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return depth_to_space(self.draw(self.stages(x)), 2)


class Trial(Swapper):
    """A swapper with these design choices."""

    Config = TrialConfig
    learning_rate = 1e-3
    checkpoint_blocks = (Stage,)
    per_identity_modules = ()

    def __init__(self, identities: tuple[str, ...], config: TrialConfig) -> None:
        super().__init__(identities, config)
        n, side = len(identities), config.size // 16
        self.encoder = Encoder(config)
        own = config.people in ("own", "low")
        if config.latent:
            spread_own = n if config.people == "low" else 1
            self.spreads = nn.ModuleList(nn.Linear(config.latent, config.shared * side**2) for _ in range(spread_own))
        self.lows = nn.ModuleList(Low(config) for _ in range(n if own else 1))
        self.highs = nn.ModuleList(High(config) for _ in range(n if config.people == "own" else 1))
        he_init_(self, SLOPE)
        for layer in self.modules():
            if isinstance(layer, tuple(BLOCKS.values())):
                scale_(layer.conv2, 0.3)
            if isinstance(layer, High):
                scale_(layer.draw, 0.2)
        if config.people in ("lowrank", "gain", "low"):
            parts = [self.highs] if config.people == "low" else [self.lows, self.highs]
            for part in parts:
                for module in list(part.modules()):
                    for name, child in list(module.named_children()):
                        if isinstance(child, nn.Conv2d) and not isinstance(module, LowRank):
                            kind = "lowrank" if config.people == "low" else config.people
                            setattr(module, name, LowRank(child, n, kind, config.rank))
        self.personal_layers = [m for m in self.modules() if isinstance(m, LowRank)]

    def encode(self, faces: Tensor) -> Tensor:
        x = self.encoder(faces)
        return self.spread(x, 0) if self.config.latent and len(self.spreads) == 1 else x

    def spread(self, latent: Tensor, i: int) -> Tensor:
        side = self.config.size // 16
        x = F.leaky_relu(self.spreads[i](latent), SLOPE)
        return x.unflatten(1, (side, side, -1)).permute(0, 3, 1, 2)

    def decode(self, latent: Tensor, identity: str) -> tuple[Tensor, Tensor]:
        i = self.index(identity)
        for layer in self.personal_layers:
            layer.person = i
        x = self.spread(latent, i) if self.config.latent and len(self.spreads) > 1 else latent
        x = self.lows[i if len(self.lows) > 1 else 0](x)
        x = torch.sigmoid(self.highs[i if len(self.highs) > 1 else 0](x).float())
        return x[:, :3], x[:, 3:]


DEEP: dict[str, object] = {"block": "bottleneck", "depth": (3, 2, 1, 1)}  # baseline of the other variants
GROUPED: dict[str, object] = {"block": "grouped", "group": 32}
VARIANTS: dict[str, dict[str, object]] = {
    "bottleneck": DEEP,
    "plain": {},
    "grouped": GROUPED,
    "grouped deep": {**DEEP, **GROUPED},
    "convnext": {**DEEP, "block": "convnext"},
    "deeper": {**DEEP, "depth": (6, 4, 2, 1)},
    "depth at 32": {**DEEP, "depth": (1, 1, 4, 1)},
    "wide": {**DEEP, "decoder": (224, 192, 96, 32)},
    "encoder": {**DEEP, **GROUPED, "encoder_depth": (1, 1, 2)},
    "thick": {**DEEP, "up": "thick"},
    "resize": {**DEEP, "up": "resize"},
    "spatial": {**DEEP, "latent": 0, "shared": 20},
    "lowrank": {**DEEP, **GROUPED, "people": "lowrank"},
    "low": {**DEEP, **GROUPED, "people": "low"},
    "gain": {**DEEP, "people": "gain"},
}


@dataclass(frozen=True)
class Row:
    """Results of a variant."""

    variant: str
    parameters_m: float
    iterations: int
    faces_s: float  # on one core
    ssim_source: float  # of reconstructed validation faces
    ssim_target: float
    swap_source: float  # SFace similarity of the swap to the source
    swap_target: float
    landmarks: float  # mean distance between swap and target, in % of the distance between outer eye corners
    mouth: tuple[float, float]  # correlation with the openness of the target's, and slope
    eyes: tuple[float, float]


def follows(swap: NDArray[np.float64], target: NDArray[np.float64]) -> tuple[float, float]:
    """Correlation of two curves `(N,)`, and the slope of the first as a function of the second."""
    swap, target = swap - swap.mean(), target - target.mean()
    cross = float((swap * target).sum())
    return cross / float(np.sqrt((swap**2).sum() * (target**2).sum()) + 1e-12), cross / float((target**2).sum())


def meshes(crops: Tensor) -> NDArray[np.float32]:
    """`(N, 478, 3)` landmarks of `(N, 3, S, S)` crops with their margin."""
    large = F.interpolate(crops, (256, 256), mode="bicubic").clamp(0, 1).permute(0, 2, 3, 1).numpy()
    network = session("facemesh", threads=1)
    found = [network.run(["Identity"], {"input_12": crop[None]})[0] for crop in large]
    return np.concatenate([np.asarray(each).reshape(1, 478, 3) for each in found])


def trial(
    name: str, settings: dict[str, object], datasets: dict[str, IdentityDataset], cpu_minutes: float, **changes: object
) -> Row:
    """Train and evaluate one variant."""
    compute = select_device("cpu")
    options = TrainOptions.model_validate({"model": "trial", "settings": settings, **changes})
    probe = Trainer(datasets, options, Plan.of(1000, options.schedule), compute)
    for i in range(WARM_UP):
        probe.step(i)
    before = time.process_time()
    for i in range(TIMED):
        probe.step(WARM_UP + i)
    each = (time.process_time() - before) / TIMED
    iterations = round(60 * cpu_minutes / each)
    trainer = Trainer(datasets, options, Plan.of(iterations, options.schedule), compute)
    for i in range(iterations):
        trainer.step(i)
    figures = validate(datasets, trainer.predict, trainer.network.size, options.coverage)
    dataset = datasets["target"]
    indices = torch.linspace(0, len(dataset.planes) - 1, MOTION_CROPS).round().long()
    crops = dataset.crops(indices)[:, :3].contiguous()
    edge = (crops.shape[-1] - trainer.network.size) // 2
    inside = slice(edge, edge + trainer.network.size)
    faces = crops[..., inside, inside]
    rgb, mask = (
        torch.cat(parts) for parts in zip(*(trainer.predict(f, "source") for f in faces.split(24)), strict=True)
    )
    swapped = crops.clone()
    swapped[..., inside, inside] = faces + mask * (rgb - faces)
    swap, target = meshes(swapped), meshes(crops)
    distance = np.linalg.norm(swap[:, :468, :2] - target[:, :468, :2], axis=-1).mean(1)
    span = np.linalg.norm(target[:, 33, :2] - target[:, 263, :2], axis=-1)
    some = slice(0, MOTION_CROPS, 5)
    similarity = {
        identity: swap_similarity(faces[some], rgb[some], mask[some], np.array(each.centroid), options.coverage) or 0.0
        for identity, each in datasets.items()
    }
    return Row(
        name,
        sum(p.numel() for p in trainer.network.parameters()) / 1e6,
        iterations,
        options.batch / each,
        figures["ssim_source"],
        figures["ssim_target"],
        similarity["source"],
        similarity["target"],
        100 * float((distance / span).mean()),
        follows(mouth_openness(swap), mouth_openness(target)),
        follows(eye_openness(swap).mean(1), eye_openness(target).mean(1)),
    )


def table(rows: Sequence[Row]) -> str:
    """Markdown table for benchmarks/research/networks.md."""
    lines = [
        "| | M parameters | iterations | SSIM source, target | swap to source (target) | landmarks % | mouth | eyes |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for r in rows:
        lines.append(
            f"| {r.variant} | {r.parameters_m:.2f} | {r.iterations} | {r.ssim_source:.3f}, {r.ssim_target:.3f} | "
            f"{r.swap_source:.2f} ({r.swap_target:.2f}) | {r.landmarks:.2f} | {r.mouth[0]:.2f}/{r.mouth[1]:.2f} | "
            f"{r.eyes[0]:.2f}/{r.eyes[1]:.2f} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Train and evaluate the variants; prints a JSON line for each, then a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--cpu-minutes", type=float, default=5.0)
    parser.add_argument("--variants", nargs="+", choices=list(VARIANTS), default=list(VARIANTS))
    parser.add_argument("--set", nargs="*", default=[], help="training options as name=value")
    parser.add_argument("--trial", help="settings of another variant as JSON")
    arguments = parser.parse_args()
    ARCHITECTURES.register(Trial, name="trial")
    size = 128
    margin = TrainOptions().margin
    datasets = {
        name: IdentityDataset(load_crops(folder, "full", size, margin), TrainOptions().held_out, torch.device("cpu"))
        for name, folder in (("source", arguments.source), ("target", arguments.target))
    }
    changes = {k: json.loads(v) for k, v in (each.split("=", 1) for each in arguments.set)}
    chosen = {name: VARIANTS[name] for name in arguments.variants}
    if arguments.trial:
        chosen = {arguments.trial: json.loads(arguments.trial)}
    rows: list[Row] = []
    for name, settings in chosen.items():
        rows.append(trial(" ".join([name, *arguments.set]), settings, datasets, arguments.cpu_minutes, **changes))
        print(json.dumps(dataclasses.asdict(rows[-1])), flush=True)
    print(table(rows))


if __name__ == "__main__":
    main()
