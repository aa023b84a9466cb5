"""Train the segmentation network that ships with the package.

    python -m tools.segmenter FOLDER [--iterations 12000]

Needs the developers' faces and footage (../shared). All intermediate files are written to FOLDER; a stopped training
continues from its latest checkpoint. The network is written to FOLDER/segmenter.onnx.
"""

import argparse
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import torch
from tools.segmenter import sources
from tools.segmenter.network import Segmenter
from tools.segmenter.occluders import load_hands
from tools.segmenter.samples import SIZE, Composer, contact_sheet
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, IterableDataset

from visagist.core.device import select_device
from visagist.core.tensors import load_notes, load_tensors, save_tensors
from visagist.training.optimizers import restore_state, state_tensors

BATCH, RATE, TRUNK_RATE, WARM_UP = 8, 2e-3, 5e-4, 200
CLIP = 1.0  # norm of the gradient
DICE = 0.5  # weight of the Dice loss of face and occluder
AVERAGE = 0.998  # decay of the averaged weights, which are exported
SAVE_INTERVAL = 250  # iterations
CHECKPOINT = "checkpoint.safetensors"
VALIDATION = 96  # samples of other numbers


class Batches(IterableDataset[tuple[Tensor, Tensor]]):
    """Batches from one iteration to another, made by worker processes."""

    def __init__(self, composer: Composer, first: int, last: int) -> None:
        self.composer, self.first, self.last = composer, first, last

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        worker = torch.utils.data.get_worker_info()
        offset, step = (worker.id, worker.num_workers) if worker else (0, 1)
        for iteration in range(self.first + offset, self.last, step):
            pairs = [self.composer.draw(iteration * BATCH + i) for i in range(BATCH)]
            pictures, planes = (np.stack(each) for each in zip(*pairs, strict=True))
            yield torch.from_numpy(pictures), torch.from_numpy(planes)


def targets(planes: Tensor) -> tuple[Tensor, Tensor]:
    """Class probabilities `(B, 4, H, W)` and the weight of pixels `(B, H, W)` from the planes of `Composer.draw`."""
    parts = planes.permute(0, 3, 1, 2).float() / 255
    classes, known = parts[:, :3], parts[:, 3]
    background = (1 - classes.sum(1, keepdim=True)).clamp_min(0)
    every = torch.cat([classes, background], 1)
    return every / every.sum(1, keepdim=True).clamp_min(1e-6), known


def loss_of(logits: Tensor, wanted: Tensor, known: Tensor) -> Tensor:
    """Cross-entropy with soft targets, plus soft Dice (Milletari et al. 2016, "V-Net") of face and occluder."""
    entropy = -(wanted * F.log_softmax(logits, 1)).sum(1)
    loss = (entropy * known).sum() / known.sum().clamp_min(1)
    found = logits.softmax(1)
    for index in (0, 2):
        p, t = found[:, index] * known, wanted[:, index] * known
        dice = (2 * (p * t).sum((1, 2)) + 50) / ((p * p).sum((1, 2)) + (t * t).sum((1, 2)) + 50)
        loss = loss + DICE * (1 - dice).mean()
    return loss


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--iterations", type=int, default=4500)
    parser.add_argument("--workers", type=int, default=0, help="processes that make batches")
    chosen = parser.parse_args()
    chosen.folder.mkdir(parents=True, exist_ok=True)
    cache = chosen.folder / "samples.npz"
    if not cache.exists():
        sources.save(list(sources.samples()), cache)
    hands = chosen.folder / "hands.npy"
    if not hands.exists():
        np.save(hands, np.stack(load_hands()))
    composer = Composer(sources.load(cache), list(np.load(hands)))
    contact_sheet(composer, 10**8, 24, chosen.folder / "samples.png")
    train(composer, chosen.folder, chosen.iterations, chosen.workers)
    export(chosen.folder)


