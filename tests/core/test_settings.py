"""What is wrong with settings is said in words for whoever wrote them, not in the validator's."""

from typing import Annotated, Literal, Self

import pytest
from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from visagist.core.errors import ConfigError
from visagist.core.settings import Settings


class Picture(Settings):
    """A part of which there are several."""

    side: Annotated[int, Field(ge=16)] = 64


class Album(Settings):
    """One of every type that settings have."""

    strength: Annotated[float, Field(gt=0, le=1)] | None = None
    pair: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] | None = None
    grids: Annotated[tuple[Annotated[int, Field(ge=2, le=32)], ...], Field(min_length=1, max_length=8)] = (5,)
    side: Literal["left", "right"] | bool = False
    cover: Picture | None = None
    pictures: tuple[Picture, ...] = ()
    people: dict[str, Picture] = Field(default_factory=dict)
    titles: dict[str, str] = Field(default_factory=dict)
    factor: float = 1.0

    @field_validator("factor")
    @classmethod
    def _is_lucky(cls, factor: float) -> float:
        if factor == 13:
            raise PydanticCustomError("luck", "brings no luck")
        return factor

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.factor > 100:
            raise PydanticCustomError("fits", "does not fit")
        if self.side is True:
            raise ValueError("side: a whole album has none")
        return self


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"strength": 0}, "strength: must be above 0 and at most 1, not 0"),
        ({"pair": [0.5]}, "pair: must be 2 values, each at least 0 and below 1"),
        ({"pair": [0.5, 1]}, "pair: must be 2 values, each at least 0 and below 1, not 1"),
        ({"grids": [1]}, "grids: must be 1 to 8 values, each a whole number from 2 to 32, not 1"),
        ({"grids": []}, "grids: must be 1 to 8 values, each a whole number from 2 to 32"),
        ({"side": "both"}, "side: must be left, right, true or false, not both"),
        ({"cover": {"side": 8}}, "cover.side: must be a whole number of at least 16, not 8"),
        ({"cover": 3}, "cover: must be a table of names and their values, not 3"),
        ({"cover": {"sides": 8}}, "cover: has no sides; did you mean side? (it has: side)"),
        ({"pictures": [{}, {"side": 8}]}, "pictures.1.side: must be a whole number of at least 16, not 8"),
        ({"pictures": [{"width": 8}]}, "pictures.0: has no width (it has: side)"),
        ({"people": {"pair": {"side": 8}}}, "people.pair.side: must be a whole number of at least 16, not 8"),
        ({"people": 3}, "people: must be a table of names and their values, not 3"),
        ({"titles": {"first": 3}}, "titles.first: input should be a valid string"),
        ({"factor": "much"}, "factor: must be a number, not much"),
        ({"factor": 13}, "factor: brings no luck"),
        ({"factor": 200}, "the file: does not fit"),
        ({"side": True}, "side: a whole album has none"),
    ],
)
def test_a_fault_names_the_field_and_all_that_it_may_be(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        Album.parse(values, "album.toml")
    assert str(raised.value) == f"album.toml: {message}"
