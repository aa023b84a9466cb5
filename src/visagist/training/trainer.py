"""One training, step by step, without files: the core that `loop.py` drives.

- `Trainer`: network, optimizer, EMA weights; `step` does one iteration
- `faces_each`: whose faces a batch holds

`schedule.py` has how the learning rate and the random warp change over the planned iterations. Neither knows what was
before, but for the warp after a plateau: a run that is given more iterations takes the place that its iteration has in
the longer schedule. A run of 1000 that goes on to 2000 goes on with the rate, and the warp, of a run of 2000 at its
middle.

Every iteration draws its random numbers from a generator seeded with (seed, attempt, iteration). So the state of a
training is its tensors and two numbers, and it continues exactly from any iteration.
"""

import math
from collections.abc import Mapping, Sequence
from functools import cached_property

import torch
from torch import Tensor

from visagist.core.device import Compute
from visagist.core.errors import RunError
from visagist.models import Swapper, create
from visagist.training.augment import random_draws, vary
from visagist.training.config import TrainOptions
from visagist.training.criterion import TARGET, Drawn, Objective
from visagist.training.data.crops import Side
from visagist.training.distributed import World, own_parts
from visagist.training.losses import RECONSTRUCTION, FaceEmbedder
from visagist.training.optimizers import (
    build,
    improve,
    micro_batches,
    restore_state,
    state_tensors,
    suited_rate,
    update_average,
)
from visagist.training.passes import Passes, recompute
from visagist.training.run import Instalment
from visagist.training.schedule import landing_warp, learning_rate, warp_strength
from visagist.training.stability import output_variation
from visagist.training.warm_start import Start, frozen, take_over

VARIATION_EVERY = 10  # iterations
DECODING = 1 << 31  # bit of the seed of what networks draw at random; no run has so many iterations
DROPPING = 1 << 30  # of what learning-rate dropout draws
JUDGING = 1 << 29  # of what discriminators draw


