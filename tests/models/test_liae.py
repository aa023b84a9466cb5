"""`liae`: the inters of each identity, and parameter counts."""

import pytest
import torch

from tests.models.plain import conv, count
from visagist.models import create
from visagist.models.liae import Liae

TINY: dict[str, object] = {"size": 64, "latent": 8, "encoder": 4, "decoder": 4, "mask": 2}


@pytest.fixture
def network() -> Liae:
    torch.manual_seed(0)
    made = create("liae", ("ann", "bob", "cat"), **TINY)
    assert isinstance(made, Liae)
    return made


def test_source_is_ab_twice_and_the_others_are_their_own_and_ab(network: Liae) -> None:
    latent = network.encode(torch.rand(2, 3, 64, 64))
    ab, bob, cat = (inter(latent) for inter in network.inters)
    for name, pair in {"ann": [ab, ab], "bob": [bob, ab], "cat": [cat, ab]}.items():
        for drawn, expected in zip(network.decode(latent, name), network.decoder(torch.cat(pair, 1)), strict=True):
            assert torch.equal(drawn, expected)


def test_decoding_an_identity_trains_ab_and_its_own_inter_only(network: Liae) -> None:
    trained = {"ann": {0}, "bob": {0, 1}, "cat": {0, 2}}
    for name, expected in trained.items():
        network.zero_grad()
        rgb, mask = network(torch.rand(2, 3, 64, 64), name)
        (rgb.mean() + mask.mean()).backward()
        found = {i for i, inter in enumerate(network.inters) if all(w.grad is not None for w in inter.parameters())}
        assert found == expected
        assert all(w.grad is not None and w.grad.abs().sum() > 0 for w in network.decoder.parameters())


def test_inters_give_twice_the_latent_and_the_decoder_takes_two_of_them() -> None:
    with torch.device("meta"):
        network = create("liae", ("source", "target"))
    assert isinstance(network, Liae)
    inter = 32768 * 256 + 256 + 256 * 8**2 * 512 + 8**2 * 512 + conv(3, 512, 2048)
    assert [count(part) for part in network.inters] == [inter, inter]
    assert network.decoder.state_dict()["ups.0.conv.weight"].shape == (4 * 8 * 64, 1024, 3, 3)


def test_a_further_identity_adds_an_inter() -> None:
    with torch.device("meta"):
        two, three = (create("liae", people) for people in (("a", "b"), ("a", "b", "c")))
    assert isinstance(two, Liae)
    assert count(three) - count(two) == count(two.inters[1])
