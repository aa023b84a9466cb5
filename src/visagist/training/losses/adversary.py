"""A discriminator trained against the swapper.

The loss is the non-saturating logistic loss (Goodfellow et al. 2014, "Generative Adversarial Nets"). Unlike the hinge
loss, it has a gradient even where the discriminator is certain, and allows label smoothing (Salimans et al. 2016,
"Improved Techniques for Training GANs") and label noise.
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

LEARNING_RATE, BETAS = 1e-3, (0.5, 0.99)  # a high rate, because a discriminator only learns during the cool-down
GRADIENT_DECAY = 0.9  # of the running means of squared gradients


def discriminator_loss(
    real: Sequence[Tensor], fake: Sequence[Tensor], smoothing: float, noise: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Cross-entropy of logit maps `(B, 1, h, w)` of real and fake faces, `(B,)` each; logits of 0 give 0.693.

    Real faces have the label 1 - `smoothing`; `noise` is the probability that a face gets the wrong label.
    """
    losses: list[Tensor] = []
    for maps, label, wrong in ((real, 1 - smoothing, 0.0), (fake, 0.0, 1 - smoothing)):
        is_wrong = torch.rand(len(maps[0]), 1, 1, 1, generator=generator) < noise  # for all maps of a face
        labels = torch.where(is_wrong, wrong, label).to(maps[0].device)
        found = [F.binary_cross_entropy_with_logits(each, labels.expand_as(each), reduction="none") for each in maps]
        losses.append(torch.stack([each.mean((1, 2, 3)) for each in found]).mean(0))
    return losses[0], losses[1]


def generator_loss(fake: Sequence[Tensor]) -> Tensor:
    """The swapper's adversarial loss, `(B,)`, from logit maps `(B, 1, h, w)`; logits of 0 give 0.693."""
    return torch.stack([F.softplus(-logits).mean((1, 2, 3)) for logits in fake]).mean(0)


class Adversary:
    """A discriminator with its own optimizer.

    In each iteration, `adversarial_loss` is part of the swapper's loss; then `backward` and `step` train the
    discriminator on the same faces. In between, gradients and `gradient_squares` are summed over all processes.
    """

    def __init__(
        self, network: PatchDiscriminator | LatentDiscriminator, compute: Compute, smoothing: float, noise: float
    ) -> None:
        self.network, self.compute = network.eval(), compute  # in eval mode spectral norms are not updated
        self.smoothing, self.noise = smoothing, noise  # of labels, see `discriminator_loss`
        self.weights = dict(self.network.named_parameters())
        self.optimizer = torch.optim.Adam(self.weights.values(), lr=LEARNING_RATE, betas=BETAS)
        self.gradient_squares = torch.zeros(
            2, device=compute.device
        )  # of the adversarial loss, and of all other losses
        self.mean_squares = torch.zeros(2, device=compute.device)  # their running means

    def weighted(self, fake: Tensor, weight: float) -> Tensor:
        """A view of predicted faces that scales its gradient to `weight` times that of the view `measured`.

        The scale, 0 at first, is a ratio of running means, since a discriminator's gradient varies tenfold between
        iterations (Esser, Rombach and Ommer 2021, "Taming Transformers for High-Resolution Image Synthesis",
        use the ratio of one iteration).
        """
        own, others = self.mean_squares
        factor = weight * (others / own.clamp_min(torch.finfo(own.dtype).tiny)).sqrt()

        def scale(gradient: Tensor) -> Tensor:
            self.gradient_squares[0] += gradient.float().square().sum()
            return factor.to(gradient.dtype) * gradient

        return _with_hook(fake, scale)

    def measured(self, predicted: Tensor) -> Tensor:
        """A view of predicted faces for all other losses; `weighted` scales relative to its gradient."""

        def measure(gradient: Tensor) -> None:
            self.gradient_squares[1] += gradient.float().square().sum()

        return _with_hook(predicted, measure)

    def adversarial_loss(self, fake: Tensor) -> Tensor:
        """`generator_loss`, `(B,)`, with gradients for `fake` only."""
        self.network.requires_grad_(requires_grad=False)
        try:
            return generator_loss(self._logits(fake))
        finally:
            self.network.requires_grad_()

    def backward(
        self, parts: Sequence[tuple[Tensor, Tensor]], faces: tuple[int, int], generator: torch.Generator
    ) -> Tensor:
        """Compute the gradients of `discriminator_loss`; returns this process's share of the loss.

        `parts` are real and predicted faces (or latents) of each part of this process's batch, `faces` their numbers in
        the whole batch of all processes; `generator` is on the CPU.
        """
        self.network.train()
        for layer in self.network.modules():  # one power iteration per batch, not per part
            if is_parametrized(layer):
                _ = layer.weight
        self.network.eval()
        shares: list[Tensor] = []
        for real, fake in parts:
            logits = self._logits(real.detach()), self._logits(fake.detach())
            of_real, of_fake = discriminator_loss(*logits, self.smoothing, self.noise, generator)
            shares.append(of_real.sum() / faces[0] + of_fake.sum() / faces[1])
            shares[-1].backward()
        return torch.stack(shares).detach().sum()

    @torch.no_grad()
    def step(self) -> Tensor:
        """Perform one step; returns the norm of the gradients."""
        latest, mean = self.gradient_squares, self.mean_squares
        mean.copy_(torch.where(mean > 0, torch.lerp(latest, mean, GRADIENT_DECAY), latest))
        latest.zero_()
        norm = torch.nn.utils.get_total_norm([w.grad for w in self.weights.values() if w.grad is not None])
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return norm

    def _logits(self, faces: Tensor) -> tuple[Tensor, ...]:
        dtype = self.compute.autocast
        with torch.autocast(self.compute.device.type, dtype=dtype, enabled=dtype is not None):
            return self.network(faces)

    def tensors(self) -> dict[str, Tensor]:
        """All state by name, not copied."""
        found = {f"state/{name}": tensor.detach() for name, tensor in self.network.state_dict().items()}
        return found | {"pulls": self.mean_squares} | state_tensors(self.optimizer, self.weights)

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore the result of `tensors`; RunError if it is from another discriminator."""
        try:
            self.network.load_state_dict({name: tensors[f"state/{name}"] for name in self.network.state_dict()})
            self.mean_squares.copy_(tensors["pulls"])
            self.gradient_squares.zero_()
            restore_state(self.optimizer, self.weights, tensors, "adamw")  # Adam has the same state
        except (KeyError, RuntimeError) as error:
            raise RunError(f"the checkpoint's {type(self.network).__name__} does not fit ({error})") from error


def _with_hook(tensor: Tensor, hook: Callable[[Tensor], Tensor | None]) -> Tensor:
    """A view with a hook on its gradient, independent of other views."""
    view = tensor.view_as(tensor)
    if view.requires_grad:  # false with frozen weights
        view.register_hook(hook)
    return view