def faces_each(batch: int, people: int) -> tuple[int, ...]:
    """How many of a batch's faces are whose: the source's, which must be learnt from all sides, a few more.

    >>> faces_each(8, 2), faces_each(8, 3)
    ((5, 3), (3, 3, 2))
    """
    if people == 2:
        target = max(1, batch * 7 // 16)
        return (batch - target, target)
    return tuple(batch // people + (i < batch % people) for i in range(people))


class Trainer:
    """A network in training.

    Attributes:
        sides: everybody's crops by name, the source first, the target second, then the others.
        network: the weights as the optimizer leaves them.
        trained: those that are not frozen, by name.
        average: exponential moving average of every weight by name; what predictions use.
        known: what that was when face style began to act, for faces to keep all but their light; empty before.
        rate: the learning rate that the schedule scales; the guard halves it.
        landing: the plan that a plateau has cut short, where one has.
        attempt: how often the guard has gone back; part of every seed.
        world: the processes that train together.
        counts: faces of each person in a batch, that of all processes together.
        own: rows of the batch that this process computes, and `parts` of these, one after the other.
        objective: all losses, and the discriminators among them.
        losses: the parts of the latest loss by name, scalars on the device.
        judges: what each discriminator minimised in the latest iteration, alike; empty where none acts yet.
        variations: of each person how much the faces just drawn differed from each other (`guard.output_variation`),
            a scalar on the device; every 10th iteration, else empty.
    """

    def __init__(
        self,
        sides: Mapping[str, Side],
        options: TrainOptions,
        iterations: int,
        compute: Compute,
        start: Start | None = None,
    ) -> None:
        self.sides = dict(sides)
        self.options, self.iterations, self.compute = options, iterations, compute
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(options.seed)
            network = create(options.model, tuple(sides), **options.settings)
        if start is not None:
            take_over(network, start.weights, start.beginning.identities)
        self.network: Swapper = network.to(compute.device)
        self.network.to(memory_format=compute.memory_format)  # pyright: ignore[reportCallIssue] - missing in torch's stubs
        if options.checkpointing:
            recompute(self.network)
        self.passes = Passes(self.network, options.compile, compute)
        self.rate = options.learning_rate or suited_rate(options.optimizer.name, network.learning_rate)
        self.landing: Instalment | None = None
        self.attempt = 0
        self.counts = faces_each(options.batch, len(sides))
        parts = micro_batches(self.counts, options.optimizer.accumulate)
        self.world = World.now()
        self.own, self.parts = own_parts(parts, self.world)
        self.losses: dict[str, Tensor] = {}
        self.judges: dict[str, Tensor] = {}
        self.variations: dict[str, Tensor] = {}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(options.seed)
            self.begin()

    def begin(self) -> None:
        """Averages, optimizer and objective anew, for the weights that the network has."""
        self.weights = dict(self.network.named_parameters())
        self.average = {name: weight.detach().clone() for name, weight in self.weights.items()}
        self.known: dict[str, Tensor] = {}
        kept = frozen(self.network, self.options.freeze)
        for name in kept:
            self.weights[name].requires_grad_(False)
        self.trained = {name: weight for name, weight in self.weights.items() if name not in kept}
        self.optimizer = build(self.trained.values(), self.options.optimizer, self.rate, self.compute)
        centroids = {name: side.centroid for name, side in self.sides.items() if side is not None}
        embedder = self.embedder if self.options.losses.identity else None
        self.objective = Objective(self.options.losses, self.network, centroids, embedder, self.compute)

    @cached_property
    def embedder(self) -> FaceEmbedder:
        """What the identity loss looks with; not changed by training."""
        return FaceEmbedder(self.options.coverage, self.network.size).to(self.compute.device)

    def step(self, iteration: int) -> float:
        """One iteration: draw, vary, encode, decode, compare, improve.

        Returns:
            The loss; not a number if anything of it, a gradient or a discriminator is not.
        """
        loss, norm = self.learn(iteration, *self.batch(iteration))
        return loss.item() if torch.stack([norm, *self.judges.values()]).isfinite().all() else math.nan

    def likeness(self) -> float:
        """The parts of the latest loss that compare faces with themselves: unlike others they act all along."""
        found = [part for name, part in self.losses.items() if name in RECONSTRUCTION]
        return torch.stack(found).sum().item()

    def learn(self, iteration: int, seen: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
        """Improve the weights by a batch, without looking at values.

        Args:
            iteration: which one.
            seen: `(B, 3, R, R)`, everybody's faces after each other; of several processes each gives its `own`.
            truth: `(B, 5, R, R)`, what should be drawn, with hull and importance.

        Returns:
            The loss of the whole batch, and the norm of its gradient, scalars on the device.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate * learning_rate(iteration, self.iterations, self.options.schedule)
        generator = self.world.apart(torch.Generator().manual_seed(self.seed(iteration) ^ DECODING))
        progress = iteration / self.iterations
        drawn: list[Drawn] = []
        real: list[Tensor] = []
        self.losses = {}
        for rows, counts in self.parts:
            mine = slice(None) if len(self.parts) == 1 else rows
            drawn.append(self.draw(seen[mine], counts, iteration, generator))
            real.append(truth[mine])
            parts = self.objective.parts(drawn[-1], real[-1], self.others(rows, counts, truth), progress)
            total = sum(parts.values(), start=torch.zeros((), device=seen.device))
            total.backward()
            drawn[-1] = drawn[-1].detached()
            for name, part in {"loss": total, **parts}.items():
                self.losses[name] = self.losses.get(name, 0) + part.detach()
        self.losses = self.world.added(self.losses)
        self.variations = self.variation(drawn, truth) if iteration % VARIATION_EVERY == 0 else {}
        chosen = self.options.optimizer
        self.world.add_gradients(self.trained.values())
        norm = improve(self.optimizer, self.trained.values(), chosen, self.seed(iteration) ^ DROPPING)
        update_average(self.optimizer, self.weights, self.average, iteration, chosen)
        judging = self.world.apart(torch.Generator().manual_seed(self.seed(iteration) ^ JUDGING))
        self.judges = self.objective.learn(list(zip(drawn, real, strict=True)), progress, judging)
        if self.judges:
            self.judges = self.world.added(self.judges)
        return self.losses["loss"], norm

    def others(self, rows: list[int], counts: tuple[int, ...], truth: Tensor) -> tuple[Tensor, ...]:
        """Of each person hulls and importance of the faces that are not in a part; empty where that is the batch."""
        if len(self.parts) == 1:
            return ()
        everybody = [sum(person) for person in zip(*(each for _, each in self.parts), strict=True)]
        left = sorted(set(range(len(truth))) - set(rows))
        return truth[:, 3:][left].split([of_all - here for of_all, here in zip(everybody, counts, strict=True)])

    def draw(self, seen: Tensor, counts: tuple[int, ...], iteration: int, generator: torch.Generator) -> Drawn:
        """Encode a batch, or a part of one with so many faces of each person, and decode all that losses look at."""
        person, swap, known = self.objective.appears(iteration), None, None
        progress = iteration / self.iterations
        with self.autocast():
            latent = self.passes.encode(seen)
            parts = latent.split(counts)
            drawn = [
                self.passes.decode_in_training(part, name, generator)
                for part, name in zip(parts, self.sides, strict=True)
            ]
            if self.objective.draws_swap(progress):
                swap, _ = self.passes.decode_for_swap(parts[TARGET], person)
        if self.objective.draws_known_swap(progress):
            self.known = self.known or {name: average.clone() for name, average in self.average.items()}
            known, _ = self.predict(seen.split(counts)[TARGET], person, self.known)
        else:
            self.known = {}  # of an end that has become the middle of a longer training
        rgb, mask = (torch.cat(planes) for planes in zip(*drawn, strict=True))
        return Drawn(latent, rgb, mask, swap, known, person, counts)

    def variation(self, drawn: Sequence[Drawn], truth: Tensor) -> dict[str, Tensor]:
        """How much each person's faces just drawn differ from each other, against the real ones."""
        rgb = torch.empty_like(truth[:, :3])
        for (rows, _), part in zip(self.parts, drawn, strict=True):
            rgb[rows] = part.rgb
        if self.world.size > 1:  # differences are those of all faces
            rgb, truth = (self.world.gathered(own, self.own, sum(self.counts)) for own in (rgb, truth[:, :4]))
        faces = zip(self.sides, rgb.split(self.counts), truth.split(self.counts), strict=True)
        return {name: output_variation(own, real[:, :3], real[:, 3:4]) for name, own, real in faces}

    def seed(self, iteration: int) -> int:
        """Of the random numbers of one iteration."""
        return (self.options.seed * 16 + self.attempt) * 2**32 + iteration

    def batch(self, iteration: int) -> tuple[Tensor, Tensor]:
        """What the network sees `(B, 3, R, R)`, and what it should draw with hull and importance `(B, 5, R, R)`.

        Every process varies the whole batch, since faces may take on each other's colours, and keeps its `own`.
        """
        generator = torch.Generator().manual_seed(self.seed(iteration))
        sides = self.sides.values()
        planes = torch.cat([side.draw(n, generator) for side, n in zip(sides, self.counts, strict=True)])
        draws = random_draws(
            self.options.augmentation,
            self.counts,
            [side.palette for side in sides],
            self.network.size,
            self.warp(iteration),
            generator,
            self.compute.device,
        )
        seen, truth = vary(planes, draws, self.options.margin)
        return (seen, truth) if self.world.size == 1 else (seen[self.own], truth[self.own])

    def warp(self, iteration: int) -> float:
        """Part of the full random warp in an iteration."""
        total, schedule, before = self.iterations, self.options.schedule, self.landing
        if before is None:
            return warp_strength(iteration, total, schedule)
        return landing_warp(iteration, total, before.until, before.iterations, schedule)

    def autocast(self) -> torch.autocast:
        """The precision in which the network computes."""
        kind, dtype = self.compute.device.type, self.compute.autocast
        return torch.autocast(kind, dtype=dtype, enabled=dtype is not None)

    def predict(
        self, faces: Tensor, identity: str, weights: Mapping[str, Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Draw `(B, 3, R, R)` faces on the device as one person, with the EMA weights or others."""
        faces = faces.to(memory_format=self.compute.memory_format)
        with torch.no_grad(), self.autocast():
            return torch.func.functional_call(
                self.network, dict(self.average if weights is None else weights), (faces, identity)
            )

    def tensors(self) -> dict[str, Tensor]:
        """Everything that changes, by name; no copies."""
        found = {f"weight/{name}": weight.detach() for name, weight in self.weights.items()}
        found |= {f"average/{name}": average for name, average in self.average.items()}
        found |= {f"known/{name}": known for name, known in self.known.items()}
        return found | state_tensors(self.optimizer, self.weights) | self.objective.tensors()

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Take over what `tensors` gave at another time.

        Raises:
            RunError: they are not of this network.
        """
        try:
            with torch.no_grad():
                for name, weight in self.weights.items():
                    weight.copy_(tensors[f"weight/{name}"])
                    self.average[name].copy_(tensors[f"average/{name}"])
                self.known = {
                    name: torch.empty_like(average).copy_(tensors[f"known/{name}"])
                    for name, average in self.average.items()
                    if f"known/{name}" in tensors
                }
            restore_state(self.optimizer, self.weights, tensors, self.options.optimizer.name)
            self.objective.restore(tensors)
        except (KeyError, RuntimeError) as error:
            raise RunError(f"the checkpoint is not of model '{self.options.model}' as it is here ({error})") from error
