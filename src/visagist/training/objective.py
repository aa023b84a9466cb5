"""What one iteration is to minimise: all losses that the options ask for, with the networks that some of them need.

- `Objective`: the losses of a batch, in parts; it has discriminators that learn along
- `Drawn`: what the network made of a batch

Losses of three kinds meet here. Those of faces drawn as themselves need nothing but pictures. Those of the swap need
one more drawing: the target's faces as somebody else, in turn as each person there is. And those of discriminators need
networks that learn too; they change after the swapper has, and what they have learnt belongs to a checkpoint.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from visagist.device import Compute
from visagist.errors import ConfigError
from visagist.models import Swapper
from visagist.training.losses import (
    Adversary,
    FaceEmbedder,
    LatentDiscriminator,
    LossOptions,
    PatchDiscriminator,
    identity_loss,
    pixel_weights,
    reconstruction_parts,
    style_parts,
)

TARGET = 1  # whose place among the people is the target's
LATENT_WIDTH = 64  # channels of the discriminator of latents


@dataclass(frozen=True)
class Drawn:
    """What the network made of a batch, everybody's faces after each other.

    Attributes:
        latent: `(B, ...)`, what the encoder gave.
        rgb: `(B, 3, R, R)` faces drawn as themselves.
        mask: `(B, 1, R, R)` their masks.
        swap: `(T, 3, R, R)` the target's faces drawn as somebody else; None where no loss asks for it.
        person: as whom.
        counts: faces of each person.
    """

    latent: Tensor
    rgb: Tensor
    mask: Tensor
    swap: Tensor | None
    person: str
    counts: tuple[int, ...]

    def detached(self) -> Self:
        """The same without the way back to the weights: what was kept for that is let go of."""
        swap = None if self.swap is None else self.swap.detach()
        return replace(self, latent=self.latent.detach(), rgb=self.rgb.detach(), mask=self.mask.detach(), swap=swap)


class Objective:
    """All losses of a training.

    Args:
        options: their weights.
        network: to be trained.
        centroids: `(128,)` mean embedding of each person, empty where nobody knows.
        embedder: where the identity loss is asked for.
        compute: where and in which precision.

    Raises:
        ConfigError: a loss is asked for that cannot be had: the identity of a person without embeddings, or patches
            larger than faces.
    """

    def __init__(
        self,
        options: LossOptions,
        network: Swapper,
        centroids: Mapping[str, Sequence[float]],
        embedder: FaceEmbedder | None,
        compute: Compute,
    ) -> None:
        self.options, self.compute = options, compute
        self.people = network.identities
        self.embedder = embedder
        if embedder is not None:
            nameless = [name for name in self.appearing if len(centroids.get(name, ())) == 0]
            if nameless:
                raise ConfigError(f"the identity loss needs embeddings of {', '.join(nameless)}; leave it at 0")
        self.centroids = {name: torch.tensor(centroids.get(name, ()), device=compute.device) for name in self.people}
        self.adversaries: dict[str, Adversary] = {}
        with compute.device:  # made where they work: what spectral norms hold cannot be moved in every mode of torch
            if options.gan:
                patches = PatchDiscriminator(options.patch(network.size), options.gan_dims)
                self.adversaries["gan"] = Adversary(patches, compute)
            if options.true_face:
                with torch.no_grad():
                    shape = network.encode(torch.zeros(1, 3, network.size, network.size)).shape[1:]
                self.adversaries["true_face"] = Adversary(LatentDiscriminator(shape, LATENT_WIDTH), compute)

    @property
    def appearing(self) -> list[str]:
        """Who may appear in place of the target."""
        return [name for i, name in enumerate(self.people) if i != TARGET]

    def appears(self, iteration: int) -> str:
        """As whom the target's faces are drawn in an iteration."""
        return self.appearing[iteration % len(self.appearing)]

    def is_late(self, progress: float) -> bool:
        """Whether the losses for the end of a training act; `progress` is the part of it that is done, 0 to 1."""
        return progress >= 1 - self.options.finish

    def draws_swap(self, progress: float) -> bool:
        """Whether a loss looks at the swap."""
        return bool(self.options.identity) or (self.options.styles and self.is_late(progress))

    def parts(self, drawn: Drawn, truth: Tensor, progress: float) -> dict[str, Tensor]:
        """The losses of a batch, by the names of their weights.

        Args:
            drawn: what the network made of it.
            truth: `(B, 5, R, R)`: what should be drawn, hull, importance.
            progress: part of the training that is done, 0 to 1.

        Returns:
            Scalars on the device, already weighed: their sum is to be minimised.
        """
        options = self.options
        real, hull, importance = truth[:, :3], truth[:, 3:4], truth[:, 4:5]
        weights = pixel_weights(hull, importance, options.outside, options.eyes_mouth, options.masked)
        found = reconstruction_parts(drawn.rgb, drawn.mask, real, hull, weights, options)
        if drawn.swap is not None:
            own = slice(drawn.counts[0], drawn.counts[0] + drawn.counts[TARGET])
            if self.is_late(progress):
                found |= style_parts(drawn.swap, real[own], hull[own], options)
            if self.embedder is not None:
                embeddings = self.embedder(drawn.swap)
                found["identity"] = options.identity * identity_loss(embeddings, self.centroids[drawn.person])
        if self.is_late(progress):
            if "gan" in self.adversaries:
                found["gan"] = options.gan * self.adversaries["gan"].deceive(self._shown(drawn.rgb, hull))
            if "true_face" in self.adversaries:
                target = drawn.latent.split(drawn.counts)[TARGET]
                found["true_face"] = options.true_face * self.adversaries["true_face"].deceive(target)
        return found

    def learn(self, drawn: Drawn, truth: Tensor, progress: float, generator: torch.Generator) -> dict[str, Tensor]:
        """One step of every discriminator, after the swapper's own.

        They learn from the beginning of the part in which they act: against the random drawings of before they would
        only learn what is easy.

        Returns:
            What each of them minimises, by name, scalars on the device; see `Adversary.learn`.
        """
        found: dict[str, Tensor] = {}
        if not self.is_late(progress):
            return found
        smoothing, noise = self.options.gan_smoothing, self.options.gan_noise
        hull = truth[:, 3:4]
        if (gan := self.adversaries.get("gan")) is not None:
            real, fake = self._shown(truth[:, :3], hull), self._shown(drawn.rgb, hull)
            found["gan"] = gan.learn(real, fake, smoothing, noise, generator)
        if (true_face := self.adversaries.get("true_face")) is not None:
            source, target = drawn.latent.split(drawn.counts)[: TARGET + 1]
            found["true_face"] = true_face.learn(source, target, smoothing, noise, generator)
        return found

    def _shown(self, faces: Tensor, hull: Tensor) -> Tensor:
        """What the discriminator of pictures sees: of masked training the faces alone."""
        return faces * hull if self.options.masked else faces

    def tensors(self) -> dict[str, Tensor]:
        """All that the discriminators have learnt, by name; no copies."""
        return {
            f"{name}/{key}": tensor
            for name, adversary in self.adversaries.items()
            for key, tensor in adversary.tensors().items()
        }

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over what `tensors` gave at another time.

        Raises:
            RunError: they are not of these discriminators.
        """
        for name, adversary in self.adversaries.items():
            own = {key.partition("/")[2]: tensor for key, tensor in tensors.items() if key.startswith(f"{name}/")}
            adversary.restore(own)
