"""A discriminator in training against the swapper.

The loss is the non-saturating logistic one (Goodfellow et al. 2014, "Generative Adversarial Nets"): softplus of the
logits. Unlike the hinge's, its gradient never ends, so that a discriminator that wins still teaches; and labels have a
meaning in it, so that one-sided smoothing (Salimans et al. 2016) and wrong labels work as users know them.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils.parametrize import is_parametrized

from visagist.core.device import Compute
from visagist.core.errors import RunError
from visagist.training.losses.discriminators import LatentDiscriminator, PatchDiscriminator
from visagist.training.optimizers import restore_state, state_tensors

RATE, BETAS = 1e-3, (0.5, 0.99)  # of Adam: fast, for a discriminator has the last part of a training to learn in
MEMORY = 0.9  # of the running means by which gradients are compared: some ten iterations


def discriminator_loss(
    real: Sequence[Tensor], fake: Sequence[Tensor], smoothing: float, noise: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """What a discriminator minimises: cross-entropy of its logits with what each face is.

    Args:
        real: maps of logits `(B, 1, h, w)` of real faces (true face: of the source's latents).
        fake: the same of predicted faces (of the target's latents), computed from detached input.
        smoothing: the label of real faces is 1 minus this.
        noise: part of the faces, by chance, that count as what they are not.
        generator: of the CPU.

    Returns:
        `(B,)` for real and `(B,)` for fake faces; each map counts alike. The sum of both means is 1.386 for a
        discriminator that knows nothing.

    >>> logits = (torch.zeros(2, 1, 4, 4), torch.zeros(2, 1, 8, 8))
    >>> real, fake = discriminator_loss(logits, logits, 0.0, 0.0, torch.Generator())
    >>> round((real.mean() + fake.mean()).item(), 3)
    1.386
    """
    losses: list[Tensor] = []
    for maps, label, other in ((real, 1 - smoothing, 0.0), (fake, 0.0, 1 - smoothing)):
        turned = torch.rand(len(maps[0]), 1, 1, 1, generator=generator) < noise  # one draw per face, for all its maps
        labels = torch.where(turned, other, label).to(maps[0].device)
        found = [F.binary_cross_entropy_with_logits(each, labels.expand_as(each), reduction="none") for each in maps]
        losses.append(torch.stack([each.mean((1, 2, 3)) for each in found]).mean(0))
    return losses[0], losses[1]


def generator_loss(fake: Sequence[Tensor]) -> Tensor:
    """What the swapper minimises to deceive a discriminator, `(B,)`; 0.693 against one that knows nothing.

    Args:
        fake: maps of logits `(B, 1, h, w)` of predicted faces (true face: of the target's latents), with gradient.

    >>> round(generator_loss((torch.zeros(2, 1, 4, 4), torch.zeros(2, 1, 8, 8))).mean().item(), 3)
    0.693
    """
    return torch.stack([F.softplus(-logits).mean((1, 2, 3)) for logits in fake]).mean(0)


class Adversary:
    """A discriminator with an optimizer of its own.

    In one iteration `deceive` is part of the swapper's loss; `backward` and `step` follow with the same pictures or
    latents, whose gradients the trainer sums over all processes together with the swapper's.

    Args:
        network: on the device.
        compute: device and precision.
    """

    def __init__(self, network: PatchDiscriminator | LatentDiscriminator, compute: Compute) -> None:
        self.network, self.compute = network.eval(), compute  # in eval mode spectral norms stay what they are
        self.weights = dict(self.network.named_parameters())
        self.optimizer = torch.optim.Adam(self.weights.values(), lr=RATE, betas=BETAS)
        self.felt = torch.zeros(2, device=compute.device)  # squared gradients of this iteration: its own, all others'
        self.pulls = torch.zeros(2, device=compute.device)  # running means of them

    def weighted(self, fake: Tensor, weight: float) -> Tensor:
        """A view of predicted faces whose gradient is `weight` times as strong as that of the faces `measured`.

        In the mean of some iterations, and 0 in the first. The strength of a discriminator's own gradient varies
        tenfold from one iteration to the next, as it wins or loses by a hair. (Esser, Rombach and Ommer 2021, "Taming
        Transformers for High-Resolution Image Synthesis", use the same ratio of one layer and one iteration.)
        """
        own, others = self.pulls
        factor = weight * (others / own.clamp_min(torch.finfo(own.dtype).tiny)).sqrt()

        def scale(gradient: Tensor) -> Tensor:
            self.felt[0] += gradient.float().square().sum()
            return factor.to(gradient.dtype) * gradient

        return _with_hook(fake, scale)

    def measured(self, predicted: Tensor) -> Tensor:
        """A view of predicted faces for all other losses, whose gradient the discriminator's is weighted against."""

        def measure(gradient: Tensor) -> None:
            self.felt[1] += gradient.float().square().sum()

        return _with_hook(predicted, measure)

    def deceive(self, fake: Tensor) -> Tensor:
        """`generator_loss`, `(B,)`. Gradients go to `fake` alone."""
        self.network.requires_grad_(requires_grad=False)
        try:
            return generator_loss(self.judge(fake))
        finally:
            self.network.requires_grad_()

    def backward(
        self,
        parts: Sequence[tuple[Tensor, Tensor]],
        faces: tuple[int, int],
        smoothing: float,
        noise: float,
        generator: torch.Generator,
    ) -> Tensor:
        """Gradients of the discriminator's own loss.

        Args:
            parts: real and predicted faces (or latents) of each part of this process's batch.
            faces: real and predicted ones in the whole batch, all processes together.
            smoothing: see `discriminator_loss`.
            noise: the same.
            generator: the same.

        Returns:
            This process's share of the loss, a scalar without gradient.
        """
        self._measure_norms()
        shares: list[Tensor] = []
        for real, fake in parts:
            judged = self.judge(real.detach()), self.judge(fake.detach())
            of_real, of_fake = discriminator_loss(*judged, smoothing, noise, generator)
            shares.append(of_real.sum() / faces[0] + of_fake.sum() / faces[1])
            shares[-1].backward()
        return torch.stack(shares).detach().sum()

    @torch.no_grad()
    def step(self) -> Tensor:
        """One step by gradients and `felt` that are sums over all processes; the norm of the gradients."""
        self.pulls.copy_(torch.where(self.pulls > 0, torch.lerp(self.felt, self.pulls, MEMORY), self.felt))
        self.felt.zero_()
        norm = torch.nn.utils.get_total_norm([w.grad for w in self.weights.values() if w.grad is not None])
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return norm

    @torch.no_grad()
    def _measure_norms(self) -> None:
        """One power iteration for each spectral norm, however many parts a batch has."""
        self.network.train()
        for layer in self.network.modules():
            if is_parametrized(layer):
                _ = layer.weight  # computed whenever it is read; in training mode with one more power iteration
        self.network.eval()

    def judge(self, faces: Tensor) -> tuple[Tensor, ...]:
        """Maps of logits, float32."""
        dtype = self.compute.autocast
        with torch.autocast(self.compute.device.type, dtype=dtype, enabled=dtype is not None):
            return self.network(faces)

    def tensors(self) -> dict[str, Tensor]:
        """Everything that changes, by name; no copies."""
        found = {f"state/{name}": tensor.detach() for name, tensor in self.network.state_dict().items()}
        return found | {"pulls": self.pulls} | state_tensors(self.optimizer, self.weights)

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over what `tensors` returned at another time.

        Raises:
            RunError: they are not of this discriminator.
        """
        try:
            self.network.load_state_dict({name: tensors[f"state/{name}"] for name in self.network.state_dict()})
            self.pulls.copy_(tensors["pulls"])
            self.felt.zero_()
            restore_state(self.optimizer, self.weights, tensors, "adamw")  # which remembers what Adam does
        except (KeyError, RuntimeError) as error:
            raise RunError(f"the checkpoint's {type(self.network).__name__} does not fit ({error})") from error


def _with_hook(tensor: Tensor, hook: Callable[[Tensor], Tensor | None]) -> Tensor:
    """A view whose gradient, apart from that of other views, goes through `hook`."""
    view = tensor.view_as(tensor)
    if view.requires_grad:  # frozen weights give none
        view.register_hook(hook)
    return view
