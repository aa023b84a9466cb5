"""Errors in settings name the file, the field, the value and the limits."""

from typing import Annotated, Literal, Self

import pytest
from pydantic import Field, model_validator

from visagist.core.errors import ConfigError
from visagist.core.settings import Settings


class Picture(Settings):
    """Nested settings."""

    side: Annotated[int, Field(ge=16)] = 64


class Album(Settings):
    """One field of every type that settings use."""

    strength: Annotated[float, Field(gt=0, le=1)] | None = None
    pair: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] | None = None
    grids: Annotated[tuple[Annotated[int, Field(ge=2, le=32)], ...], Field(min_length=1, max_length=8)] = (5,)
    side: Literal["left", "right"] | bool = False
    cover: Picture | None = None
    pictures: tuple[Picture, ...] = ()
    people: dict[str, Picture] = Field(default_factory=dict)
    factor: float = 1.0

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.factor > 100:
            raise ValueError("factor: does not fit")
        return self


@pytest.mark.parametrize(
    ("values", "field", "facts"),
    [
        ({"strength": 0}, "strength", ["greater than 0", "not 0"]),
        ({"strength": 2}, "strength", ["less than or equal to 1", "not 2"]),
        ({"pair": [0.5]}, "pair.1", ["required"]),
        ({"pair": [0.5, 1]}, "pair.1", ["less than 1", "not 1"]),
        ({"grids": [1]}, "grids.0", ["greater than or equal to 2", "not 1"]),
        ({"grids": []}, "grids", ["at least 1"]),
        ({"side": "both"}, "side", ["'left' or 'right'", "boolean", "not both"]),
        ({"cover": {"side": 8}}, "cover.side", ["16", "not 8"]),
        ({"cover": 3}, "cover", ["dictionary", "not 3"]),
        ({"cover": {"sides": 8}}, "cover", ["'sides'", "did you mean 'side'?"]),
        ({"cover": {"height": 8}}, "cover", ["'height'", "available: side"]),
        ({"pictures": [{}, {"side": 8}]}, "pictures.1.side", ["16", "not 8"]),
        ({"people": {"ann": {"side": 8}}}, "people.ann.side", ["16", "not 8"]),
        ({"factor": "much"}, "factor", ["number", "not much"]),
        ({"factor": 200}, "factor", ["does not fit"]),
    ],
)
def test_an_error_names_file_field_value_and_limit(values: dict[str, object], field: str, facts: list[str]) -> None:
    with pytest.raises(ConfigError) as raised:
        Album.parse(values, "album.toml")
    message = str(raised.value)
    assert message.startswith(f"album.toml: {field}: ")
    for fact in facts:
        assert fact in message, message


@pytest.mark.parametrize("name", ["Strength", "strenght"])
def test_an_unknown_name_is_rejected_with_the_closest_match(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"album\.toml: .*'{name}'.*did you mean 'strength'"):
        Album.parse({name: 1}, "album.toml")
