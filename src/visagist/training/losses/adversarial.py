"""Losses that are networks themselves: they learn what gives a drawn face away, and the swapper learns to avoid it.

- `Normed`: the convolution that they are made of
- `PatchDiscriminator`: a U-Net that tells drawn from real, piece by piece and pixel by pixel (the GAN finish)
- `LatentDiscriminator`: tells from a latent whose face was encoded (true face)
- `Adversary`: one of the two in training, with an optimizer of its own
- `discriminator_loss`, `generator_loss`: what either player minimises
- `detail`: what is fine in pictures
- `patch_kernels`, `receptive_field`: how a patch size becomes layers

The loss is the non-saturating logistic one (Goodfellow et al. 2014, "Generative Adversarial Nets"): softplus of the
logits. Its gradient never ends, unlike the hinge's, so that a discriminator that wins still teaches; and labels mean
something in it, so that smoothing (Salimans et al. 2016, one-sided) and wrong labels work as users know them. What
keeps the discriminator in bounds is spectral normalisation (Miyato et al. 2018): no layer enlarges a difference by more
than a fixed factor, at the price of one product of a matrix and a vector a layer, where a gradient penalty would cost a
second backward pass. That factor is the one with which noise keeps its strength through the layer at the start. With 1
each layer halves it; after a dozen a discriminator gives 0 whatever it sees, and hardly learns.

Drawn and real faces have the same colours and shapes, and differ in what is fine, which is a hundredth of a picture's
contrast. So the discriminator is shown that by itself, enlarged, beside the picture. Without it, it knew nothing after
300 iterations of drawings by a `visage` with an SSIM of .95 (cross-entropy 1.376; 1.17 after 120 with it).
"""

import itertools
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm
from torch.nn.utils.parametrize import is_parametrized

from visagist.core.device import Compute
from visagist.core.errors import ConfigError, RunError
from visagist.models.base import depth_to_space
from visagist.training.distributed import World, part_of_mean, whole
from visagist.training.optimizers import restore_state, state_tensors

SLOPE = 0.2  # of leaky_relu, usual in discriminators
RATE, BETAS = 1e-3, (0.5, 0.99)  # of Adam: fast, for a discriminator has the last part of a training to learn in
DETAIL = 16.0  # times as strong as it is: about as strong as the colours
MEMORY = 0.9  # of the running means by which pulls are compared: some ten iterations
WIDEST = 8  # times the width: no layer has more channels


def patch_kernels(patch: int) -> tuple[int, ...]:
    """Kernels of halving convolutions that together, with `detail`, see exactly `patch` px (even: one more).

    A kernel of 3 in level i adds 2 * 2^i px to what is seen, one of 5 twice that: so the levels write `patch` as a
    binary number, and every odd size has one answer.

    Raises:
        ConfigError: less than 5 px.

    >>> [patch_kernels(patch) for patch in (5, 16, 33, 35)]
    [(3,), (3, 3, 3), (3, 3, 3, 3), (5, 3, 3, 3)]
    """
    if patch < 5:
        raise ConfigError(f"a patch of {patch} px shows nothing; give 5 or more")
    number = (patch - 2 | 1) + 1
    levels = number.bit_length() - 2
    rest = (number - 2 ** (levels + 1)) // 2
    return tuple(5 if rest >> level & 1 else 3 for level in range(levels))


def receptive_field(kernels: Sequence[int]) -> int:
    """How many px one output of convolutions that halve each time sees, where the first sees `detail`.

    >>> receptive_field((3, 3, 3))
    17
    """
    return 3 + sum((kernel - 1) * 2**level for level, kernel in enumerate(kernels))


