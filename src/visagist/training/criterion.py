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

from visagist.core.device import Compute
from visagist.core.errors import ConfigError
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
        known: the same by the network as it was when face style began to act; None where no loss asks for it.
        person: as whom.
        counts: faces of each person.
    """

    latent: Tensor
    rgb: Tensor
    mask: Tensor
    swap: Tensor | None
    known: Tensor | None
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

    def draws_known_swap(self, progress: float) -> bool:
        """Whether a loss looks at the swap as the network drew it when that loss began to act."""
        return bool(self.options.face_style) and self.is_late(progress)

    def parts(self, drawn: Drawn, truth: Tensor, others: Sequence[Tensor], progress: float) -> dict[str, Tensor]:
        """The losses of a batch, or of a part of one, by the names of their weights.

        Args:
            drawn: what the network made of it.
            truth: `(B, 5, R, R)`: what should be drawn, hull, importance.
            others: of each person hull and importance `(n, 2, R, R)` of this process's faces in the other parts of the
                batch, by which losses divide, too; empty where there are no other parts.
            progress: part of the training that is done, 0 to 1.

        Returns:
            Scalars on the device, already weighed: their sum, over all parts, is to be minimised.
        """
        options = self.options
        real, guides = truth[:, :3], truth[:, 3:]
        if others:
            guides = torch.cat([guides, *others])
        hull, importance = guides[:, :1], guides[:, 1:]
        weights = pixel_weights(hull, importance, options.outside, options.eyes_mouth, options.masked)
        targets = drawn.counts[TARGET] + (len(others[TARGET]) if others else 0)
        gan = self.adversaries.get("gan") if self.is_late(progress) else None
        rgb = drawn.rgb if gan is None else gan.measured(drawn.rgb)
        found = reconstruction_parts(rgb, drawn.mask, real, hull, weights, options)
        if drawn.swap is not None:
            if self.is_late(progress):
                own = truth.split(drawn.counts)[TARGET]
                outlines = own[:, 3:4]
                if others:
                    outlines = torch.cat([outlines, others[TARGET][:, :1]])
                found |= style_parts(drawn.swap, drawn.known, own[:, :3], outlines, options)
            if self.embedder is not None:
                distance = identity_loss(self.embedder(drawn.swap), self.centroids[drawn.person], targets)
                found["identity"] = options.identity * distance
        if self.is_late(progress):
            if gan is not None:
                fake = self._shown(gan.weighed(drawn.rgb, options.gan), truth)
                found["gan"] = options.gan * gan.deceive(fake, len(hull))
            if "true_face" in self.adversaries:
                target = drawn.latent.split(drawn.counts)[TARGET]
                found["true_face"] = options.true_face * self.adversaries["true_face"].deceive(target, targets)
        return found

    def learn(
        self, parts: Sequence[tuple[Drawn, Tensor]], progress: float, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """One step of every discriminator, after the swapper's own, by all parts of a batch and their truth.

        They learn from the beginning of the part in which they act: against the random drawings of before they would
        only learn what is easy.

        Returns:
            What each of them minimises, by name, scalars on the device; see `Adversary.learn`.
        """
        found: dict[str, Tensor] = {}
        if not self.is_late(progress):
            return found
        smoothing, noise = self.options.gan_smoothing, self.options.gan_noise
        if (gan := self.adversaries.get("gan")) is not None:
            pictures = [(self._shown(truth[:, :3], truth), self._shown(drawn.rgb, truth)) for drawn, truth in parts]
            found["gan"] = gan.learn(pictures, smoothing, noise, generator)
        if (true_face := self.adversaries.get("true_face")) is not None:
            latents = [drawn.latent.split(drawn.counts) for drawn, _ in parts]
            pairs = [(each[0], each[TARGET]) for each in latents]
            found["true_face"] = true_face.learn(pairs, smoothing, noise, generator)
        return found

    def _shown(self, faces: Tensor, truth: Tensor) -> Tensor:
        """What the discriminator of pictures sees: of masked training the faces alone."""
        return faces * truth[:, 3:4] if self.options.masked else faces

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
