"""The criterion: all losses that a training minimises, with the discriminators that some of them need."""

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

SOURCE, TARGET = 0, 1  # places of the two main identities
LATENT_WIDTH = 64  # channels of the discriminator of latents


@dataclass(frozen=True)
class Outputs:
    """What the network made of a part of a batch, identity after identity.

    Attributes:
        latent: `(B, ...)` from the encoder.
        rgb: `(B, 3, R, R)` faces predicted as themselves.
        mask: `(B, 1, R, R)` their masks.
        truth: `(B, 5, R, R)` what should be predicted: RGB, hull, importance.
        counts: faces of each identity.
        swap: `(T, 3, R, R)` the target's faces predicted as `swapped_to`; None if no loss needs it.
        before: the same by the network at the beginning of the cool-down; None if no loss needs it.
        swapped_to: an identity.
    """

    latent: Tensor
    rgb: Tensor
    mask: Tensor
    truth: Tensor
    counts: tuple[int, ...]
    swap: Tensor | None
    before: Tensor | None
    swapped_to: str

    def detached(self) -> Self:
        """The same without its graph."""
        swap = None if self.swap is None else self.swap.detach()
        return replace(self, latent=self.latent.detach(), rgb=self.rgb.detach(), mask=self.mask.detach(), swap=swap)


