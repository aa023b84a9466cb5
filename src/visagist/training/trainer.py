"""One training in memory, iteration by iteration.

Each iteration seeds its random numbers with (seed, attempt, iteration), so a training resumes exactly from its tensors
and these three numbers.
"""

from collections.abc import Mapping
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from visagist.core.device import Compute
from visagist.core.errors import ConfigError, RunError
from visagist.models import Swapper, create
from visagist.training.augment import augment_batch
from visagist.training.config import TrainOptions
from visagist.training.criterion import TARGET, Criterion, Outputs
from visagist.training.data import IdentityDataset
from visagist.training.data.driven import default_chance, drive_batch
from visagist.training.distributed import World, split_batch
from visagist.training.optimizers import (
    create_optimizer,
    optimizer_step,
    restore_state,
    state_tensors,
    suited_rate,
    update_average,
)
from visagist.training.schedule import Plan, learning_rate, warp_strength
from visagist.training.warm_start import Start, frozen, take_over

SAMPLING, DECODING, LR_DROPOUT, LABEL_NOISE = range(4)  # uses of random numbers, each with its own seed


def faces_per_identity(batch: int, identities: int) -> tuple[int, ...]:
    """Faces of each identity in a batch; of two identities, the source, which is harder to learn, gets more.

    >>> faces_per_identity(8, 2), faces_per_identity(8, 3)
    ((5, 3), (3, 3, 2))
    """
    if identities == 2:
        target = max(1, batch * 7 // 16)
        return (batch - target, target)
    return tuple(batch // identities + (i < batch % identities) for i in range(identities))


class Trainer:
    """A network in training.

    Attributes:
        datasets: crops by identity, the source first, the target second, then the others.
        plan: schedule of the training; may be replaced between iterations.
        network: the network with the optimizer's weights.
        average: exponential moving average of each weight by name, used for predictions.
        before: the average at the start of the cool-down, if a loss needs it; otherwise empty.
        rate: learning rate before scaling by the schedule.
        attempt: number of rollbacks; part of every seed.
        counts: faces of each identity in a batch, over all processes.
        losses: weighted losses of the latest iteration by name, scalars on the device.
        discriminator_losses: losses of the discriminators, likewise.
    """

    def __init__(
        self,
        datasets: Mapping[str, IdentityDataset],
        options: TrainOptions,
        plan: Plan,
        compute: Compute,
        start: Start | None = None,
    ) -> None:
        self.datasets = dict(datasets)
        self.options, self.plan, self.compute = options, plan, compute
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(options.seed)
            network = create(options.model, tuple(datasets), **options.settings)
        if start is not None:
            take_over(network, start.weights, start.ancestor.identities)
        self.network: Swapper = network.to(compute.device)
        self.network.to(memory_format=compute.memory_format)  # pyright: ignore[reportCallIssue] - missing in torch's stubs
        if options.checkpointing:
            recompute_blocks(self.network)
        self.rate = options.learning_rate or suited_rate(options.optimizer.name, network.learning_rate)
        self.attempt = 0
        self.counts = faces_per_identity(options.batch, len(datasets))
        self.world = World.current()
        self.rows, self.parts = split_batch(self.counts, options.optimizer.accumulate, self.world)
        self.losses: dict[str, Tensor] = {}
        self.discriminator_losses: dict[str, Tensor] = {}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(options.seed)
            self.begin()

    def begin(self) -> None:
        """Create averages, optimizer and criterion for the network's weights."""
        self.weights = dict(self.network.named_parameters())
        self.average = {name: weight.detach().clone() for name, weight in self.weights.items()}
        self.before: dict[str, Tensor] = {}
        kept = frozen(self.network, self.options.freeze)
        for name in kept:
            self.weights[name].requires_grad_(False)
        self.trained = {name: weight for name, weight in self.weights.items() if name not in kept}
        self.optimizer = create_optimizer(self.trained.values(), self.options.optimizer, self.rate, self.compute)
        centroids = {name: dataset.centroid for name, dataset in self.datasets.items()}
        self.criterion = Criterion(
            self.options.losses, self.network, centroids, self.options.coverage, self.counts, self.compute
        )

    def step(self, iteration: int) -> Tensor:
        """Train for one iteration, without synchronising with the device.

        Returns:
            Sum of the reconstruction losses, a scalar on the device; NaN if a loss or gradient, also of a
            discriminator, is not finite.
        """
        seen, truth = self.batch(iteration)  # this process's share
        is_finishing, generator = self.plan.is_finishing(iteration), self._generator(iteration, DECODING)
        if self.criterion.needs_before(is_finishing):
            self.before = self.before or {name: average.clone() for name, average in self.average.items()}
        done: list[Outputs] = []
        shares: list[dict[str, Tensor]] = []
        for rows, counts in self.parts:
            part = slice(None) if len(self.parts) == 1 else rows
            outputs = self.predict_part(seen[part], truth[part], counts, iteration, generator)
            losses = self.criterion(outputs, is_finishing)
            torch.stack(list(losses.values())).sum().backward()
            done.append(outputs.detached())
            shares.append({name: loss.detach() for name, loss in losses.items()})
        self.discriminator_losses = (
            self.criterion.discriminate(done, self._generator(iteration, LABEL_NOISE)) if is_finishing else {}
        )
        self.losses = {name: torch.stack([share[name] for share in shares]).sum() for name in shares[0]}
        self.sum_over_processes(is_finishing)
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate * learning_rate(iteration, self.plan, self.options.schedule)
        options = self.options.optimizer
        norm = optimizer_step(self.optimizer, self.trained.values(), options, self.seed(iteration, LR_DROPOUT))
        update_average(self.optimizer, self.weights, self.average, iteration, options)
        norms = [adversary.step() for adversary in self.criterion.adversaries.values()] if is_finishing else []
        is_finite = (
            torch.stack([norm, *norms, *self.losses.values(), *self.discriminator_losses.values()]).isfinite().all()
        )
        return torch.where(is_finite, self.criterion.reconstruction(self.losses), torch.nan)

    def sum_over_processes(self, is_finishing: bool) -> None:
        """Sum gradients, losses and adversarial statistics over all processes, once per iteration."""
        if self.world.size == 1:
            return
        adversaries = list(self.criterion.adversaries.values()) if is_finishing else []
        weights = [*self.trained.values(), *(weight for each in adversaries for weight in each.weights.values())]
        gradients = [weight.grad for weight in weights if weight.grad is not None]
        numbers = [
            *self.losses.values(),
            *self.discriminator_losses.values(),
            *(each.gradient_squares for each in adversaries),
        ]
        self.world.sum_in_place([*gradients, *numbers])

    def predict_part(
        self, seen: Tensor, truth: Tensor, counts: tuple[int, ...], iteration: int, generator: torch.Generator
    ) -> Outputs:
        """Predict everything the losses need for a part of a batch with `counts` faces per identity."""
        is_finishing, swapped_to = self.plan.is_finishing(iteration), self.criterion.swapped_to(iteration)
        swap: Tensor | None = None
        before: Tensor | None = None
        with self.autocast():
            latent = self.network.encode(seen)
            latents = latent.split(counts)
            decoded = [
                self.network.decode_in_training(each, name, generator)
                for each, name in zip(latents, self.datasets, strict=True)
            ]
            if self.criterion.needs_swap(is_finishing):
                swap, _ = self.network.decode_for_swap(latents[TARGET], swapped_to)
        if self.criterion.needs_before(is_finishing):
            before, _ = self.predict(seen.split(counts)[TARGET], swapped_to, self.before)
        rgb, mask = (torch.cat(planes) for planes in zip(*decoded, strict=True))
        return Outputs(latent, rgb, mask, truth, counts, swap, before, swapped_to)

    def seed(self, iteration: int, purpose: int) -> int:
        """Seed for one use of random numbers; 32 bits, since torch's CPU generator ignores the others."""
        return int(np.random.SeedSequence((self.options.seed, self.attempt, iteration, purpose)).generate_state(1)[0])

    def _generator(self, iteration: int, purpose: int) -> torch.Generator:
        return self.world.rank_generator(torch.Generator().manual_seed(self.seed(iteration, purpose)))

    def batch(self, iteration: int) -> tuple[Tensor, Tensor]:
        """The network's input `(B, 3, R, R)`, and ground truth with hull and importance `(B, 5, R, R)`.

        Each process augments the whole batch, since faces may take on each other's colours, and keeps its own rows.
        """
        generator = torch.Generator().manual_seed(self.seed(iteration, SAMPLING))
        datasets, strength = [*self.datasets.values()], warp_strength(iteration, self.plan, self.options.schedule)
        rows = [dataset.draw(n, generator) for dataset, n in zip(datasets, self.counts, strict=True)]
        planes = torch.cat([dataset.crops(indices) for dataset, indices in zip(datasets, rows, strict=True)])
        driven = self.options.augmentation.driven
        chance = strength * (default_chance(datasets) if driven is None else driven)
        planes, faces = drive_batch(planes, rows, datasets, chance, generator) if chance else (planes, None)
        seen, truth = augment_batch(
            planes,
            self.options.augmentation,
            self.counts,
            [dataset.palette for dataset in datasets],
            self.network.size,
            self.options.margin,
            strength,
            generator,
            faces,
        )
        return (seen, truth) if self.world.size == 1 else (seen[self.rows], truth[self.rows])

    def autocast(self) -> torch.autocast:
        kind, dtype = self.compute.device.type, self.compute.autocast
        return torch.autocast(kind, dtype=dtype, enabled=dtype is not None)

    def predict(
        self, faces: Tensor, identity: str, weights: Mapping[str, Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Predict `(B, 3, R, R)` faces on the device as one identity, by default with the EMA weights."""
        faces = faces.to(memory_format=self.compute.memory_format)
        with torch.no_grad(), self.autocast():
            return torch.func.functional_call(
                self.network, dict(self.average if weights is None else weights), (faces, identity)
            )

    def tensors(self) -> dict[str, Tensor]:
        """All state of the training by name, not copied."""
        found = {f"weight/{name}": weight.detach() for name, weight in self.weights.items()}
        found |= {f"average/{name}": average for name, average in self.average.items()}
        found |= {f"before/{name}": before for name, before in self.before.items()}
        return found | state_tensors(self.optimizer, self.weights) | self.criterion.tensors()

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore the result of `tensors`.

        Raises:
            RunError: it does not fit this network.
        """
        try:
            with torch.no_grad():
                for name, weight in self.weights.items():
                    weight.copy_(tensors[f"weight/{name}"])
                    self.average[name].copy_(tensors[f"average/{name}"])
                self.before = {
                    name: torch.empty_like(average).copy_(tensors[f"before/{name}"])
                    for name, average in self.average.items()
                    if f"before/{name}" in tensors
                }
            restore_state(self.optimizer, self.weights, tensors, self.options.optimizer.name)
            self.criterion.restore(tensors)
        except (KeyError, RuntimeError) as error:
            raise RunError(f"the checkpoint does not fit model '{self.options.model}' ({error})") from error


def recompute_blocks(network: Swapper) -> None:
    """Enable gradient checkpointing: the backward pass recomputes the network's `checkpoint_blocks`.

    Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost". No block draws random numbers.

    Raises:
        ConfigError: the network declares no such blocks.
    """
    if not network.checkpoint_blocks:
        raise ConfigError(f"{type(network).__name__} has no blocks to recompute; omit --checkpointing")
    for block in network.modules():
        if isinstance(block, network.checkpoint_blocks):
            block.forward = partial(checkpoint, block.forward, use_reentrant=False, preserve_rng_state=False)
