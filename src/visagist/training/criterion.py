"""The criterion: all losses of a training, and the discriminators that the adversarial ones need."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from visagist.core.device import Compute
from visagist.core.errors import ConfigError
from visagist.core.types import Coverage
from visagist.models import Swapper
from visagist.training.losses import LOSSES, FacePrediction, LossOptions, SwapPrediction
from visagist.training.losses.adversary import Adversary
from visagist.training.losses.discriminators import LatentDiscriminator, PatchDiscriminator
from visagist.training.losses.embedder import embedder
from visagist.training.losses.pixels import pixel_weights

SOURCE, TARGET = 0, 1  # indices of the two main identities
LATENT_WIDTH = 64  # channels of the discriminator of latents


@dataclass(frozen=True)
class Outputs:
    """Predictions for a part of a batch, identity after identity."""

    latent: Tensor  # (B, ...) from the encoder
    rgb: Tensor  # (B, 3, R, R) faces as their own identity
    mask: Tensor  # (B, 1, R, R) their masks
    truth: Tensor  # (B, 5, R, R) what should be predicted: RGB, hull, importance
    counts: tuple[int, ...]  # faces per identity
    swap: Tensor | None  # (T, 3, R, R) the target's faces as `swapped_to`, if a loss needs them
    before: Tensor | None  # the same, predicted by the network at the start of the cool-down
    swapped_to: str

    def detached(self) -> Self:
        """The same tensors, detached."""
        swap = None if self.swap is None else self.swap.detach()
        return replace(self, latent=self.latent.detach(), rgb=self.rgb.detach(), mask=self.mask.detach(), swap=swap)


class Criterion:
    """All losses of a training.

    `centroids` are `(128,)` mean embeddings of the identities, empty if unknown. Sums over faces are divided by
    `counts`, the faces per identity in the whole batch.

    Raises:
        ConfigError: a loss needs embeddings or another coverage, or the discriminator's patch is too large.
    """

    def __init__(
        self,
        options: LossOptions,
        network: Swapper,
        centroids: Mapping[str, Sequence[float]],
        coverage: Coverage,
        counts: tuple[int, ...],
        compute: Compute,
    ) -> None:
        self.options, self.counts = options, counts
        self.coverage: Coverage = coverage
        self.losses = {name: LOSSES[name] for name in options.active}
        self.swappable = [name for i, name in enumerate(network.identities) if i != TARGET]
        self.centroids = {
            name: torch.tensor(centroids.get(name, ()), device=compute.device) for name in network.identities
        }
        if any(loss.needs_centroid for loss in self.losses.values()):
            unknown = [name for name in self.swappable if not len(self.centroids[name])]
            if unknown:
                raise ConfigError(f"the identity loss needs embeddings of {', '.join(unknown)}; leave it at 0")
        if options.weight("identity"):
            embedder(coverage, network.size, compute.device)  # checks the coverage
        self.adversaries: dict[str, Adversary] = {}
        labels = options.gan_smoothing, options.gan_noise
        with compute.device:  # created on the device: some modes of torch cannot move spectral norms
            if options.gan:
                discriminator = PatchDiscriminator(options.patch(network.size), options.gan_dims)
                self.adversaries["gan"] = Adversary(discriminator, compute, *labels)
            if options.true_face:
                with torch.no_grad():
                    shape = network.encode(torch.zeros(1, 3, network.size, network.size)).shape[1:]
                self.adversaries["true_face"] = Adversary(LatentDiscriminator(shape, LATENT_WIDTH), compute, *labels)

    def swapped_to(self, iteration: int) -> str:
        """The identity that the target's faces are swapped to; identities take turns by iteration."""
        return self.swappable[iteration % len(self.swappable)]

    def needs_swap(self, is_finishing: bool) -> bool:
        """Whether a loss needs `Outputs.swap`."""
        return any(loss.of_swap and (is_finishing or not loss.finishing) for loss in self.losses.values())

    def needs_before(self, is_finishing: bool) -> bool:
        """Whether a loss needs `Outputs.before`."""
        return is_finishing and any(loss.needs_before for loss in self.losses.values())

    def __call__(self, outputs: Outputs, is_finishing: bool) -> dict[str, Tensor]:
        """Weighted losses of one part of a batch by name; the objective is their sum over parts and processes."""
        truth, hull, importance = outputs.truth.split((3, 1, 1), 1)
        weights = pixel_weights(hull, importance, self.options.outside, self.options.eyes_mouth, self.options.masked)
        gan, true_face = (self.adversaries.get(name) if is_finishing else None for name in ("gan", "true_face"))
        rgb = outputs.rgb if gan is None else gan.measured(outputs.rgb)
        faces, swap = FacePrediction(rgb, outputs.mask, truth, hull, weights), None
        if outputs.swap is not None:
            target, target_hull = (each.split(outputs.counts)[TARGET] for each in (truth, hull))
            centroid = self.centroids[outputs.swapped_to]
            swap = SwapPrediction(outputs.swap, target, target_hull, outputs.before, centroid, self.coverage)
        batch, targets = sum(self.counts), self.counts[TARGET]
        found: dict[str, Tensor] = {}
        for name, loss in self.losses.items():
            if loss.finishing and not is_finishing:
                continue
            if not loss.of_swap:
                found[name] = self.options.weight(name) * loss(faces).sum() / batch
            elif swap is not None:
                found[name] = self.options.weight(name) * loss(swap).sum() / targets
        if gan is not None:
            fake = self._visible(gan.weighted(outputs.rgb, self.options.gan), hull)
            found["gan"] = self.options.gan * gan.adversarial_loss(fake).sum() / batch
        if true_face is not None:
            latent = outputs.latent.split(outputs.counts)[TARGET]
            found["true_face"] = self.options.true_face * true_face.adversarial_loss(latent).sum() / targets
        return found

    def reconstruction(self, losses: Mapping[str, Tensor]) -> Tensor:
        """Sum of the losses with a ground truth that act during the whole training, for the stability check."""
        always = {name for name, loss in self.losses.items() if not (loss.of_swap or loss.finishing)}
        found = [value for name, value in losses.items() if name in always]
        return torch.stack(found).sum() if found else torch.zeros(())

    def discriminate(self, parts: Sequence[Outputs], generator: torch.Generator) -> dict[str, Tensor]:
        """Compute the discriminators' gradients from this process's detached parts of the batch.

        Returns this process's share of each discriminator loss, a detached scalar. `generator` is on the CPU.
        """
        found: dict[str, Tensor] = {}
        for name, adversary in self.adversaries.items():
            if name == "gan":
                real = [self._visible(each.truth[:, :3], each.truth[:, 3:4]) for each in parts]
                fake = [self._visible(each.rgb, each.truth[:, 3:4]) for each in parts]
                faces = sum(self.counts), sum(self.counts)
            else:
                latents = [each.latent.split(each.counts) for each in parts]
                real, fake = [each[SOURCE] for each in latents], [each[TARGET] for each in latents]
                faces = self.counts[SOURCE], self.counts[TARGET]
            pairs = list(zip(real, fake, strict=True))
            found[name] = adversary.backward(pairs, faces, generator)
        return found

    def _visible(self, faces: Tensor, hull: Tensor) -> Tensor:
        """The discriminator's input; in masked training only the inside of the real face's hull."""
        return faces * hull if self.options.masked else faces

    def tensors(self) -> dict[str, Tensor]:
        """State of the discriminators by name, not copied."""
        return {
            f"{name}/{key}": tensor
            for name, adversary in self.adversaries.items()
            for key, tensor in adversary.tensors().items()
        }

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore the result of `tensors`; RunError if it is from other discriminators."""
        for name, adversary in self.adversaries.items():
            prefix = f"{name}/"
            adversary.restore(
                {key.removeprefix(prefix): each for key, each in tensors.items() if key.startswith(prefix)}
            )