def train(composer: Composer, folder: Path, iterations: int, workers: int) -> None:
    """Train to `iterations`, continuing from the latest checkpoint in the folder."""
    compute = select_device("auto")
    torch.manual_seed(0)
    network = Segmenter().to(compute.device, memory_format=torch.channels_last)
    average = torch.optim.swa_utils.AveragedModel(
        network, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(AVERAGE)
    )
    inner = list(network.trunk.parameters())
    known = {id(each) for each in inner}
    outer = [each for each in network.parameters() if id(each) not in known]
    optimizer = torch.optim.AdamW(
        [{"params": outer, "rate": RATE}, {"params": inner, "rate": TRUNK_RATE}], lr=RATE, weight_decay=1e-4
    )
    weights = dict(network.named_parameters())
    done, checkpoint = 0, folder / CHECKPOINT
    if checkpoint.exists():
        done, tensors = load_notes(checkpoint)["done"], load_tensors(checkpoint)
        network.load_state_dict(_part(tensors, "network/"))
        average.module.load_state_dict(_part(tensors, "average/"))
        average.n_averaged.fill_(done)
        restore_state(optimizer, weights, tensors, "adamw")
    held = list(Batches(composer, 10**7, 10**7 + VALIDATION // BATCH))
    validation = torch.cat([each for each, _ in held]), torch.cat([each for _, each in held])
    began, losses = time.monotonic(), []
    for iteration, (pictures, planes) in enumerate(
        DataLoader(Batches(composer, done, iterations), batch_size=None, num_workers=workers), done
    ):
        share = min(1.0, (iteration + 1) / WARM_UP) * 0.5 * (1 + np.cos(np.pi * iteration / iterations))
        for group in optimizer.param_groups:
            group["lr"] = group["rate"] * share
        wanted, weight = targets(planes.to(compute.device))
        image = (pictures.to(compute.device).permute(0, 3, 1, 2).float() / 255).contiguous(
            memory_format=torch.channels_last
        )
        with torch.autocast(compute.device.type, dtype=compute.autocast, enabled=compute.autocast is not None):
            logits = network(image)
        loss = loss_of(logits.float(), wanted, weight)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), CLIP)
        optimizer.step()
        average.update_parameters(network)
        losses.append(loss.item())
        if (iteration + 1) % SAVE_INTERVAL == 0 or iteration + 1 == iterations:
            parts = {"network/": network, "average/": average.module}
            state = {prefix + name: each for prefix, part in parts.items() for name, each in part.state_dict().items()}
            save_tensors(checkpoint, state | state_tensors(optimizer, weights), {"done": iteration + 1})
            scores = " ".join(f"{name} {value:.3f}" for name, value in measure(average, validation).items())
            seconds = (time.monotonic() - began) / (iteration + 1 - done)
            print(f"{iteration + 1} loss {np.mean(losses[-SAVE_INTERVAL:]):.4f} {scores} {seconds:.2f} s", flush=True)


@torch.no_grad()
def measure(network: torch.nn.Module, batch: tuple[Tensor, Tensor]) -> dict[str, float]:
    """Intersection over union of each class on composites of other numbers, at a probability of 0.5."""
    device = next(network.parameters()).device
    image = batch[0].to(device).permute(0, 3, 1, 2).float() / 255
    wanted, known = targets(batch[1].to(device))
    found = network(image).softmax(1)
    scores: dict[str, float] = {}
    for index, name in enumerate(("face", "hair", "occluder")):
        p, t = (found[:, index] > 0.5) & (known > 0.5), (wanted[:, index] > 0.5) & (known > 0.5)
        scores[name] = float((p & t).sum() / (p | t).sum().clamp_min(1))
    return scores


class Probabilities(torch.nn.Module):
    """The exported graph: class probabilities."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        return self.network(image).softmax(1)


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): each for name, each in tensors.items() if name.startswith(prefix)}


def export(folder: Path) -> None:
    """Write the averaged weights as FOLDER/segmenter.onnx."""
    network = Segmenter()
    network.load_state_dict(_part(load_tensors(folder / CHECKPOINT), "average/"))
    batch = torch.export.Dim("N", min=1, max=1024)
    program = torch.onnx.export(
        Probabilities(network).eval(),
        (torch.rand(2, 3, SIZE, SIZE),),
        input_names=["image"],
        output_names=["probabilities"],
        dynamic_shapes=({0: batch},),
        dynamo=True,
    )
    assert program is not None
    model = program.model_proto
    for part in (model.graph, *model.graph.node, *model.graph.value_info):  # stack traces with this machine's paths
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    onnx.save(model, folder / "segmenter.onnx")


if __name__ == "__main__":
    main()
