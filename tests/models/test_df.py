"""`df`: its published number of parameters, and its forward pass against plain PyTorch in NCHW."""

import torch
from torch import Tensor
from torch.nn import functional as F

from tests.models.plain import count, plain_residual, plain_up
from visagist.models import create
from visagist.models.df import DfConfig

PUBLISHED = 57_538_432  # 57.54 M: df 128 px, ae 256, e 64, d 64, mask 22, two identities


def test_has_exactly_the_published_number_of_parameters() -> None:
    with torch.device("meta"):
        network = create("df", ("source", "target"), size=128, latent=256, encoder=64, decoder=64, mask=22)
    assert count(network) == PUBLISHED
    assert f"{PUBLISHED / 1e6:.2f}" == "57.54"
    assert network.config == DfConfig()


def test_a_further_identity_adds_a_decoder() -> None:
    with torch.device("meta"):
        two, three = (create("df", people) for people in (("a", "b"), ("a", "b", "c")))
    assert count(three) - count(two) == 19_136_000


def test_computes_what_plain_pytorch_does_in_nchw() -> None:
    torch.manual_seed(0)
    network = create("df", ("a", "b"), size=64, latent=6, encoder=4, decoder=4, mask=2)
    for name, weight in network.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(weight, std=0.1)
    state: dict[str, Tensor] = network.state_dict()
    faces = torch.rand(2, 3, 64, 64)
    x = faces
    for stage in ("down1", "down2", "down3", "down4"):
        name = f"encoder.{stage}.conv"
        x = F.leaky_relu(F.conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"], 2, 2), 0.1)
    x = torch.einsum("byxc,nyxc->bn", x.permute(0, 2, 3, 1), state["inter.squeeze.weight"].view(6, 4, 4, 32))
    x = (x + state["inter.squeeze.bias"]) @ state["inter.spread.weight"].T + state["inter.spread.bias"]
    x = plain_up(state, "inter.up", x.view(2, 4, 4, 6).permute(0, 3, 1, 2).contiguous())
    rgb = mask = x
    for stage in range(3):
        rgb = plain_residual(state, f"decoders.1.residuals.{stage}", plain_up(state, f"decoders.1.ups.{stage}", rgb))
        mask = plain_up(state, f"decoders.1.mask_ups.{stage}", mask)
    rgb = torch.sigmoid(F.conv2d(rgb, state["decoders.1.draw.weight"], state["decoders.1.draw.bias"]))
    mask = torch.sigmoid(F.conv2d(mask, state["decoders.1.draw_mask.weight"], state["decoders.1.draw_mask.bias"]))
    drawn = network(faces, "b")
    assert torch.allclose(drawn[0], rgb, atol=1e-5)
    assert torch.allclose(drawn[1], mask, atol=1e-5)
    assert rgb.std() > 0.01  # not just grey
