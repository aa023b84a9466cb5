"""Train the base: the pretrained weights that ship with the package.

    python -m tools.make_base FOLDER [--iterations 9000]

Needs the developers' faces and footage (../shared). All intermediate files are written to FOLDER; a stopped training
continues from its latest checkpoint. The base is written to src/visagist/training/base/; its model card is
docs/reference/base.md.

A base must know faces but no particular identity: an autoencoder pretrained on many people draws the target until its
encoder and decoders have unlearnt it. Here the encoder learns to drop identity, since the decoder gets it from the
subject's embedding (feature-wise modulation, Perez et al. 2018, "FiLM"), and most inputs show the ground truth's
expression with the skin and face shape of another subject (`visagist.training.augment.drive`). The shipped decoder has
the mean modulation of all subjects.
"""

import argparse
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from visagist.core.device import Compute, select_device
from visagist.core.files import sha256
from visagist.core.tensors import load_notes, load_tensors, save_tensors
from visagist.faceset import Faceset
from visagist.jobs.extract import extract
from visagist.models import configure, create
from visagist.models.bundle import NetworkRecord, Origin, save_network
from visagist.models.visage import AdaptableConv2d, Visage
from visagist.training.augment import Augmentation, augment_batch
from visagist.training.augment.drive import drive, move
from visagist.training.data.dataset import importance
from visagist.training.data.driven import MAX_SHAPE_GAIN
from visagist.training.losses.pixels import face_mean, pixel_weights
from visagist.training.losses.ssim import masked_ssim, multiscale_dssim
from visagist.training.warm_start import BASE, BASE_FOLDER