class Criterion:
    """All losses of a training.

    Args:
        options: weights.
        network: to be trained.
        centroids: `(128,)` mean embedding of each identity, empty if unknown.
        coverage: of the faces.
        counts: faces of each identity in the whole batch, by which sums over faces are divided.
        compute: device and precision.

    Raises:
        ConfigError: the identity loss is asked for without embeddings or for a coverage that does not show the face, or
            the discriminator's patches are larger than faces.
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
        self.losses = {name: (options.weight(name), LOSSES[name]) for name in options.active}
        self.identities = network.identities
        if any(loss.needs_centroid for _, loss in self.losses.values()):
            nameless = [name for name in self.swappable if len(centroids.get(name, ())) == 0]
            if nameless:
                raise ConfigError(f"the identity loss needs embeddings of {', '.join(nameless)}; leave it at 0")
        if options.weight("identity"):
            embedder(coverage, network.size, compute.device)  # refuses a coverage that does not show the face
        self.centroids = {
            name: torch.tensor(centroids.get(name, ()), device=compute.device) for name in self.identities
        }
        self.adversaries: dict[str, Adversary] = {}
        with compute.device:  # spectral norms hold tensors that cannot be moved in every mode of torch
            if options.gan:
                patches = PatchDiscriminator(options.patch(network.size), options.gan_dims)
                self.adversaries["gan"] = Adversary(patches, compute)
            if options.true_face:
                with torch.no_grad():
                    shape = network.encode(torch.zeros(1, 3, network.size, network.size)).shape[1:]
                self.adversaries["true_face"] = Adversary(LatentDiscriminator(shape, LATENT_WIDTH), compute)

    @property
    def swappable(self) -> list[str]:
        """Identities that can appear in place of the target."""
        return [name for i, name in enumerate(self.identities) if i != TARGET]

    def swapped_to(self, iteration: int) -> str:
        """The identity that the target's faces are predicted as in an iteration: each in turn."""
        return self.swappable[iteration % len(self.swappable)]

    def needs_swap(self, is_finishing: bool) -> bool:
        """Whether a loss looks at the swap."""
        return any(loss.of_swap and (is_finishing or not loss.finishing) for _, loss in self.losses.values())

    def needs_before(self, is_finishing: bool) -> bool:
        """Whether a loss looks at the swap as it was when the cool-down began."""
        return is_finishing and any(loss.needs_before for _, loss in self.losses.values())

    def __call__(self, outputs: Outputs, is_finishing: bool) -> dict[str, Tensor]:
        """Weighted losses of a part of a batch, by name: its share of those of the whole batch.

        Args:
            outputs: of the network.
            is_finishing: whether the cool-down has begun.

        Returns:
            Scalars on the device. Over all parts and processes, their sum is to be minimised.
        """
        truth, hull, importance = outputs.truth.split((3, 1, 1), 1)
        weights = pixel_weights(hull, importance, self.options.outside, self.options.eyes_mouth, self.options.masked)
        gan = self.adversaries.get("gan") if is_finishing else None
        rgb = outputs.rgb if gan is None else gan.measured(outputs.rgb)
        faces = FacePrediction(rgb, outputs.mask, truth, hull, weights)
        swap = self._swap(outputs)
        batch, targets = sum(self.counts), self.counts[TARGET]
        found: dict[str, Tensor] = {}
        for name, (weight, loss) in self.losses.items():
            if loss.finishing and not is_finishing:
                continue
            if not loss.of_swap:
                found[name] = weight * loss(faces).sum() / batch
            elif swap is not None:
                found[name] = weight * loss(swap).sum() / targets
        if gan is not None:
            fake = self._shown(gan.weighted(outputs.rgb, self.options.gan), outputs.truth)
            found["gan"] = self.options.gan * gan.adversarial_loss(fake).sum() / batch
        if is_finishing and "true_face" in self.adversaries:
            latent = outputs.latent.split(outputs.counts)[TARGET]
            found["true_face"] = (
                self.options.true_face * self.adversaries["true_face"].adversarial_loss(latent).sum() / targets
            )
        return found

    def reconstruction(self, losses: Mapping[str, Tensor]) -> Tensor:
        """Sum of the losses that act during the whole training, for the stability check."""
        found = [part for name, part in losses.items() if self._acts_always(name)]
        return torch.stack(found).sum() if found else torch.zeros(())

    def _acts_always(self, name: str) -> bool:
        return name in self.losses and not (self.losses[name][1].of_swap or self.losses[name][1].finishing)

    def _swap(self, outputs: Outputs) -> SwapPrediction | None:
        if outputs.swap is None:
            return None
        target = outputs.truth.split(outputs.counts)[TARGET]
        centroid = self.centroids[outputs.swapped_to]
        return SwapPrediction(outputs.swap, target[:, :3], target[:, 3:4], outputs.before, centroid, self.coverage)

    def discriminate(self, parts: Sequence[Outputs], generator: torch.Generator) -> dict[str, Tensor]:
        """Gradients of the discriminators' own losses; they learn during the cool-down only.

        Args:
            parts: detached outputs of this process's parts of the batch.
            generator: of the CPU.

        Returns:
            This process's shares of their losses, scalars without gradient.
        """
        smoothing, noise = self.options.gan_smoothing, self.options.gan_noise
        batch = sum(self.counts)
        found: dict[str, Tensor] = {}
        if (gan := self.adversaries.get("gan")) is not None:
            pictures = [
                (self._shown(each.truth[:, :3], each.truth), self._shown(each.rgb, each.truth)) for each in parts
            ]
            found["gan"] = gan.backward(pictures, (batch, batch), smoothing, noise, generator)
        if (true_face := self.adversaries.get("true_face")) is not None:
            latents = [each.latent.split(each.counts) for each in parts]
            pairs = [(each[SOURCE], each[TARGET]) for each in latents]
            faces = self.counts[SOURCE], self.counts[TARGET]
            found["true_face"] = true_face.backward(pairs, faces, smoothing, noise, generator)
        return found

    def _shown(self, faces: Tensor, truth: Tensor) -> Tensor:
        """What the discriminator of pictures sees: in masked training the faces alone."""
        return faces * truth[:, 3:4] if self.options.masked else faces

    def tensors(self) -> dict[str, Tensor]:
        """The state of the discriminators by name; no copies."""
        return {
            f"{name}/{key}": tensor
            for name, adversary in self.adversaries.items()
            for key, tensor in adversary.tensors().items()
        }

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over what `tensors` returned at another time.

        Raises:
            RunError: they are not of these discriminators.
        """
        for name, adversary in self.adversaries.items():
            adversary.restore(
                {key.partition("/")[2]: tensor for key, tensor in tensors.items() if key.startswith(f"{name}/")}
            )