class Normed(nn.Conv2d):
    """A spectrally normalised convolution, times the factor with which noise keeps its strength at the start.

    Args:
        channels, out, kernel, stride: as of any.
        slope: of the leaky ReLU after it; 1: none follows.
    """

    factor: Tensor

    def __init__(self, channels: int, out: int, kernel: int, stride: int = 1, slope: float = SLOPE) -> None:
        super().__init__(channels, out, kernel, stride, kernel // 2)
        spectral_norm(self)
        row = self.weight.detach().square().sum() / out  # squared length of a kernel: how noise is enlarged
        self.register_buffer("factor", (2 / (1 + slope**2) / row).sqrt())  # stays what it is, and goes into checkpoints

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name
        return self._conv_forward(input, self.factor * self.weight, self.bias)


def detail(pictures: Tensor) -> Tensor:
    """What pixels are above or below the mean of their 3x3 neighbourhood, `(B, C, H, W)`.

    >>> detail(torch.full((1, 1, 4, 4), 0.3)).abs().max().item() < 1e-6
    True
    """
    return pictures - F.avg_pool2d(pictures, 3, 1, 1, count_include_pad=False)


class PatchDiscriminator(nn.Module):
    """A U-Net that says of each patch, and of each pixel, whether it is real.

    Schonfeld, Schiele and Khoreva 2020, "A U-Net Based Discriminator for Generative Adversarial Networks": the encoder
    judges patches as a whole, the decoder goes back to full size and judges every pixel with what is around it known.
    Where they judge whole pictures, the depth of the encoder here follows from the patch.

    Args:
        patch: side in px of what one judgement of the encoder sees; see `patch_kernels`.
        width: channels at full size; doubled with each halving, eightfold at most.
    """

    def __init__(self, patch: int, width: int) -> None:
        super().__init__()
        kernels = patch_kernels(patch)
        widths = [width * min(2**level, WIDEST) for level in range(len(kernels) + 1)]
        pairs = list(itertools.pairwise(widths))
        self.enter = Normed(6, width, 1)  # colours, and their detail
        self.down = nn.ModuleList(Normed(c, out, k, 2) for (c, out), k in zip(pairs, kernels, strict=True))
        self.judge_patches = Normed(widths[-1], 1, 1, slope=1)
        self.up = nn.ModuleList(Normed(below, 4 * c, 3) for c, below in reversed(pairs))
        self.merge = nn.ModuleList(Normed(2 * c, c, 3) for c, _ in reversed(pairs))
        self.judge_pixels = Normed(width, 1, 1, slope=1)

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Logits, above 0 for real.

        Args:
            pictures: `(B, 3, H, W)` RGB in [0, 1], in masked training multiplied by the real face's hull both where
                drawn and where real: the rim must not tell them apart.

        Returns:
            `(B, 1, h, w)` of patches and `(B, 1, H, W)` of pixels, float32.
        """
        x = torch.cat([2 * pictures - 1, DETAIL * detail(pictures)], 1)  # (B, 6, H, W)
        x = F.leaky_relu(self.enter(x), SLOPE)  # (B, width, H, W)
        sides = [x]
        for down in self.down:
            x = F.leaky_relu(down(x), SLOPE)  # (B, 2*width, H/2, W/2), (B, 4*width, H/4, W/4), ...
            sides.append(x)
        patches = self.judge_patches(sides.pop())  # (B, 1, h, w)
        for up, merge in zip(self.up, self.merge, strict=True):
            side = sides.pop()
            x = depth_to_space(F.leaky_relu(up(x), SLOPE), 2)
            x = x[..., : side.shape[-2], : side.shape[-1]]  # an odd side was rounded up when halved
            x = F.leaky_relu(merge(torch.cat([x, side], 1)), SLOPE)
        return patches.float(), self.judge_pixels(x).float()


class LatentDiscriminator(nn.Module):
    """Tells from a latent whose face was encoded: above 0 the source's.

    The encoder that deceives it gives the target's faces latents like the source's, so that the source's decoder finds
    nothing of the target in them (Ganin et al. 2016, "Domain-Adversarial Training of Neural Networks", used one way).
    It also wipes out what only the target does: hence small weights, and only at the end.

    Args:
        shape: of one latent: `(N,)` or `(C, h, w)`.
        width: channels of the first layer.
    """

    def __init__(self, shape: Sequence[int], width: int) -> None:
        super().__init__()
        channels, *sides = shape
        halvings = max(sides, default=1).bit_length() - 1
        widths = [width * min(2**level, WIDEST) for level in range(halvings + 1)]
        self.enter = Normed(channels, width, 1)
        self.down = nn.ModuleList(Normed(c, out, 3, 2) for c, out in itertools.pairwise(widths))
        self.mix = Normed(widths[-1], widths[-1], 1)
        self.judge = Normed(widths[-1], 1, 1, slope=1)

    def forward(self, latent: Tensor) -> tuple[Tensor]:
        """One map of logits `(B, 1, h, w)` float32 for `(B, N)` or `(B, C, h, w)`, for the losses below."""
        x = latent if latent.dim() == 4 else latent[..., None, None]
        x = F.leaky_relu(self.enter(x), SLOPE)
        for down in self.down:
            x = F.leaky_relu(down(x), SLOPE)
        return (self.judge(F.leaky_relu(self.mix(x), SLOPE)).float(),)


def discriminator_loss(
    real: Sequence[Tensor],
    fake: Sequence[Tensor],
    faces: tuple[int, int],
    smoothing: float,
    noise: float,
    generator: torch.Generator,
) -> Tensor:
    """What a discriminator minimises: cross-entropy of its logits with what each face is.

    Args:
        real: maps of logits `(B, 1, h, w)` of real faces (true face: of the source's latents).
        fake: the same of drawn faces (of the target's latents), computed from detached input.
        faces: real and drawn ones of this process in the whole batch, of which these may be a part; it adds up with
            the others.
        smoothing: the label of real faces is 1 minus this.
        noise: part of the faces, by chance, that count as what they are not.
        generator: of the CPU.

    Returns:
        A scalar; each map counts alike. 1.386 for a discriminator that knows nothing.

    >>> logits = (torch.zeros(2, 1, 4, 4), torch.zeros(2, 1, 8, 8))
    >>> round(discriminator_loss(logits, logits, (2, 2), 0.0, 0.0, torch.Generator()).item(), 3)
    1.386
    """
    losses: list[Tensor] = []
    kinds = ((real, faces[0], 1 - smoothing, 0.0), (fake, faces[1], 0.0, 1 - smoothing))
    for maps, every, label, other in kinds:
        turned = torch.rand(len(maps[0]), 1, 1, 1, generator=generator) < noise  # one draw a face, for all its maps
        labels = torch.where(turned, other, label).to(maps[0].device)
        found = [F.binary_cross_entropy_with_logits(logits, labels.expand_as(logits)) for logits in maps]
        losses += [part_of_mean(loss, len(labels), every) for loss in found]
    return 2 * torch.stack(losses).mean()


def generator_loss(fake: Sequence[Tensor], faces: int) -> Tensor:
    """What the swapper minimises to deceive a discriminator.

    Args:
        fake: maps of logits `(B, 1, h, w)` of drawn faces (true face: of the target's latents), with gradient.
        faces: of this process in the whole batch, as in `discriminator_loss`.

    Returns:
        A scalar; 0.693 against a discriminator that knows nothing.

    >>> round(generator_loss((torch.zeros(2, 1, 4, 4), torch.zeros(2, 1, 8, 8)), 2).item(), 3)
    0.693
    """
    return part_of_mean(torch.stack([F.softplus(-logits).mean() for logits in fake]).mean(), len(fake[0]), faces)


class Adversary:
    """A discriminator in training against the swapper, each with an optimizer of its own.

    In one iteration `deceive` is part of the swapper's loss; `learn` comes after the swapper's step, with the same
    pictures or latents.

    Args:
        network: a `PatchDiscriminator` or `LatentDiscriminator`, on the device.
        compute: where and in which precision.
    """

    def __init__(self, network: PatchDiscriminator | LatentDiscriminator, compute: Compute) -> None:
        self.network, self.compute = network.eval(), compute  # in eval mode spectral norms stay what they are
        self.weights = dict(self.network.named_parameters())
        self.optimizer = torch.optim.Adam(self.weights.values(), lr=RATE, betas=BETAS)
        self.felt = torch.zeros(2, device=compute.device)  # squared gradients of this iteration: its own, all others'
        self.pulls = torch.zeros(2, device=compute.device)  # running means of them

    def weighed(self, fake: Tensor, weight: float) -> Tensor:
        """What deceives it, with a gradient that is `weight` times as strong as that of what is `measured`.

        So strong in the mean of some iterations, and 0 in the first. How strong a discriminator's own gradient is tells
        little: from one iteration to the next that it wins or loses by a hair, it is tenfold, and each network, size
        and moment of a training has its own. (Esser, Rombach and Ommer 2021, "Taming Transformers for High-Resolution
        Image Synthesis", weigh theirs by the same ratio, of one layer and one iteration.)
        """
        own, others = self.pulls
        factor = weight * (others / own.clamp_min(torch.finfo(own.dtype).tiny)).sqrt()

        def scaled(gradient: Tensor) -> Tensor:
            self.felt[0] += gradient.float().square().sum()
            return factor.to(gradient.dtype) * gradient

        return _with_hook(fake, scaled)

    def measured(self, drawn: Tensor) -> Tensor:
        """The same, for all losses to look at that the discriminator's pull is weighed against."""

        def tell(gradient: Tensor) -> None:
            self.felt[1] += gradient.float().square().sum()

        return _with_hook(drawn, tell)

    def deceive(self, fake: Tensor, faces: int) -> Tensor:
        """What the swapper minimises, a scalar; see `generator_loss`. Gradients go to `fake` alone."""
        self.network.requires_grad_(requires_grad=False)
        try:
            return generator_loss(self.judge(fake), faces)
        finally:
            self.network.requires_grad_()

    def learn(
        self, parts: Sequence[tuple[Tensor, Tensor]], smoothing: float, noise: float, generator: torch.Generator
    ) -> Tensor:
        """One step of the discriminator.

        Args:
            parts: real and drawn faces (or latents), of each part of the batch.
            smoothing, noise, generator: of `discriminator_loss`.

        Returns:
            Its loss, a scalar without gradient; not finite if a gradient was not, which the next loss would tell too
            late: by then the weights may have been saved.
        """
        self.measure_norms()
        self.measure_pulls()
        faces = sum(len(real) for real, _ in parts), sum(len(fake) for _, fake in parts)
        losses: list[Tensor] = []
        for real, fake in parts:
            judged = self.judge(real.detach()), self.judge(fake.detach())
            losses.append(discriminator_loss(*judged, faces, smoothing, noise, generator))
            losses[-1].backward()
        World.now().add_gradients(self.weights.values())
        norm = torch.nn.utils.get_total_norm(
            [weight.grad for weight in self.weights.values() if weight.grad is not None]
        )
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return torch.where(norm.isfinite(), torch.stack(losses).detach().sum(), torch.nan)

    @torch.no_grad()
    def measure_pulls(self) -> None:
        """Take this iteration's gradients into the running means, all processes' together."""
        felt = whole(self.felt)
        self.pulls.copy_(torch.where(self.pulls > 0, torch.lerp(felt, self.pulls, MEMORY), felt))
        self.felt.zero_()

    @torch.no_grad()
    def measure_norms(self) -> None:
        """Bring spectral norms up to date: once a step, however many parts a batch has."""
        self.network.train()
        for layer in self.network.modules():
            if is_parametrized(layer):
                _ = layer.weight  # made anew whenever it is looked at; in training mode by one more power iteration
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
        """Take over what `tensors` gave at another time.

        Raises:
            RunError: they are not of this discriminator.
        """
        try:
            self.network.load_state_dict({name: tensors[f"state/{name}"] for name in self.network.state_dict()})
            self.pulls.copy_(tensors["pulls"])
            restore_state(self.optimizer, self.weights, tensors, "adamw")  # which remembers what Adam does
        except (KeyError, RuntimeError) as error:
            raise RunError(f"the checkpoint's {type(self.network).__name__} is not as it is here ({error})") from error


def _with_hook(tensor: Tensor, hook: Callable[[Tensor], Tensor | None]) -> Tensor:
    """A view of a tensor whose gradient, apart from that of other views, goes through `hook`."""
    view = tensor.view_as(tensor)
    if view.requires_grad:  # nothing that is frozen has one
        view.register_hook(hook)
    return view