SHARED = Path(__file__).parents[2] / "shared"
CLIPS = {  # without grid_others/sbia1a, the demo's target, which must be unknown to the base
    **{name: [f"footage/grid_others/{name}.mpg"] for name in ("brbk7n", "lbbc2a", "sbwe5n")},
    **{name: [f"faces/grid_more/{name}_*.mpg"] for name in ("s30", "s33", "s34")},
}
VALIDATION = {  # portraits held out of training, grouped by appearance
    ("light", "woman", "under 50"): ("female_02", "female_71"),
    ("light", "woman", "over 50"): ("female_52", "female_93"),
    ("light", "man", "under 50"): ("male_32", "male_74"),
    ("light", "man", "over 50"): ("male_44", "male_65"),
    ("medium", "woman", "under 50"): ("female_47", "female_92"),
    ("medium", "woman", "over 50"): ("female_18", "female_75"),
    ("medium", "man", "under 50"): ("male_05", "male_34"),
    ("medium", "man", "over 50"): ("male_22", "male_89"),
    ("dark", "woman", "under 50"): ("female_00", "female_97"),
    ("dark", "woman", "over 50"): ("female_46", "female_83"),
    ("dark", "man", "under 50"): ("male_07", "male_58"),
    ("dark", "man", "over 50"): ("male_67", "male_92"),
}
SIZE, MARGIN, COVERAGE = 128, 1.25, "full"
SIDE = round(SIZE * MARGIN)
UPPER_LIP, LOWER_LIP = 13, 14  # inner landmarks
MAX_GAP = 0.012  # crop widths between the lips of a closed mouth
YAW, PITCH = 20.0, 15.0  # maximum rotation of crops in degrees
BATCH, RATE, WARM_UP = 8, 1e-3, 100
COUNTS = (BATCH // 2, BATCH // 2)  # the augmentation expects two identities
PALETTES = [torch.tensor([[0.5] * 3, [0.2] * 3])] * 2
SAVE_INTERVAL = 250  # iterations between checkpoints
OPTIONS = Augmentation(palette=0, hue=8, saturation=0.3, value=0.3, color=0.06)


@dataclass
class Pool:
    """Crops of all subjects.

    Attributes:
        planes: `(N, S, S, 5)` uint8: RGB, hull, importance.
        landmarks: `(N, 478, 3)` in crop widths.
        rows: indices of each subject's crops.
        people: `(N,)` subject of each crop.
        embeddings: `(P, 128)` unit length.
    """

    planes: Tensor
    landmarks: Tensor
    rows: list[Tensor]
    people: Tensor
    embeddings: Tensor

    @classmethod
    def load(cls, folders: list[Path]) -> "Pool":
        planes, landmarks, sizes, embeddings = [], [], [], []
        for folder in folders:
            faceset = Faceset.open(folder)
            rgb, hull, features, points = map(torch.from_numpy, faceset.load(COVERAGE, SIZE, MARGIN))
            planes.append(torch.cat([rgb, hull[..., None], importance(rgb, hull, features)[..., None]], -1))
            landmarks.append(points)
            sizes.append(len(faceset))
            embeddings.append(faceset.centroid())
        people = torch.arange(len(folders)).repeat_interleave(torch.tensor(sizes))
        rows = list(torch.arange(len(people)).split(sizes))
        vectors = torch.from_numpy(np.array(embeddings, np.float32))
        return cls(torch.cat(planes), torch.cat(landmarks), rows, people, vectors)

    def __post_init__(self) -> None:
        self.shapes = torch.stack([self.landmarks[rows].mean(0) for rows in self.rows])
        self.filmed = [i for i, rows in enumerate(self.rows) if len(rows) > 1]
        self.still = [i for i, rows in enumerate(self.rows) if len(rows) == 1]
        clips = torch.cat([self.rows[i] for i in self.filmed] or [torch.arange(0)])
        lips = self.landmarks[clips][:, [UPPER_LIP, LOWER_LIP], :2]
        self.closed = clips[(lips[:, 0] - lips[:, 1]).norm(dim=-1) < MAX_GAP]

    def crops(self, rows: Tensor) -> Tensor:
        """`(B, 5, S, S)` in [0, 1]."""
        return self.planes[rows].permute(0, 3, 1, 2).float() / 255

    def draw_rows(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw crops: half from subjects with stills, half from subjects with clips."""

        def below(n: int) -> int:
            return int(torch.randint(n, (), generator=generator))

        kinds = [self.still if below(2) else self.filmed for _ in range(count)]
        rows = [self.rows[kind[below(len(kind))]] for kind in kinds]
        return torch.stack([each[below(len(each))] for each in rows])

    def batch(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Input `(B, 3, S, S)`, ground truth `(B, 5, S, S)` and the codes `(B, 129)` of its subjects."""

        def uniform(*shape: int) -> Tensor:
            return torch.rand(*shape, generator=generator)

        rows = self.draw_rows(count, generator)
        people, truth, points = self.people[rows], self.crops(rows), self.landmarks[rows]
        is_still = torch.tensor([len(self.rows[i]) == 1 for i in people.tolist()])
        # Stills get the expression of a frame with a closed mouth; open mouths come from clips only.
        frames = self.closed[torch.randint(len(self.closed), (count,), generator=generator)]
        change = (self.landmarks[frames] - self.shapes[self.people[frames]]) * (1.2 * uniform(count) * is_still)[
            :, None, None
        ]
        turns = uniform(count) < torch.where(is_still, 0.7, 0.4)
        angles = (uniform(count, 2) * 2 - 1) * torch.tensor([YAW, PITCH]).deg2rad() * turns[:, None]
        moved = (turns | is_still).nonzero()[:, 0]
        turned = turn(points + change, angles)
        truth[moved] = move(truth[moved], points[moved, ::2, :2], turned[moved, ::2, :2])
        points = points.index_copy(0, moved, turned[moved])
        seen = truth[:, :3].clone()
        driven = (uniform(count) < 0.6).nonzero()[:, 0]
        if len(driven):
            others = self.draw_rows(len(driven), generator)
            shape = self.shapes[self.people[others]] - self.shapes[people[driven]]
            to = points[driven] + MAX_SHAPE_GAIN * uniform(len(driven), 1, 1) * shape
            landmarks = (each[:, ::2, :2] for each in (points[driven], self.landmarks[others], to))
            own, theirs, goal = landmarks
            seen[driven] = drive(truth[driven], own, self.crops(others)[:, :3], theirs, goal)
        mirrored = uniform(count, 1) < 0.5
        flip = mirrored[:, :, None, None]
        seen, truth = torch.where(flip, seen.flip(-1), seen), torch.where(flip, truth.flip(-1), truth)
        code = F.normalize(self.embeddings[people] + 0.5 * torch.randn(count, 128, generator=generator) / 128**0.5)
        return seen, truth, codes_of(code, mirrored)


def codes_of(embeddings: Tensor, mirrored: Tensor) -> Tensor:
    """`(B, 129)` codes from `(B, 128)` embeddings and `(B, 1)` bool, whether the face is mirrored."""
    return torch.cat([embeddings * 128**0.5, mirrored * 2.0 - 1], 1)


def turn(landmarks: Tensor, angles: Tensor) -> Tensor:
    """Rotate `(B, N, 3)` landmarks about their centre by `(B, 2)` yaw and pitch in radians."""
    centre = landmarks.mean(1, keepdim=True)
    (cy, cp), (sy, sp) = angles.cos().unbind(1), angles.sin().unbind(1)
    zero, one = torch.zeros_like(cy), torch.ones_like(cy)
    yaw = torch.stack([cy, zero, sy, zero, one, zero, -sy, zero, cy], 1).unflatten(1, (3, 3))
    pitch = torch.stack([one, zero, zero, zero, cp, -sp, zero, sp, cp], 1).unflatten(1, (3, 3))
    return (landmarks - centre) @ (pitch @ yaw).transpose(1, 2) + centre


class Modulated(nn.Module):
    """A `visage` with one decoder, modulated by a subject's embedding and by whether the face is mirrored.

    The output of each convolution is scaled and shifted per channel.
    """

    def __init__(self) -> None:
        super().__init__()
        network = create("visage", ("source", "target"), size=SIZE)
        assert isinstance(network, Visage)
        self.encoder, self.decoder = network.encoder, network.decoders[0]
        self.layers = [layer for layer in self.decoder.modules() if isinstance(layer, AdaptableConv2d)]
        self.modulate = nn.Sequential(
            nn.Linear(129, 256), nn.LeakyReLU(0.1), nn.Linear(256, 2 * sum(each.out_channels for each in self.layers))
        )
        last = self.modulate[2]
        assert isinstance(last, nn.Linear)
        nn.init.zeros_(last.bias)

    def modulations(self, codes: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Gain - 1 and offset of each layer, `(B, C)`."""
        parts = self.modulate(codes).split([each.out_channels for each in self.layers for _ in range(2)], 1)
        return [(gain, 0.1 * offset) for gain, offset in zip(parts[::2], parts[1::2], strict=True)]

    @contextmanager
    def modulated(self, codes: Tensor) -> Iterator[None]:
        """Modulate the decoder by `(B, 129)` codes, one per face."""

        def hook(gain: Tensor, offset: Tensor):
            return lambda _layer, _inputs, x: (
                x * (1 + gain.to(x.dtype)[..., None, None]) + offset.to(x.dtype)[..., None, None]
            )

        pairs = zip(self.layers, self.modulations(codes), strict=True)
        handles = [layer.register_forward_hook(hook(*modulation)) for layer, modulation in pairs]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def forward(self, faces: Tensor, codes: Tensor) -> tuple[Tensor, Tensor]:
        latent = self.encoder(faces)
        with self.modulated(codes):
            drawn = torch.sigmoid(self.decoder(latent, None).float())
        return drawn[:, :3], drawn[:, 3:]

    @torch.no_grad()
    def folded(self, embeddings: Tensor) -> dict[str, Tensor]:
        """Weights of a plain `visage` with the mean modulation of these subjects folded into its decoder."""
        codes = torch.cat([codes_of(embeddings, torch.full((len(embeddings), 1), side)) for side in (False, True)])
        decoder = {name: weight.clone() for name, weight in self.decoder.state_dict().items()}
        names = {layer: name for name, layer in self.decoder.named_modules()}
        for layer, (gain, offset) in zip(self.layers, self.modulations(codes), strict=True):
            weight, bias = (decoder[f"{names[layer]}.{part}"] for part in ("weight", "bias"))
            weight.mul_(1 + gain.mean(0)[:, None, None, None])
            bias.mul_(1 + gain.mean(0)).add_(offset.mean(0))
        encoder = {f"encoder.{name}": weight for name, weight in self.encoder.state_dict().items()}
        return encoder | {f"decoders.0.{name}": weight for name, weight in decoder.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder for facesets and checkpoints")
    parser.add_argument("--iterations", type=int, default=9000)
    parser.add_argument("--cool-down", type=int, default=2000, help="last iterations, with decreasing learning rate")
    parser.add_argument("--threads", type=int, default=1)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    folders = facesets(chosen.folder / "faces")
    names = {name for group in VALIDATION.values() for name in group}
    held_out = [each for each in folders if each.name in names]
    pool = Pool.load([each for each in folders if each.name not in names])
    compute = select_device("cpu")
    torch.manual_seed(0)
    network = Modulated()
    network.to(memory_format=compute.memory_format)  # pyright: ignore[reportCallIssue] - missing in torch's stubs
    train(network, pool, compute, chosen.folder / "checkpoint.safetensors", chosen.iterations, chosen.cool_down)
    scores = validate(network, held_out, compute)
    (chosen.folder / "validation.json").write_text(json.dumps(scores, indent=1))
    print(json.dumps(scores, indent=1))
    export(network, pool, chosen.iterations)


def facesets(folder: Path) -> list[Path]:
    """Facesets of all subjects, extracted if missing."""
    footage = {name: [path for each in globs for path in sorted(SHARED.glob(each))] for name, globs in CLIPS.items()}
    footage |= {path.stem: [path] for path in sorted((SHARED / "faces" / "synthetic_portraits").glob("*.jpg"))}
    for name, files in footage.items():
        extract(files, folder / name)
    return [folder / name for name in sorted(footage)]


def train(network: Modulated, pool: Pool, compute: Compute, path: Path, iterations: int, cool_down: int) -> None:
    """Train to the end; afterwards the network has the averaged weights."""
    weights = dict(network.named_parameters())
    optimizer = torch.optim.AdamW(weights.values(), RATE, betas=(0.9, 0.99), weight_decay=0.01)
    average = {name: weight.detach().clone() for name, weight in weights.items()}
    begun = restore(path, weights, average, optimizer)
    started, losses = time.perf_counter(), list[float]()
    for iteration in range(begun, iterations):
        generator = torch.Generator().manual_seed(iteration)
        seen, truth, codes = pool.batch(BATCH, generator)
        picture, wanted = augment_batch(truth, OPTIONS, COUNTS, PALETTES, SIZE, MARGIN, 1.0, generator, seen)
        target, hull, important = wanted.split((3, 1, 1), 1)
        with torch.autocast("cpu", dtype=compute.autocast, enabled=compute.autocast is not None):
            rgb, mask = network(picture.contiguous(memory_format=compute.memory_format), codes)
        counts = pixel_weights(hull, important, 0.05, 8.0, masked=True)
        loss = multiscale_dssim(rgb, target, counts).mean() + face_mean((rgb - target).abs(), counts).mean()
        loss = loss + 0.5 * ((mask - hull) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(weights.values(), 1.0)
        rate = RATE * min(1.0, (iteration + 1) / WARM_UP) * min(1.0, (iterations - iteration) / cool_down)
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        with torch.no_grad():
            for name, weight in weights.items():
                average[name].lerp_(weight, max(0.001, 9 / (iteration + 10)))
        losses.append(loss.item())
        if (iteration + 1) % SAVE_INTERVAL == 0 or iteration + 1 == iterations:
            seconds = (time.perf_counter() - started) / (iteration + 1 - begun)
            print(f"{iteration + 1}: loss {np.mean(losses):.4f}, {BATCH / seconds:.1f} faces/s", flush=True)
            losses.clear()
            save(path, weights, average, optimizer, iteration + 1)
    with torch.no_grad():
        for name, weight in weights.items():
            weight.copy_(average[name])


def save(
    path: Path, weights: dict[str, Tensor], average: dict[str, Tensor], optimizer: torch.optim.AdamW, at: int
) -> None:
    tensors = {f"weight/{name}": weight.detach() for name, weight in weights.items()}
    tensors |= {f"average/{name}": each for name, each in average.items()}
    for name, weight in weights.items():
        tensors |= {f"state/{name}/{part}": value for part, value in optimizer.state[weight].items()}
    save_tensors(path, {name: each.contiguous() for name, each in tensors.items()}, {"iteration": at})


def restore(path: Path, weights: dict[str, Tensor], average: dict[str, Tensor], optimizer: torch.optim.AdamW) -> int:
    """Restore a checkpoint; returns its iteration, 0 without one."""
    if not path.is_file():
        return 0
    tensors = load_tensors(path)
    with torch.no_grad():
        for name, weight in weights.items():
            weight.copy_(tensors[f"weight/{name}"])
            average[name].copy_(tensors[f"average/{name}"])
            state = {part: tensors[f"state/{name}/{part}"] for part in ("step", "exp_avg", "exp_avg_sq")}
            optimizer.state[weight] = {
                part: torch.empty_like(weight).copy_(each) if each.dim() else each for part, each in state.items()
            }
    return int(load_notes(path)["iteration"])


@torch.no_grad()
def validate(network: Modulated, portraits: list[Path], compute: Compute) -> dict[str, float]:
    """SSIM inside the hull of held-out portraits, drawn from their embeddings: means of all and of each group."""
    pool, edge = Pool.load(portraits), (SIDE - SIZE) // 2
    faces = pool.crops(torch.cat(pool.rows))[..., edge : edge + SIZE, edge : edge + SIZE]
    codes = codes_of(pool.embeddings, torch.zeros(len(faces), 1, dtype=torch.bool))
    with torch.autocast("cpu", dtype=compute.autocast, enabled=compute.autocast is not None):
        rgb, _ = network(faces[:, :3].contiguous(memory_format=compute.memory_format), codes)
    ssim = {
        each.name: masked_ssim(rgb[i : i + 1], faces[i : i + 1, :3], faces[i : i + 1, 3:4])
        for i, each in enumerate(portraits)
    }
    found = {"all": float(np.mean(list(ssim.values())))}
    for part in dict.fromkeys(word for group in VALIDATION for word in group):
        found[part] = float(
            np.mean([ssim[name] for group, each in VALIDATION.items() if part in group for name in each])
        )
    return found


def export(network: Modulated, pool: Pool, iteration: int) -> None:
    """Write the shipped base in float16."""
    tensors = {name: weight.half().contiguous() for name, weight in network.folded(pool.embeddings).items()}
    record = NetworkRecord(
        architecture="visage",
        config=vars(configure("visage", {"size": SIZE})),
        coverage=COVERAGE,
        size=SIZE,
        identities=(BASE,),
        origins={BASE: Origin(crops=len(pool.planes), people=len(pool.rows))},
        iteration=iteration,
    )
    path = BASE_FOLDER / f"visage-{SIZE}-{COVERAGE}.safetensors"
    path.parent.mkdir(exist_ok=True)
    save_network(path, tensors, record)
    print(f"{path}: SHA-256 {sha256(path)}, for BASES in visagist/training/warm_start.py")


if __name__ == "__main__":
    main()
