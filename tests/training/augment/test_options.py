"""Options of the augmentation: ranges, and reading them from TOML."""

import tomllib

import pytest
from annotated_types import Ge, Le

from visagist.core.errors import ConfigError
from visagist.training.augment import Augmentation

NUMBERS = [name for name, field in Augmentation.model_fields.items() if type(field.default) in (int, float)]


@pytest.mark.parametrize("name", NUMBERS)
def test_every_number_has_a_range_that_is_named_when_it_is_exceeded(name: str) -> None:
    limits = Augmentation.model_fields[name].metadata
    (low,), (high,) = [x.ge for x in limits if isinstance(x, Ge)], [x.le for x in limits if isinstance(x, Le)]
    for limit, beyond in ((low, low - 1), (high, high + 1)):
        assert getattr(Augmentation.model_validate({name: limit}), name) == limit
        with pytest.raises(ConfigError, match=f"{name}: .*{limit:g}"):
            Augmentation.parse({name: beyond}, "a.toml")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("warp_grids", grids) for grids in ((), (1,), (5, 33), (5,) * 9)),
        ("color_transfer", "magic"),
        ("flip", "anna"),
    ],
)
def test_unknown_values_are_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(ConfigError, match=name):
        Augmentation.parse({name: value}, "a.toml")


@pytest.mark.parametrize("flip", [False, True, "source", "target"])
def test_options_survive_toml(flip: bool | str) -> None:
    options = Augmentation.model_validate({"warp_grids": (3, 5, 9), "color_transfer": "sot", "flip": flip})
    assert Augmentation.parse(tomllib.loads(options.toml()), "a.toml") == options
